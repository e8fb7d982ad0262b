"""Which days a report is of: from one to another, or so many until today, in UTC.

Pure. The same terms stand in the address of a report and in a stored query: `days:7`, or
`from:2026-11-01 to:2026-11-30`; what is left out is as usual. So many days until today are other days
tomorrow, which is what a report that is kept is mostly meant to be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from idp.admin import grammar
from idp.clock import DAY, SECOND, Instant
from idp.errors import Refused

DAYS_DEFAULT = 30
DAYS_MAXIMUM = 400
KEYS = ("from", "to", "days")


@dataclass(frozen=True, slots=True)
class Span:
    """From the beginning of one day to the end of another."""

    first: date
    last: date

    @property
    def since(self) -> Instant:
        return _instant(self.first)

    @property
    def until(self) -> Instant:
        return _instant(self.last) + DAY


@dataclass(frozen=True, slots=True)
class SpanAsked:
    """What was asked for; None where it was left out."""

    first: date | None = None
    last: date | None = None
    days: int | None = None

    @property
    def values(self) -> dict[str, str]:
        """The terms one by one, as an address has them."""
        found = {"from": self.first, "to": self.last, "days": self.days}
        return {name: str(value) for name, value in found.items() if value is not None}

    @property
    def text(self) -> str:
        """The terms as one text."""
        return " ".join(f"{name}:{value}" for name, value in self.values.items())

    def at(self, now: Instant) -> Span:
        """The days that are meant now; raises `Refused` (`invalid_span`)."""
        last = self.last or datetime.fromtimestamp(now // SECOND, UTC).date()
        first = self.first or last - timedelta(days=(self.days or DAYS_DEFAULT) - 1)
        if first > last or (last - first).days >= DAYS_MAXIMUM:
            raise _wrong(f"A report is of 1 to {DAYS_MAXIMUM} days, the first one first.")
        return Span(first, last)


def of_values(values: Mapping[str, str], text: str = "") -> SpanAsked:
    """What is asked for by terms that came one by one, and by those in `text` besides.

    Raises `Refused` (`invalid_filter`, `invalid_span`).
    """
    found = {name: said for name, said in values.items() if said}
    for key, comparison, value in grammar.terms(text):
        if key not in KEYS:
            raise grammar.invalid(f"There is no {key[:40]}; there is {', '.join(KEYS)}.")
        if key in found:
            raise grammar.invalid(f"{key} stands there twice.")
        if comparison != ":":
            raise grammar.invalid(f"{key} cannot be compared: write {key}:value.")
        found[key] = value
    asked = SpanAsked(
        first=_date(found.get("from")), last=_date(found.get("to")), days=_days(found.get("days"))
    )
    if asked.days is not None and (asked.first or asked.last):
        raise _wrong("A report is of so many days until today, or from one day to another.")
    if asked.first and asked.last:
        asked.at(0)  # whatever the day is
    return asked


def _date(said: str | None) -> date | None:
    if said is None:
        return None
    try:
        found = date.fromisoformat(said)
    except ValueError:
        found = date.min
    # Python reads weeks and days without hyphens as well.
    if str(found) != said or not 2_000 <= found.year < 2_200:
        raise _wrong("A day is written like 2026-11-28.")
    return found


def _days(said: str | None) -> int | None:
    if said is None:
        return None
    if not (
        said.isascii() and said.isdigit() and len(said) <= 3 and 1 <= int(said) <= DAYS_MAXIMUM
    ):
        raise _wrong(f"A report is of 1 to {DAYS_MAXIMUM} days.")
    return int(said)


def _instant(day: date) -> Instant:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


def _wrong(sentence: str) -> Refused:
    return Refused("invalid_span", sentence, 400)

"""Business hours: when people may be signed in, whatever the clocks of their place do (row C2).

Pure. Hours come in spans: one begins on each working day at `from` and lasts until `to`, which is on
the next day when it is not later ("22:00" to "06:00"). Days and holidays are those a span begins on.
Local times are read as people read them: one that the clock shows twice (the end of summer time)
means the first, and one that it skips (the beginning) means the moment of the skip. So a span has one
beginning and one end, and nobody is let in twice or never.
Specs: the IANA time zone database, RFC 9557 section 1 for the names of zones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAYS_DEFAULT = "mon-fri"
# How long people may finish what they are at.
GRACE_DEFAULT: Duration = 5 * MINUTE
GRACE_MAXIMUM: Duration = 4 * HOUR
HOLIDAYS_MAXIMUM = 366
# Nobody plans further, and no session lasts as long.
HORIZON: Duration = 62 * DAY
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_NAMES = frozenset({"timezone", "days", "from", "to", "holidays", "grace"})


@dataclass(frozen=True, slots=True)
class Hours:
    """What one rule says. `opens` and `closes` are minutes after midnight, local."""

    zone: ZoneInfo
    days: frozenset[int]
    opens: int
    closes: int
    holidays: frozenset[date]
    grace: Duration


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be an hours rule, as a sentence; None when it can."""
    read = _read(value)
    return read if isinstance(read, str) else None


def read(values: Iterable[Mapping[str, Any]]) -> list[Hours] | None:
    """What the rules in force say; None when one of them cannot be read: then nobody may be in."""
    found = [_read(value) for value in values]
    hours = [one for one in found if isinstance(one, Hours)]
    return hours if len(hours) == len(found) else None


def are_open(hours: Iterable[Hours], at: Instant) -> bool:
    """Whether people may be signed in at a moment: by every rule; without rules always."""
    return all(_containing(one, at) is not None for one in hours)


def end_of(hours: Iterable[Hours], at: Instant) -> Instant | None:
    """When whoever is signed in at a moment has to have gone: closing time and grace.

    Where it is closed already, the grace runs from that moment. None when that is not within the
    horizon.
    """
    ends = []
    for one in hours:
        closes = at if _containing(one, at) is None else next_close(one, at)
        if closes is not None:
            ends.append(closes + one.grace)
    return min(ends, default=None)


def opening(hours: Iterable[Hours], at: Instant) -> Instant | None:
    """The first moment from `at` on at which it is open by every rule; None within the horizon."""
    rules, found = list(hours), at
    while found <= at + HORIZON:
        moments = [next_open(one, found) for one in rules]
        latest = found
        for moment in moments:
            if moment is None:
                return None
            latest = max(latest, moment)
        if latest == found:
            return found
        found = latest
    return None


def next_open(hours: Hours, at: Instant) -> Instant | None:
    """The first moment from `at` on at which it is open; `at` itself when it is open then."""
    return next((max(opens, at) for opens, closes in _spans(hours, at) if closes > at), None)


def next_close(hours: Hours, at: Instant) -> Instant | None:
    """The end of the time it is open at `at`; None when it is closed, or open beyond the horizon.

    Spans that touch are one: whose hours are all day and night is not sent away at midnight.
    """
    end: Instant | None = None
    for opens, closes in _spans(hours, at):
        if end is None:
            end = closes if opens <= at < closes else None
        elif opens <= end:
            end = max(end, closes)
        else:
            return end
    return end if end is not None and end < at + HORIZON else None


def _containing(hours: Hours, at: Instant) -> tuple[Instant, Instant] | None:
    near = _spans(hours, at, ahead=2)
    return next(((opens, closes) for opens, closes in near if opens <= at < closes), None)


def _spans(hours: Hours, at: Instant, *, ahead: int = 64) -> Iterator[tuple[Instant, Instant]]:
    """The spans around a moment and for so many days from it, in order.

    From two days before: a span may have begun the day before, by a calendar that is a day ahead.
    """
    today = datetime.fromtimestamp(at // SECOND, hours.zone).date()
    for offset in range(-2, ahead + 1):
        day = today + timedelta(days=offset)
        if day.weekday() not in hours.days or day in hours.holidays:
            continue
        overnight = timedelta(days=int(hours.closes <= hours.opens))
        opens = _instant(day, hours.opens, hours.zone)
        closes = _instant(day + overnight, hours.closes, hours.zone)
        if opens < closes:
            yield opens, closes


def _instant(day: date, minutes: int, zone: ZoneInfo) -> Instant:
    """The moment at which the clocks of a zone show this time of this day, for the first time."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    first = int(wall.replace(tzinfo=zone).timestamp())
    if _wall(first, zone) == wall:
        return first * SECOND
    return _skip(int(wall.replace(tzinfo=zone, fold=1).timestamp()), first, zone) * SECOND


def _skip(before: int, after: int, zone: ZoneInfo) -> int:
    """The second at which a zone's clocks were set, between two that lie around it."""
    changed = datetime.fromtimestamp(after, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == changed:
            after = middle
        else:
            before = middle
    return after


def _wall(seconds: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None, fold=0)


def _read(value: Mapping[str, Any]) -> Hours | str:
    """The rule, or why it is none."""
    if set(value) - _NAMES or not {"timezone", "from", "to"} <= set(value):
        return (
            "An hours rule has 'timezone', 'from' and 'to', "
            "and may have 'days', 'holidays' and 'grace'."
        )
    zone = _zone(value["timezone"])
    if zone is None:
        return "'timezone' is not known; it is written like Europe/Paris."
    opens, closes = _minutes(value["from"]), _minutes(value["to"])
    if opens is None or opens == 24 * 60:
        return "'from' is a time of day, written like 08:00."
    if closes is None or closes == opens:
        return "'to' is another time of day, written like 18:00; 24:00 is the end of it."
    days = _days(value.get("days", DAYS_DEFAULT))
    if days is None:
        return "'days' are written like mon-fri, or mon,wed,sat."
    holidays = _holidays(value.get("holidays", []))
    if holidays is None:
        return f"'holidays' are at most {HOLIDAYS_MAXIMUM} dates, written like 2026-12-25."
    grace = value.get("grace", GRACE_DEFAULT // SECOND)
    if type(grace) is not int or not 0 <= grace * SECOND <= GRACE_MAXIMUM:
        return "'grace' is a whole number of seconds, 4 hours at most."
    return Hours(zone, days, opens, closes, holidays, grace * SECOND)


def _zone(name: object) -> ZoneInfo | None:
    if not isinstance(name, str) or not _ZONE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # no such zone, or a folder, or another file
        return None


def _minutes(said: object) -> int | None:
    match = _TIME.fullmatch(said) if isinstance(said, str) else None
    if match is None:
        return None
    return int(match[1]) * 60 + int(match[2]) if match[1] else 24 * 60


def _days(said: object) -> frozenset[int] | None:
    if not isinstance(said, str):
        return None
    found: set[int] = set()
    for part in said.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return None
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 if dash else 0
        found.update((start + step) % 7 for step in range(length + 1))
    return frozenset(found)


def _holidays(said: object) -> frozenset[date] | None:
    if not isinstance(said, list) or len(said) > HOLIDAYS_MAXIMUM:
        return None
    if not all(isinstance(one, str) and _DATE.fullmatch(one) for one in said):
        return None
    try:
        return frozenset(date.fromisoformat(one) for one in said)
    except ValueError:  # the 30th of February
        return None

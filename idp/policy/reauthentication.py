"""How often people must prove again who they are, whatever else is asked of them (C4).

Pure. Not a timeout: a session whose proofs are too old goes on, and gives nothing new until its
person has proved themselves again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from idp.policy import assurance
from idp.policy.assurance import LADDER, Demand, Proof
from idp.policy.selection import Book, Subject, chosen

# More often would be asked for on the way of answering.
EVERY_MINIMUM: Duration = 5 * MINUTE
EVERY_MAXIMUM: Duration = 30 * DAY
# How much longer apps get tokens by refreshing: their person is asked where they are, at a page.
GRACE_DEFAULT: Duration = 5 * MINUTE
GRACE_MAXIMUM: Duration = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Period:
    """What the rules in force say together: the shortest of each, and the highest level."""

    every: Duration
    acr: str
    grace: Duration


def period(book: Book, subject: Subject) -> Period | None:
    """How often somebody must prove themselves; None: as their session lasts."""
    return _together(chosen(book.get("reauthentication", ()), subject))


def demand(book: Book, subject: Subject, now: Instant) -> Demand | None:
    """What somebody must have proved by now; None when there is no rule for them."""
    found = period(book, subject)
    return Demand(found.acr, now - found.every) if found is not None else None


class Proved(Protocol):
    """What has proofs; they are read only where a rule asks for them."""

    @property
    def proofs(self) -> Sequence[Proof]: ...


def is_overdue(book: Book, subject: Subject, session: Proved, now: Instant) -> bool:
    """Whether the proofs are too old for new tokens, the grace included."""
    found = period(book, subject)
    if found is None:
        return False
    return not assurance.meets(session.proofs, Demand(found.acr, now - found.every - found.grace))


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be a reauthentication rule, as a sentence; None when it can."""
    if "every" not in value or set(value) - {"every", "acr", "grace"}:
        return "A reauthentication rule has 'every', and may have 'acr' and 'grace'."
    bounds = {"every": (EVERY_MINIMUM, EVERY_MAXIMUM), "grace": (0, GRACE_MAXIMUM)}
    for name, (least, most) in bounds.items():
        seconds = value.get(name, least // SECOND)
        if type(seconds) is not int or not least <= seconds * SECOND <= most:
            return f"'{name}' is a whole number of seconds, {least // SECOND} to {most // SECOND}."
    acr = value.get("acr", LADDER[-1])
    if not isinstance(acr, str) or acr == LADDER[0] or not assurance.is_known(acr):
        return f"A level is one of: {', '.join(LADDER[1:])}."
    return None


def _together(values: Iterable[Mapping[str, Any]]) -> Period | None:
    said = list(values)
    if not said:
        return None
    return Period(
        every=min(value["every"] * SECOND for value in said),
        acr=assurance.highest(value.get("acr", assurance.PROVED) for value in said),
        grace=min(value["grace"] * SECOND if "grace" in value else GRACE_DEFAULT for value in said),
    )

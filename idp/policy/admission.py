"""Whether somebody may sign in here and now, whatever they prove (C2, C3).

Pure. Said after the proofs and not before: strangers are not told whom a rule is for.
"""

from dataclasses import dataclass
from typing import Literal

from idp.clock import Instant
from idp.policy import allowed_networks, deadlines, hours
from idp.policy.selection import Book, Subject, chosen


@dataclass(frozen=True, slots=True)
class Barred:
    """Why somebody may not sign in. Of hours: when they begin again, and by whose clock, if known."""

    why: Literal["outside_hours", "network_not_allowed"]
    opens_at: Instant | None = None
    timezone: str | None = None


def barred(book: Book, subject: Subject, now: Instant) -> Barred | None:
    """What keeps somebody from signing in; None when nothing does."""
    if outside(book, subject) is not None:
        return Barred("network_not_allowed")
    in_force = deadlines.hours_of(book, subject)
    if in_force is None:
        return Barred("outside_hours")
    if hours.are_open(in_force, now):
        return None
    return Barred("outside_hours", hours.opening(in_force, now), in_force[0].zone.key)


def outside(book: Book, subject: Subject) -> allowed_networks.Outside | None:
    """What holds for somebody who comes from outside the networks for them; None: they do not."""
    return allowed_networks.outside(chosen(book.get("networks", ()), subject), subject)

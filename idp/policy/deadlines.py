"""When a session ends at the latest, by the rules for its person, device and place (L5, T2, C2).

Pure. Worked out when a session begins, and again for running sessions when a rule or a role changed
(`idp.sessions.review`); whoever writes it down moves a deadline nearer, never further away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from idp.clock import Duration, Instant
from idp.policy import hours, timeouts
from idp.policy.selection import Book, Subject, chosen

# Whose device it is, as its person says.
Ownership = Literal["own", "shared"]
# Why a session ends at its last deadline, when that is not for its age.
Reason = Literal["hours", "temporary"]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a session may rest, and when it ends whatever happens.

    `reason` says why it ends then, where that is not its age.
    """

    idle: Duration
    expires_at: Instant
    reason: Reason | None
    is_temporary: bool


def of(
    book: Book,
    subject: Subject,
    *,
    begun: Instant,
    now: Instant,
    ownership: Ownership = "own",
    longest: Duration | None = None,
) -> Deadlines:
    """The deadlines by the rules in `book`, of a session that began at `begun`.

    `longest` is the whole life of one that was let in by another device.
    """
    lasting = timeouts.effective(book.get("timeouts", ()), subject)
    lives = [life for life in (lasting.temporary, longest) if life is not None]
    idle = lasting.idle
    if ownership == "shared":
        lives.append(lasting.shared)
        idle = min(idle, timeouts.SHARED_IDLE)
    ends: list[tuple[Instant, Reason | None]] = [(begun + lasting.absolute, None)]
    ends += [(begun + life, "temporary") for life in lives]
    closing = closing_time(book, subject, now)
    if closing is not None:
        ends.append((closing, "hours"))
    expires_at, reason = min(ends, key=lambda end: end[0])
    return Deadlines(idle, expires_at, reason, is_temporary=bool(lives))


def closing_time(book: Book, subject: Subject, now: Instant) -> Instant | None:
    """When somebody who is signed in now has to have gone, by the hours for them; None: no such time.

    Hours that cannot be read are over.
    """
    in_force = hours_of(book, subject)
    return now if in_force is None else hours.end_of(in_force, now)


def hours_of(book: Book, subject: Subject) -> Sequence[hours.Hours] | None:
    """The hours for somebody; None when they cannot be read."""
    return hours.read(chosen(book.get("hours", ()), subject))

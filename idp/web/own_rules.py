"""The rules that hold for whoever is signed in, as their pages and apps show them (row L7).

Facts only: the words are in the templates. What an administrator sees of it, with the rules behind
it, is `idp.users.rules_of_person`.
"""

from collections.abc import Collection
from dataclasses import dataclass

from idp.clock import Duration
from idp.policy import limits, timeouts
from idp.policy.limits import Limit
from idp.policy.selection import Book
from idp.sessions import room
from idp.sessions.model import Session
from idp.sessions.subject import subject
from idp.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class OwnLimit:
    """A limit, and how many of its places are taken."""

    limit: Limit
    used: int


@dataclass(frozen=True, slots=True)
class OwnRules:
    """What holds for a person; how long they may rest and stay is that of a session like `session`."""

    limits: list[OwnLimit]
    idle: Duration
    absolute: Duration


def of(unit: UnitOfWork, book: Book, session: Session, *, roles: Collection[str]) -> OwnRules:
    """What the rules in `book` say for the person of a session."""
    beside = room.running(unit, session.user_id)
    lasting = timeouts.effective(book["timeouts"], subject(session, roles))
    return OwnRules(
        limits=[
            OwnLimit(limit, limits.used(limit, beside))
            for limit in limits.possible(book["limits"], roles)
        ],
        idle=lasting.idle,
        absolute=lasting.absolute,
    )

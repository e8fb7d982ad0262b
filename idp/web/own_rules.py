"""The rules that hold for whoever is signed in, as their pages and apps show them (row L7).

Facts only: the words are in the templates. Which networks are allowed is not said: their person is in
one, and knows no CIDR; whoever sits there in their place would learn where to go. What an
administrator sees of it, with the rules behind it, is `idp.users.rules_of_person`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from idp.clock import SECOND, Duration, Instant
from idp.policy import deadlines, limits, timeouts
from idp.policy.allowed_networks import Outside
from idp.policy.hours import Hours
from idp.policy.limits import Limit
from idp.policy.selection import Book, chosen
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
class OwnHours:
    """When somebody may be signed in, and the next day that is an exception."""

    hours: Hours
    next_holiday: date | None


@dataclass(frozen=True, slots=True)
class OwnNetworks:
    """Somebody may come from some networks only, or not from some; and what happens elsewhere."""

    only: bool
    outside: Outside


@dataclass(frozen=True, slots=True)
class OwnRules:
    """What holds for a person, as for a session like the one that asks."""

    limits: list[OwnLimit]
    idle: Duration
    absolute: Duration
    hours: list[OwnHours]
    networks: OwnNetworks | None


def of(unit: UnitOfWork, book: Book, session: Session, *, roles: Collection[str]) -> OwnRules:
    """What the rules in `book` say for the person of a session."""
    beside, whose = room.running(unit, session.user_id), subject(session, roles)
    lasting = timeouts.effective(book["timeouts"], whose)
    return OwnRules(
        limits=[
            OwnLimit(limit, limits.used(limit, beside))
            for limit in limits.possible(book["limits"], roles)
        ],
        idle=lasting.idle,
        absolute=lasting.absolute,
        hours=[_hours(one, unit.now) for one in deadlines.hours_of(book, whose) or ()],
        networks=_networks(chosen(book.get("networks", ()), whose)),
    )


def _hours(hours: Hours, now: Instant) -> OwnHours:
    today = datetime.fromtimestamp(now // SECOND, hours.zone).date()
    coming = (day for day in hours.holidays if day >= today and day.weekday() in hours.days)
    return OwnHours(hours, min(coming, default=None))


def _networks(values: Sequence[Mapping[str, Any]]) -> OwnNetworks | None:
    """Of several rules all count: who must come from somewhere, and whom the sternest ends."""
    if not values:
        return None
    ends = any(value.get("outside") == "end" for value in values)
    return OwnNetworks(any("allow" in value for value in values), "end" if ends else "refuse")

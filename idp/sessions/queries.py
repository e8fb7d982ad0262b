"""Reading sessions: the named questions that pages and APIs ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, func, null, or_, select

from idp.clock import DAY, Instant
from idp.sessions import epoch, life, place
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork

ENDED_SHOWN = 100
# A browser whose session ended so is not known for having been in.
TURNED_OUT = ("disowned", "admin", "factor_removed", "remember_copied")


@dataclass(frozen=True, slots=True)
class Details:
    """The sealed part of a session, opened."""

    label: str | None
    default_label: str
    ip: str | None
    user_agent: str
    place: Place
    # The device that let it in, by the name it had then.
    via: str | None

    @property
    def name(self) -> str:
        """What to call it: the person's name for it, else the default label."""
        return self.label or self.default_label


def details_of(unit: UnitOfWork, session: Session) -> dict[str, Any]:
    """The sealed part of a session as it is stored."""
    opened = unit.vault.open_text(session.details, f"session.details:{session.id}")
    values: dict[str, Any] = orjson.loads(opened)
    return values


def sealed_details(unit: UnitOfWork, session_id: str, values: dict[str, Any]) -> str:
    """The sealed part of a session as it is to be stored."""
    return unit.vault.seal_text(orjson.dumps(values).decode(), f"session.details:{session_id}")


def details(unit: UnitOfWork, session: Session) -> Details:
    values = details_of(unit, session)
    return Details(
        label=values.get("label"),
        default_label=values.get("default_label") or "Unknown device",
        ip=values.get("ip"),
        user_agent=values.get("user_agent") or "",
        place=place.restored(values.get("place"), country=session.country, asn=session.asn),
        via=values.get("via"),
    )


def let_in_by(unit: UnitOfWork, user_id: str, session_id: str) -> list[str]:
    """A person's running sessions that this one let in, or that those did, whatever was wished."""
    approvers = {
        one.id: details_of(unit, one).get("approver_id") for one in running_of(unit, user_id)
    }
    known, waiting = {session_id}, [session_id]
    while waiting:
        approver = waiting.pop()
        found = {one for one, by in approvers.items() if by == approver} - known
        known |= found
        waiting += found
    return sorted(known - {session_id})


def running_of(unit: UnitOfWork, user_id: str) -> list[Session]:
    """A person's running sessions, the most recently active first.

    One whose deadline has passed is left out even before the worker has ended it.
    """
    return list(
        unit.orm.scalars(
            select(Session)
            .where(Session.user_id == user_id, life.alive(unit.now))
            .order_by(Session.last_active_at.desc(), Session.id)
        )
    )


@dataclass(frozen=True, slots=True)
class Activity:
    """How many sessions somebody has, and when one of them was used last."""

    sessions: int
    last_active_at: Instant


def activity_of(unit: UnitOfWork, user_ids: Sequence[str]) -> dict[str, Activity]:
    """The running sessions of some people, counted; whoever has none is left out."""
    rows = unit.connection.execute(
        select(Session.user_id, func.count(), func.max(Session.last_active_at))
        .where(Session.user_id.in_(user_ids), life.alive(unit.now))
        .group_by(Session.user_id)
    )
    return {user_id: Activity(count, at) for user_id, count, at in rows}


def ended_of(unit: UnitOfWork, user_id: str, *, days: int) -> list[Session]:
    """A person's ended sessions of the last `days`, the latest end first; at most 100."""
    since: Instant = unit.now - days * DAY
    return list(
        unit.orm.scalars(
            select(Session)
            .where(Session.user_id == user_id, Session.ended_at > since)
            .order_by(Session.ended_at.desc(), Session.id)
            .limit(ENDED_SHOWN)
        )
    )


def one_of(unit: UnitOfWork, user_id: str, session_id: str) -> Session | None:
    """A session by id if it belongs to this person; another's is as unknown as none (AD-02)."""
    return unit.orm.scalar(
        select(Session).where(Session.id == session_id, Session.user_id == user_id)
    )


def left_in_peace() -> ColumnElement[bool]:
    """SQL for "nobody turned out its browser by ending it", which its epoch did, marked or not."""
    return or_(
        and_(Session.end_reason == null(), epoch.is_current()),
        and_(*(Session.end_reason != why for why in TURNED_OUT)),
    )


def was_here_before(unit: UnitOfWork, session: Session) -> bool:
    """Whether its person had a session in the same browser before; of a shared one nobody knows."""
    if session.device_hash is None:
        return False
    found = unit.orm.scalar(
        select(Session.id)
        .where(
            Session.device_hash == session.device_hash,
            Session.user_id == session.user_id,
            Session.id != session.id,
            left_in_peace(),
        )
        .limit(1)
    )
    return found is not None

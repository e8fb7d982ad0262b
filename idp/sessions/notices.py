"""What a person is told in a session of their others: which began since, and were not seen yet (U4).

A session that began before this one is no news in it, nor is one that is over: the list shows both.
Mail of a new sign-in is `idp.notify`.
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, null, or_, select, update

from idp.clock import Instant
from idp.sessions import life, queries
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

SHOWN = 5


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session of the same person that began while this one was running."""

    id: str
    name: str
    ip: str | None
    created_at: Instant


def unseen(unit: UnitOfWork, session: Session) -> list[NewSession]:
    """The running sessions that began since, the newest first; at most `SHOWN`."""
    since = max(session.created_at, session.notices_seen_at or 0)
    others = unit.orm.scalars(
        select(Session)
        .where(
            Session.user_id == session.user_id,
            Session.id != session.id,
            Session.created_at > since,
            life.alive(unit.now),
        )
        .order_by(Session.created_at.desc(), Session.id)
        .limit(SHOWN)
    )
    told = []
    for other in others:
        details = queries.details(unit, other)
        told.append(NewSession(other.id, details.name, details.ip, other.created_at))
    return told


def saw(unit: UnitOfWork, session: Session, until: Instant) -> None:
    """The person has seen what began until then; what came after is told still."""
    unit.connection.execute(
        update(Session)
        .where(
            Session.id == session.id,
            life.alive(unit.now),
            or_(Session.notices_seen_at == null(), Session.notices_seen_at < bindparam("until")),
        )
        .values(notices_seen_at=bindparam("until")),
        {"until": min(until, unit.now)},
    )

"""How sessions stand at this moment, many of them in one statement: for whoever watches them.

Reading it is no activity: nothing is touched, rotated or ended. A session that has run out is over
for whoever asks `endings.reason_of`, also before the worker has said so.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.orm import aliased

from idp import ids
from idp.clock import Instant
from idp.sessions import epoch, life
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class State:
    """One session, its deadlines, its end if it has one, and what changes with its person's list."""

    session_id: str
    user_id: str
    idle_at: Instant
    expires_at: Instant
    expiry_reason: str | None
    ended_at: Instant | None
    end_reason: str | None
    # Of the person's sessions: how many are running, and when the newest of them began.
    running: int
    newest_at: Instant

    @property
    def list_id(self) -> str:
        """Another one whenever a session of this person begins or ends."""
        return f"{self.running}.{self.newest_at}"


_other = aliased(Session)
_RUNNING = (_other.user_id == Session.user_id) & life.alive(bindparam("now"), _other)
_STATES = select(
    Session.id,
    Session.user_id,
    Session.idle_at,
    Session.expires_at,
    Session.expiry_reason,
    epoch.ended_at(),
    epoch.end_reason(),
    select(func.count()).where(_RUNNING).scalar_subquery(),
    func.coalesce(select(func.max(_other.created_at)).where(_RUNNING).scalar_subquery(), 0),
)


def states_of(unit: UnitOfWork, session_ids: Collection[str]) -> dict[str, State]:
    """The state of each of these sessions that there is still."""
    rows = unit.connection.execute(_STATES.where(Session.id.in_(session_ids)), {"now": unit.now})
    return {row[0]: State(*row) for row in rows}


def session_of(unit: UnitOfWork, secret: str) -> str | None:
    """The id of the session whose cookie holds `secret`, running or over; None if there is none."""
    hashed = ids.digest(secret)
    return unit.connection.scalar(
        select(Session.id).where(
            or_(
                Session.secret_hash == hashed,
                and_(
                    Session.previous_secret_hash == hashed,
                    or_(Session.previous_until > unit.now, ~life.alive(unit.now)),
                ),
            )
        )
    )

"""Whether a session lives: the one word for it, in SQL and of a row that was read.

It lives until it is ended, its epoch is over, or a deadline of it has passed. Only the first of these
is in its row at once: time and a new epoch end sessions without touching them, and whoever meets one,
or the worker, marks it later (`lifecycle.end`). So two questions can be asked, and each has its words:

- `alive`, `is_alive`, `is_over`, `end_of`: does it live? For whoever gives, shows or counts anything.
- `unmarked`, `is_marked`: does its row say that it ended? For whoever marks it; for what must find
  every row that is not marked yet, over or not; and for writes of a request that has judged the session
  a moment ago, which only have to lose against a mark.

Nobody else compares `ended_at` (`tests/test_architecture.py`). The facts of the protocol endpoints and
`state` are read with their epoch: of those `endings.reason_of` is the answer.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, null, select

from idp.clock import Instant
from idp.sessions import endings, epoch
from idp.sessions.epoch import Epoch
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork


class Markable(Protocol):
    """What was read of a session's row."""

    @property
    def ended_at(self) -> Instant | None: ...


@dataclass(frozen=True, slots=True)
class End:
    """When a session ended, why, and who did it: as it is marked, or is going to be."""

    at: Instant
    reason: str
    by: str
    by_id: str | None


def alive(now: Any, model: type[Session] = Session) -> ColumnElement[bool]:
    """SQL for "this session lives at `now`", an instant or a parameter."""
    return and_(
        unmarked(model), epoch.is_current(model), model.idle_at > now, model.expires_at > now
    )


def unmarked(model: type[Session] = Session) -> ColumnElement[bool]:
    """SQL for "its row does not say that it ended"; the partial indexes of sessions are found by it."""
    return model.ended_at == null()


def marked() -> ColumnElement[bool]:
    """SQL for "its row says that it ended"."""
    return Session.ended_at != null()


def is_marked(session: Markable) -> bool:
    """Whether its row says that it ended."""
    return session.ended_at is not None


def is_alive(unit: UnitOfWork, session_id: str) -> bool:
    """Whether a session lives now, as its row says."""
    found = unit.orm.scalar(select(Session.id).where(Session.id == session_id, alive(unit.now)))
    return found is not None


def is_over(unit: UnitOfWork, session: Session) -> bool:
    """Whether a session is over; if not, its epoch is not before this commit.

    The caller has locked it. For what outlives the session that asks for it: a password, a factor.
    """
    epoch.hold(unit)
    return end_of(session, epoch.present(unit), unit.now) is not None


def end_of(session: Session, present: Epoch, now: Instant) -> End | None:
    """The end of a session, also before it is marked; None while it lives."""
    if is_marked(session):
        return End(
            session.ended_at or now,
            session.end_reason or "",
            session.ended_by or "system",
            session.ended_by_id,
        )
    if session.epoch < present.number:
        return End(present.began_at, epoch.REASON, present.actor, present.actor_id)
    reason = endings.reason_of(session, now)
    return End(endings.deadline(session), reason, "system", None) if reason is not None else None


def met_at(session: Session, end: End) -> Instant:
    """When it ended for its person: at the deadline it met, which may be noticed later."""
    return min(end.at, endings.deadline(session))

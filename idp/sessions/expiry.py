"""What time ends: sessions whose deadline has passed, and those that are given a nearer one.

Owns the worker's part of every expiry. When a session runs out is decided when it begins
(`beginning.start`); a page that finds it past its deadline ends it by itself (`lifecycle.resume`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, case, or_, select, update

from idp.clock import Instant
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import SessionsEndSoon
from idp.policy import timeouts
from idp.sessions import endings, epoch, life, lifecycle
from idp.sessions.endings import ENDS_SOON
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork

# Sessions ended in one transaction by the worker.
BATCH = 200


_DEADLINES = (Session.id, Session.idle_at, Session.expires_at, Session.expiry_reason)
_OVERDUE_OF = HotStatement(
    select(*_DEADLINES).where(
        Session.user_id == bindparam("person"),
        life.unmarked(),
        or_(
            Session.idle_at <= bindparam("now"),
            Session.expires_at <= bindparam("now"),
            ~epoch.is_current(),
        ),
    )
)


def end_expired(unit: UnitOfWork, *, batch: int = BATCH) -> int:
    """Ends sessions whose deadline has passed; gives how many. The worker calls it."""
    due: dict[str, Sequence[Any]] = {}
    # One after the other: SQLite has an index for each, and for "one or the other" it reads all.
    for deadline in (Session.idle_at, Session.expires_at):
        overdue = select(*_DEADLINES).where(life.unmarked(), deadline <= unit.now)
        due |= {row.id: row for row in unit.orm.execute(overdue.limit(batch))}
    return _end(unit, list(due.values())[:batch])


def end_expired_of(unit: UnitOfWork, user_id: str) -> None:
    """Ends those of one person, without waiting for the worker: before their sessions are counted.

    And those of an older epoch, which are over as well.
    """
    _end(unit, unit.run(_OVERDUE_OF, {"person": user_id, "now": unit.now}))


def end_soon(
    unit: UnitOfWork, user_id: str, *, keeping: str | None, at: Instant, actor: Actor
) -> int:
    """Gives a person's running sessions but `keeping` a nearer end, because of a new password.

    Gives how many. No deadline moves later (row B5: grace for the others); whichever they meet first,
    they end for this reason, so that no access outlives them (`endings.why_over`).
    """
    moved = unit.connection.execute(
        update(Session)
        .where(
            Session.user_id == user_id,
            Session.id != (keeping or ""),
            life.alive(unit.now),
        )
        .values(
            expires_at=case((Session.expires_at > at, at), else_=Session.expires_at),
            expiry_reason=ENDS_SOON,
        )
    ).rowcount
    unit.record(
        SessionsEndSoon(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=user_id,
            reason=ENDS_SOON,
            kept=keeping,
            count=moved,
        )
    )
    return moved


def _end(unit: UnitOfWork, due: Iterable[Sequence[Any]]) -> int:
    reasons: dict[str, endings.EndReason] = {}
    for session_id, idle_at, expires_at, expiry_reason in due:
        ran = timeouts.ran_out(idle_at=idle_at, expires_at=expires_at, now=unit.now)
        reasons[session_id] = (
            endings.why_over(ran, expiry_reason) if ran is not None else epoch.REASON
        )
    return len(lifecycle.end_each(unit, reasons, actor=SYSTEM))

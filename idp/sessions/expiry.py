"""What time ends: sessions whose deadline has passed, and those that are given a nearer one.

Owns the worker's part of every expiry. When a session runs out is decided when it begins
(`lifecycle.start`); a page that finds it past its deadline ends it by itself (`lifecycle.resume`).
"""

from sqlalchemy import or_, select, update

from idp.clock import Instant
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import SessionsEndSoon
from idp.policy import timeouts
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

# Sessions ended in one transaction by the worker.
BATCH = 200


def end_expired(unit: UnitOfWork, *, batch: int = BATCH) -> int:
    """Ends sessions whose deadline has passed; gives how many. The worker calls it."""
    due = unit.orm.execute(
        select(Session.id, Session.idle_at, Session.expires_at, Session.expiry_reason)
        .where(
            Session.ended_at.is_(None),
            or_(Session.idle_at <= unit.now, Session.expires_at <= unit.now),
        )
        .limit(batch)
    ).all()
    count = 0
    for row in due:
        ran = timeouts.ran_out(idle_at=row.idle_at, expires_at=row.expires_at, now=unit.now)
        if ran is not None:
            why = lifecycle.why_over(ran, row.expiry_reason)
            count += len(lifecycle.end(unit, [row.id], reason=why, actor=SYSTEM))
    return count


def end_soon(
    unit: UnitOfWork, user_id: str, *, keeping: str | None, at: Instant, actor: Actor
) -> int:
    """Gives a person's running sessions but `keeping` a nearer end, because of a new password.

    Gives how many. No deadline moves later (row B5: grace for the others).
    """
    moved = unit.connection.execute(
        update(Session)
        .where(
            Session.user_id == user_id,
            Session.id != (keeping or ""),
            Session.expires_at > at,
            lifecycle.alive(unit.now),
        )
        .values(expires_at=at, expiry_reason="password_changed")
    ).rowcount
    unit.record(
        SessionsEndSoon(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=user_id,
            reason="password_changed",
            kept=keeping,
            count=moved,
        )
    )
    return moved

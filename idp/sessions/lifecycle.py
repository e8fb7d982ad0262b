"""The life of a session: resume, touch, re-authenticate, end.

The only writer of `Session`, with `beginning`, `rotation` (its secret grew old), `expiry` (what time
ends), `marks` (what their person says of them), `hot` (what the protocol endpoints write),
`aftermath` (their person changed), `remember` (a remembered browser began it), `notices` (what was
seen), `preferences` (how its pages look) and `sealing` (the secret key changed); history is deleted
by `idp.oauth.cleanup`, with the grants in it.

Everything that ends a session goes through `end`, so every end (person, administrator, limit,
expiry, password change, an app's logout) reaches every app: `end` records `SessionEnded`, and
whoever must act on it has subscribed to that event.

Invariants kept here: an ended session never lives again (every change is conditional on its being
alive, or not marked yet: `life`); a deadline never moves later than its definition; the secret
changes at every change of identity or strength, and the old one is dead at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.orm.util import identity_key

from idp import ids
from idp.clock import SECOND, Duration, Instant
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import (
    SessionEnded,
    SessionExtended,
    SessionReauthenticated,
    SignedOutEverywhere,
)
from idp.policy import assurance, timeouts
from idp.policy.assurance import Authentication as Authentication
from idp.sessions import challenge, endings, epoch, life, locks, offspring, rotation
from idp.sessions.device import Visit
from idp.sessions.endings import EndReason
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork

# A touch is written only when the last one is this old: browsing costs no disk.
TOUCH_EVERY: Duration = 30 * SECOND
# Of a session's proofs; the oldest go first.
PROOFS_KEPT = 20


def resume(unit: UnitOfWork, secret: str | None) -> Session | None:
    """The living session a cookie's secret belongs to, or None.

    A session found past its deadline, or of an older epoch, is ended here, so that its apps are told
    without waiting for the worker.
    """
    if not secret or len(secret) > 128:
        return None
    hashed = ids.digest(secret)
    found = unit.orm.execute(
        select(Session, epoch.is_current()).where(
            or_(
                Session.secret_hash == hashed,
                and_(Session.previous_secret_hash == hashed, Session.previous_until > unit.now),
            ),
            life.unmarked(),
        )
    ).one_or_none()
    if found is None:
        return None
    session, is_current = found
    if not is_current:
        end(unit, [session.id], reason=epoch.REASON, actor=SYSTEM)
        return None
    ran = timeouts.ran_out(idle_at=session.idle_at, expires_at=session.expires_at, now=unit.now)
    if ran is not None:
        end(unit, [session.id], reason=endings.why_over(ran, session.expiry_reason), actor=SYSTEM)
        return None
    rotation.confirm(unit, session, hashed)
    return session


def touch(unit: UnitOfWork, session: Session) -> None:
    """Notes activity: slides the idle deadline, at most once in `TOUCH_EVERY`."""
    if unit.now - session.last_active_at < TOUCH_EVERY:
        return
    unit.orm.execute(
        update(Session)
        .where(Session.id == session.id, life.alive(unit.now))
        .values(last_active_at=unit.now, idle_at=unit.now + session.idle_timeout)
        .execution_options(synchronize_session="fetch")
    )


def extend(unit: UnitOfWork, session: Session, actor: Actor) -> bool:
    """ "Stay signed in": slides the idle deadline now; the absolute one stays where it is.

    False when the session ended meanwhile: nothing brings it back. Asked for again within
    `TOUCH_EVERY`, it is so already and nothing is written.
    """
    if session.idle_at > unit.now + session.idle_timeout - TOUCH_EVERY:
        return life.is_alive(unit, session.id)
    extended = unit.orm.execute(
        update(Session)
        .where(Session.id == session.id, life.alive(unit.now))
        .values(last_active_at=unit.now, idle_at=unit.now + session.idle_timeout)
        .returning(Session.id)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    if extended is None:
        return False
    unit.record(
        SessionExtended(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=session.user_id,
            session_id=session.id,
        )
    )
    return True


def reauthenticate(
    unit: UnitOfWork, session: Session, proved: Sequence[Authentication], visit: Visit
) -> str:
    """Records new proofs by the same person; gives the new secret, the old one is dead.

    Raises `Refused` (`session_changed`) when another tab was first, or the session is over by now.
    """
    # First, by the deadlines that it has: nothing may be written to a session that ran out meanwhile.
    secret = rotation.rotate(unit, session, previous_until=None)
    if secret is None:
        raise Refused(
            "session_changed", "This session was changed in another tab. Please try again.", 409
        )
    fresh = [recorded_proof(one, unit.now) for one in proved]
    recorded = [*session.authentications, *fresh]
    session.authentications = recorded[-PROOFS_KEPT:]
    challenge.settle(unit, session, visit, assurance.proofs(fresh))
    session.acr = level_of(session.authentications)
    session.auth_time = max(one["at"] for one in recorded)
    session.last_active_at = unit.now
    session.idle_at = unit.now + session.idle_timeout
    unit.record(
        SessionReauthenticated(
            actor="user",
            actor_id=session.user_id,
            user_id=session.user_id,
            session_id=session.id,
            method=proved[-1].method,
            acr=session.acr,
        )
    )
    return secret


_END = HotStatement(
    update(Session)
    .where(Session.id == bindparam("session_id"), life.unmarked())
    .values(
        **epoch.marked(bindparam("now"), bindparam("why"), bindparam("who"), bindparam("which"))
    )
    .returning(Session.user_id, Session.end_reason, Session.ended_by, Session.ended_by_id)
)
_RUNNING = HotStatement(
    select(Session.id).where(Session.user_id == bindparam("person"), life.unmarked())
)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A session that ended just now, whose it was, why, and who did it."""

    session_id: str
    user_id: str
    reason: EndReason
    by: Actor


def end(
    unit: UnitOfWork,
    session_ids: Sequence[str],
    *,
    reason: EndReason,
    actor: Actor,
    sparing: str | None = None,
) -> list[str]:
    """Ends sessions, durably with this unit of work; gives the ids of those that were living.

    The update is the decision: of two that end one session, one gets its id back. Those they let in
    end with them (`offspring`), but for `sparing`.
    """
    return end_each(unit, dict.fromkeys(session_ids, reason), actor=actor, sparing=sparing)


def end_each(
    unit: UnitOfWork,
    reasons: Mapping[str, EndReason],
    *,
    actor: Actor,
    sparing: str | None = None,
) -> list[str]:
    """The same, of sessions that end for a reason each."""
    waiting, ended = dict(reasons), list[_Ended]()
    for let_in in _let_in_by(unit, reasons, sparing):
        waiting.setdefault(let_in, "parent_ended")
    if len(waiting) > 1:
        locks.people_of(unit, waiting)
    while waiting:
        over = [found for one in sorted(waiting) if (found := _end_one(unit, one, waiting, actor))]
        ended += over
        # Let in while this waited for the session that did it.
        late = _let_in_by(unit, {one.session_id: one.reason for one in over}, sparing)
        waiting = dict.fromkeys(late, "parent_ended")
    # Told when all are over: whoever hears of one locks what hangs on it, which is behind the sessions.
    for one in ended:
        unit.record(
            SessionEnded(
                actor=one.by.kind,
                actor_id=one.by.id,
                user_id=one.user_id,
                session_id=one.session_id,
                reason=one.reason,
            )
        )
    return [one.session_id for one in ended]


def end_all_of(
    unit: UnitOfWork,
    user_id: str,
    *,
    reason: EndReason,
    actor: Actor,
    keeping: str | None = None,
) -> list[str]:
    """Ends every running session of a user but `keeping`, and what has outlived older ones."""
    # The person is the lock, so that no session that is being begun slips through.
    locks.person(unit, user_id)
    running = [row[0] for row in unit.run(_RUNNING, {"person": user_id})]
    leaving = [one for one in running if one != keeping]
    ended = end(unit, leaving, reason=reason, actor=actor, sparing=keeping)
    unit.record(
        SignedOutEverywhere(
            actor=actor.kind, actor_id=actor.id, user_id=user_id, reason=reason, kept=keeping
        )
    )
    return ended


def _let_in_by(unit: UnitOfWork, reasons: Mapping[str, EndReason], sparing: str | None) -> set[str]:
    """The running sessions that end with these, for the reasons they end for."""
    taking_along = [one for one, reason in reasons.items() if endings.takes(reason, "let_in")]
    return offspring.of(unit, taking_along) - {sparing}


def _end_one(
    unit: UnitOfWork, session_id: str, reasons: Mapping[str, EndReason], actor: Actor
) -> _Ended | None:
    """Ends one session; None when it was over, or there is none."""
    rows = unit.run(
        _END,
        {
            "session_id": session_id,
            "now": unit.now,
            "why": reasons[session_id],
            "who": actor.kind,
            "which": actor.id,
        },
    )
    if not rows:
        return None
    _forget_read(unit, session_id)
    user_id, reason, by, by_id = rows[0]
    return _Ended(session_id, user_id, reason, Actor(by, by_id))


def _forget_read(unit: UnitOfWork, session_id: str) -> None:
    """Makes the ORM session read this row again, should it hold it."""
    held = unit.orm.identity_map.get(identity_key(Session, session_id))
    if held is not None:
        unit.orm.expire(held)


def level_of(recorded: Sequence[dict[str, Any]]) -> str:
    """The level that recorded proofs earn."""
    found = assurance.standing(assurance.proofs(recorded))
    return found.acr if found is not None else assurance.LADDER[0]


def recorded_proof(authentication: Authentication, at: Instant) -> dict[str, Any]:
    """A proof as a session keeps it."""
    return {
        "method": authentication.method,
        "amr": list(authentication.amr),
        "acr": authentication.acr,
        "at": at if authentication.at is None else authentication.at,
        "credential": authentication.credential,
    }

"""Browsers that stay signed in no more: whatever takes a series away, and who asks for it.

A series outlives the sessions it began when time, a limit or another sign-in ends them; it dies with
every other end, because whoever signs a device out, here or from afar, does not expect it to come
back by itself. It dies with the password, with the passkey or code it was earned by, and with its
person's right to sign in. Apps hear of the sessions; nobody but the person needs to hear of this.

Locks are taken in one order: person, sessions, series (no deadlock on PostgreSQL).
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, delete, null, select, update

from idp.clock import DAY, Instant
from idp.events.actor import Actor
from idp.events.catalogue import (
    FactorRemoved,
    FactorSuspended,
    PasswordChanged,
    RememberForgotten,
    SessionDisowned,
    SessionEnded,
    SignedOutEverywhere,
    UserChanged,
)
from idp.policy.assurance import REMEMBERED
from idp.sessions import endings, epoch, life, lifecycle
from idp.sessions.model import RememberedBrowser, Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ACTIVE, User

BATCH = 1_000

_REVOKE = HotStatement(
    update(RememberedBrowser)
    .where(RememberedBrowser.id == bindparam("series_id"), RememberedBrowser.revoked_at == null())
    .values(revoked_at=bindparam("now"), revoke_reason=bindparam("why"))
    .returning(RememberedBrowser.user_id, RememberedBrowser.name, RememberedBrowser.expires_at)
)
_OF_SESSION = HotStatement(
    select(Session.remembered_id).where(
        Session.id == bindparam("session_id"), Session.remembered_id != null()
    )
)


def revoke(unit: UnitOfWork, series_id: str, *, reason: str, actor: Actor) -> bool:
    """Makes one series worth nothing; False when it was so already.

    The update is the decision: of two that revoke one series, one is told True.
    """
    rows = unit.run(_REVOKE, {"series_id": series_id, "now": unit.now, "why": reason})
    if not rows:
        return False
    user_id, name, expires_at = rows[0]
    if expires_at > unit.now and reason != "copied":  # that one has an event of its own
        unit.record(
            RememberForgotten(
                actor=actor.kind,
                actor_id=actor.id,
                user_id=user_id,
                reason=reason,
                series=series_id,
                browser=name,
            )
        )
    return True


def revoke_all_of(
    unit: UnitOfWork,
    user_id: str,
    *,
    reason: str,
    actor: Actor,
    keeping: str | None = None,
    begun_until: Instant | None = None,
) -> int:
    """Makes every series of a person worth nothing but that of the session `keeping`, and those that
    were made after `begun_until`; how many.

    The caller has locked the sessions that it will touch (`hold`), or touches none afterwards.
    """
    kept = None
    if keeping is not None:
        kept = unit.connection.scalar(select(Session.remembered_id).where(Session.id == keeping))
    living = _living_of(unit, user_id, begun_until)
    return _each(unit, [one for one in living if one != kept], reason, actor)


def hold(unit: UnitOfWork, user_id: str) -> None:
    """Locks a person's running sessions that have a series, before any series is touched."""
    unit.flush()
    unit.connection.execute(
        select(Session.id)
        .where(
            Session.user_id == user_id,
            life.unmarked(),
            Session.remembered_id.is_not(None),
        )
        .order_by(Session.id)
        .with_for_update(key_share=True)
    )


def with_session(unit: UnitOfWork, event: SessionEnded | SessionDisowned) -> None:
    """Subscriber: whoever ends a session also means the browser it ran in."""
    # Whoever ends it for a copy revokes the series, and says so in words of its own.
    if isinstance(event, SessionEnded) and (
        event.reason == "remember_copied" or not endings.takes(event.reason, "browser")
    ):
        return
    reason = event.reason or "disowned"
    for (series_id,) in unit.run(_OF_SESSION, {"session_id": event.session_id}):
        revoke(unit, series_id, reason=reason, actor=Actor(event.actor, event.actor_id))


def with_everything(unit: UnitOfWork, event: SignedOutEverywhere) -> None:
    """Subscriber: "everywhere" means browsers without a session, too."""
    if event.user_id is not None:
        revoke_all_of(
            unit,
            event.user_id,
            reason=event.reason or "signed_out_everywhere",
            actor=Actor(event.actor, event.actor_id),
            keeping=event.kept,
            begun_until=event.begun_until,
        )


def with_password(unit: UnitOfWork, event: PasswordChanged) -> None:
    """Subscriber: whoever knew the old password may have asked for it."""
    if event.user_id is not None:
        hold(unit, event.user_id)
        actor = Actor(event.actor, event.actor_id)
        revoke_all_of(unit, event.user_id, reason="password_changed", actor=actor)


def with_person(unit: UnitOfWork, event: UserChanged) -> None:
    """Subscriber: somebody who may not sign in, and later may again, signs in anew."""
    if event.user_id is None or "status" not in event.changed:
        return
    unit.flush()
    status = unit.connection.scalar(select(User.status).where(User.id == event.user_id))
    if status != ACTIVE:
        hold(unit, event.user_id)
        actor = Actor(event.actor, event.actor_id)
        revoke_all_of(unit, event.user_id, reason="user_disabled", actor=actor)


def with_factor(unit: UnitOfWork, event: FactorRemoved | FactorSuspended) -> None:
    """Subscriber: what was earned by a credential that is not taken any more is lost with it."""
    if event.user_id is None:
        return
    hold(unit, event.user_id)
    rows = unit.connection.execute(
        select(RememberedBrowser.id, RememberedBrowser.credentials)
        .where(RememberedBrowser.user_id == event.user_id, RememberedBrowser.revoked_at.is_(None))
        .order_by(RememberedBrowser.id)
    ).all()
    earned = [row.id for row in rows if event.credential in row.credentials]
    actor = Actor(event.actor, event.actor_id)
    lifecycle.end(
        unit, _resting_on(unit, event.user_id, earned), reason="factor_removed", actor=actor
    )
    _each(unit, earned, "factor_removed", actor)


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what expired a day ago or longer; gives how many. The worker calls it.

    What was revoked stays until then, so that its browser can be told why.
    """
    past = (
        select(RememberedBrowser.id)
        .where(RememberedBrowser.expires_at <= unit.now - DAY)
        .limit(BATCH)
    )
    return unit.connection.execute(
        delete(RememberedBrowser).where(RememberedBrowser.id.in_(past))
    ).rowcount


def _resting_on(unit: UnitOfWork, user_id: str, series_ids: list[str]) -> list[str]:
    """The running sessions that nothing else began than one of these series."""
    rows = unit.connection.execute(
        select(Session.id, Session.authentications).where(
            Session.user_id == user_id,
            life.unmarked(),
            Session.remembered_id.in_(series_ids),
        )
    )
    return [
        row.id for row in rows if {one["method"] for one in row.authentications} == {REMEMBERED}
    ]


def _living_of(unit: UnitOfWork, user_id: str, begun_until: Instant | None) -> Sequence[str]:
    """In the order in which series are locked."""
    living = select(RememberedBrowser.id).where(
        RememberedBrowser.user_id == user_id, RememberedBrowser.revoked_at.is_(None)
    )
    if begun_until is not None:
        living = living.where(epoch.begun_until(begun_until, RememberedBrowser))
    ordered = living.order_by(RememberedBrowser.id).with_for_update(key_share=True)
    return unit.connection.scalars(ordered).all()


def _each(unit: UnitOfWork, series_ids: Iterable[str], reason: str, actor: Actor) -> int:
    return sum(revoke(unit, one, reason=reason, actor=actor) for one in series_ids)

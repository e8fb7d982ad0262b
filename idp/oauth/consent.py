"""What a person allowed an app, remembered until they take it back."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from idp.clock import Instant
from idp.events.actor import Actor
from idp.events.catalogue import ConsentDenied, ConsentGranted, ConsentRevoked
from idp.oauth import authorizations
from idp.oauth.model import Client, Consent
from idp.storage.columns import LOCKED
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User


@dataclass(frozen=True, slots=True)
class Given:
    """One consent, as the account page shows it."""

    client_id: str
    name: str
    scope: str
    granted_at: Instant


def grant(unit: UnitOfWork, *, user_id: str, session_id: str, client_id: str, scope: str) -> None:
    """Adds `scope` to what this person allows this client."""
    # The person is the lock: two tabs may allow the same app for the first time at once.
    unit.orm.get(User, user_id, with_for_update=LOCKED)
    row = unit.orm.get(Consent, (user_id, client_id))
    if row is None:
        row = Consent(user_id=user_id, client_id=client_id, scope=scope, granted_at=unit.now)
        unit.orm.add(row)
    else:
        row.scope = " ".join(dict.fromkeys([*row.scope.split(), *scope.split()]))
        row.granted_at = unit.now
    unit.record(
        ConsentGranted(
            actor="user",
            actor_id=user_id,
            user_id=user_id,
            session_id=session_id,
            client_id=client_id,
            scope=scope,
        )
    )


# Changes nothing; that it finds the consent as it was read, and locks it, is what it is for.
_HOLD = HotStatement(
    update(Consent)
    .where(
        Consent.user_id == bindparam("person"),
        Consent.client_id == bindparam("app"),
        Consent.scope == bindparam("allowed"),
    )
    .values(granted_at=Consent.granted_at),
    must_change=True,
)


def holding(user_id: str, client_id: str, scope: str) -> Write:
    """Written beside a new grant that rests on this consent: a revocation misses none."""
    return Write(_HOLD, {"person": user_id, "app": client_id, "allowed": scope})


def deny(unit: UnitOfWork, *, user_id: str | None, session_id: str | None, client_id: str) -> None:
    """Records that a person said no; nothing is remembered of it."""
    unit.record(
        ConsentDenied(
            actor="user",
            actor_id=user_id,
            user_id=user_id,
            session_id=session_id,
            client_id=client_id,
        )
    )


def revoke(unit: UnitOfWork, user_id: str, client_id: str, *, actor: Actor) -> bool:
    """Takes a consent back and ends every grant that rested on it; False when there was none."""
    removed = unit.connection.execute(
        delete(Consent)
        .where(Consent.user_id == user_id, Consent.client_id == client_id)
        .returning(Consent.client_id)
    ).one_or_none()
    ended = authorizations.end_all_of(
        unit, user_id, client_id=client_id, reason="consent_revoked", actor=actor
    )
    if removed is None and not ended:
        return False
    unit.record(
        ConsentRevoked(actor=actor.kind, actor_id=actor.id, user_id=user_id, client_id=client_id)
    )
    return True


def of(unit: UnitOfWork, user_id: str) -> list[Given]:
    """What a person allows now, the newest first."""
    rows = unit.connection.execute(
        select(Consent.client_id, Client.name, Consent.scope, Consent.granted_at)
        .join(Client, Client.id == Consent.client_id)
        .where(Consent.user_id == user_id)
        .order_by(Consent.granted_at.desc())
    ).all()
    return [Given(*row) for row in rows]

"""Authorizations: how they are written on the hot path, ended, and asked about.

Every way to end one goes through `end`. Ending a session ends nothing here, because tokens are
views of their session; only offline grants, which outlive a session's expiry, are ended with it
when it was ended for any other reason (`end_offline`, subscribed to `SessionEnded`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, insert, literal_column, null, select, update

from idp.clock import Instant
from idp.events.actor import Actor
from idp.events.catalogue import (
    AuthorizationEnded,
    FactorRemoved,
    FactorSuspended,
    RememberCopied,
    ReuseDetected,
    SessionEnded,
    SessionsEndSoon,
    SignedOutEverywhere,
)
from idp.oauth.model import Authorization, Client
from idp.policy import assurance
from idp.sessions import endings, epoch, life
from idp.sessions.model import Session
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import UnitOfWork

EndReason = Literal[
    "code_reused",
    "code_stolen",
    "refresh_reused",
    "revoked_by_client",
    "consent_revoked",
    "session_ended",
    "signed_out",
    "admin",
]

_ISSUED = (
    "id", "session_id", "user_id", "client_id", "scope", "permission_scope", "claims", "nonce",
    "redirect_uri", "auth_time", "acr", "amr", "offline", "created_at", "last_used_at", "code_hash",
    "code_expires_at", "code_challenge", "refresh_generation",
)  # fmt: skip
_ISSUE = HotStatement(insert(Authorization).inline(), columns=_ISSUED)
_REDEEM = HotStatement(
    update(Authorization)
    .where(
        Authorization.id == bindparam("authorization_id"),
        Authorization.code_redeemed_at == null(),
        Authorization.ended_at == null(),
    )
    .values(
        code_redeemed_at=bindparam("now"),
        last_used_at=bindparam("now"),
        refresh_salt=bindparam("salt"),
        refresh_generation=bindparam("next_generation"),
        refresh_rotated_at=null(),
        refresh_expires_at=bindparam("family_expires_at"),
    ),
    must_change=True,
)
_ROTATE = HotStatement(
    update(Authorization)
    .where(
        Authorization.id == bindparam("authorization_id"),
        Authorization.refresh_generation == bindparam("generation"),
        Authorization.ended_at == null(),
    )
    .values(
        refresh_generation=bindparam("next_generation"),
        refresh_rotated_at=bindparam("now"),
        last_used_at=bindparam("now"),
    ),
    must_change=True,
)


def issue(values: dict[str, Any]) -> Write:
    """Inserts an authorization with its code; JSON values come as text."""
    return Write(_ISSUE, values)


def redeem(
    authorization_id: str, *, salt: bytes | None, family_expires_at: Instant | None, now: Instant
) -> Write:
    """Spends the code, once; begins a refresh family at generation 1 when there is a salt."""
    return Write(
        _REDEEM,
        {
            "authorization_id": authorization_id,
            "salt": salt,
            "next_generation": 1 if salt else 0,
            "family_expires_at": family_expires_at,
            "now": now,
        },
    )


def rotate(authorization_id: str, generation: int, *, now: Instant) -> Write:
    """Moves the refresh family from `generation` to the next, once."""
    return Write(
        _ROTATE,
        {
            "authorization_id": authorization_id,
            "generation": generation,
            "next_generation": generation + 1,
            "now": now,
        },
    )


def end(
    unit: UnitOfWork, authorization_ids: Sequence[str], *, reason: EndReason, actor: Actor
) -> list[str]:
    """Ends authorizations: their code, refresh and access tokens are dead; gives those that lived."""
    if not authorization_ids:
        return []  # most sessions that end have none that outlives them
    _hold_sessions_of_apps(unit, authorization_ids)
    ended: list[str] = []
    for authorization_id in _by_session(unit, authorization_ids):
        row = unit.connection.execute(
            update(Authorization)
            .where(Authorization.id == authorization_id, Authorization.ended_at.is_(None))
            .values(ended_at=unit.now, end_reason=reason)
            .returning(Authorization.user_id, Authorization.session_id, Authorization.client_id)
        ).one_or_none()
        if row is None:
            continue
        ended.append(authorization_id)
        unit.record(
            AuthorizationEnded(
                actor=actor.kind,
                actor_id=actor.id,
                user_id=row.user_id,
                session_id=row.session_id,
                client_id=row.client_id,
                reason=reason,
                authorization_id=authorization_id,
            )
        )
    return ended


def _hold_sessions_of_apps(unit: UnitOfWork, authorization_ids: Sequence[str]) -> None:
    """A session that is an app's own may end with its grant (`devices`), and is taken before it."""
    unit.connection.execute(
        select(Session.id)
        .join(Authorization, Authorization.session_id == Session.id)
        .where(Authorization.id.in_(authorization_ids), Session.origin == "device")
        .order_by(Session.id)
        .with_for_update(key_share=True, of=Session)
    )


def _by_session(unit: UnitOfWork, authorization_ids: Sequence[str]) -> Sequence[str]:
    """The order in which ends of sessions take them too: two orders are a deadlock on PostgreSQL."""
    if len(authorization_ids) < 2:
        return authorization_ids
    return unit.connection.scalars(
        select(Authorization.id)
        .where(Authorization.id.in_(authorization_ids))
        .order_by(Authorization.session_id, Authorization.id)
    ).all()


def end_reused(
    unit: UnitOfWork, authorization_id: str, *, kind: Literal["code", "refresh_token"],
    reason: EndReason, client_id: str,
) -> None:  # fmt: skip
    """A spent code or token came back: ends its grant and records the theft (rows K2, AC-01)."""
    if not end(unit, [authorization_id], reason=reason, actor=Actor("client", client_id)):
        return
    row = unit.connection.execute(
        select(Authorization.user_id, Authorization.session_id, Authorization.client_id).where(
            Authorization.id == authorization_id
        )
    ).one()
    unit.record(
        ReuseDetected(
            actor="client",
            actor_id=client_id,
            user_id=row.user_id,
            session_id=row.session_id,
            client_id=row.client_id,
            reason=reason,
            authorization_id=authorization_id,
            kind=kind,
        )
    )


# Written out and not bound: SQLite uses the index of a person's offline grants only then.
_YES: ColumnElement[int] = literal_column("1")
_OFFLINE = HotStatement(
    select(Authorization.id).where(
        Authorization.session_id == bindparam("ended_session"),
        Authorization.offline == _YES,
        Authorization.ended_at == null(),
    )
)


def end_offline(unit: UnitOfWork, event: SessionEnded) -> None:
    """Subscriber: ends a session's offline grants, unless it ended by time alone."""
    if not endings.takes(event.reason, "offline"):
        return
    rows = unit.run(_OFFLINE, {"ended_session": event.session_id})
    actor = Actor(event.actor, event.actor_id)
    end(unit, [row[0] for row in rows], reason="session_ended", actor=actor)


def end_outlived(unit: UnitOfWork, event: SignedOutEverywhere | SessionsEndSoon) -> None:
    """Subscriber: whoever ends all sessions, now or soon, also ends what had outlived its session."""
    outlived = (
        select(Authorization.id)
        .join(Session, Session.id == Authorization.session_id)
        .where(
            Authorization.user_id == event.user_id,
            Authorization.offline == _YES,
            Authorization.ended_at.is_(None),
            Authorization.session_id != (event.kept or ""),
            # Also of one that has run out and was not marked yet.
            ~life.alive(unit.now),
        )
    )
    if isinstance(event, SignedOutEverywhere) and event.begun_until is not None:
        outlived = outlived.where(epoch.begun_until(event.begun_until))
    found = unit.connection.scalars(outlived).all()
    end(unit, found, reason="signed_out", actor=Actor(event.actor, event.actor_id))


def end_begun_by(unit: UnitOfWork, event: RememberCopied) -> None:
    """Subscriber: what outlived the sessions of a browser ends with it, when its cookie was copied."""
    begun = unit.connection.scalars(
        select(Authorization.id)
        .join(Session, Session.id == Authorization.session_id)
        .where(
            Session.user_id == event.user_id,
            Session.remembered_id == event.series,
            Authorization.offline == _YES,
            Authorization.ended_at.is_(None),
        )
    ).all()
    end(unit, begun, reason="session_ended", actor=Actor(event.actor, event.actor_id))


def lower(unit: UnitOfWork, event: FactorRemoved | FactorSuspended) -> None:
    """Subscriber: no grant says more than its session still proves (after `aftermath.void_proofs`).

    Access tokens that are JWTs say it until they expire.
    """
    unit.flush()
    given = (
        select(Authorization, Session)
        .join(Session, Session.id == Authorization.session_id)
        .where(Authorization.user_id == event.user_id, Authorization.ended_at.is_(None))
    )
    present = epoch.present(unit)
    for grant, session in unit.orm.execute(given).all():
        lives = life.end_of(session, present, unit.now) is None
        # What outlived its session has nothing to be measured by: the lowest.
        proved = assurance.proofs(session.authentications) if lives else ()
        # From its own moment on: what was revoked stands for nothing there.
        still = assurance.standing(proved, since=grant.auth_time)
        if still is not None and assurance.reaches(still.acr, grant.acr):
            continue
        left = assurance.standing(proved, since=1)
        values: dict[str, Any] = {"acr": assurance.LADDER[0], "amr": []}
        if left is not None:
            values = {"acr": min(left.acr, grant.acr), "amr": list(left.amr)}
        if lives:
            values["auth_time"] = min(left.auth_time, grant.auth_time) if left is not None else 0
        unit.connection.execute(
            update(Authorization)
            .where(Authorization.id == grant.id, Authorization.ended_at.is_(None))
            .values(**values)
        )


def end_all_of(
    unit: UnitOfWork,
    user_id: str,
    *,
    reason: EndReason,
    actor: Actor,
    client_id: str | None = None,
) -> list[str]:
    """Ends every grant of a person, or those to one client."""
    # By the person's sessions, because grants have no index by person of their own.
    query = (
        select(Authorization.id)
        .join(Session, Session.id == Authorization.session_id)
        .where(Session.user_id == user_id, Authorization.ended_at.is_(None))
    )
    if client_id is not None:
        query = query.where(Authorization.client_id == client_id)
    return end(unit, unit.connection.scalars(query).all(), reason=reason, actor=actor)


@dataclass(frozen=True, slots=True)
class AppInSession:
    """An app that a session signed in to."""

    client_id: str
    name: str
    client_uri: str | None
    last_used_at: Instant
    has_logout: bool
    state: Literal["active", "ended"]


@dataclass(frozen=True, slots=True)
class OfflineGrant:
    """An app's access that outlived its session's expiry (`offline_access`)."""

    authorization_id: str
    client_id: str
    name: str
    scope: str
    created_at: Instant
    last_used_at: Instant
    expires_at: Instant | None


def apps_in(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, list[AppInSession]]:
    """The apps in each session, the most recently used first; an app counts once."""
    rows = unit.connection.execute(
        select(
            Authorization.session_id,
            Authorization.client_id,
            Client.name,
            Client.client_uri,
            Client.backchannel_logout_uri,
            Authorization.last_used_at,
            Authorization.ended_at.is_(None).label("lives"),
        )
        .join(Client, Client.id == Authorization.client_id)
        .where(
            Authorization.session_id.in_(session_ids), Authorization.code_redeemed_at.is_not(None)
        )
        .order_by(Authorization.last_used_at.desc())
    ).all()
    found: defaultdict[str, dict[str, AppInSession]] = defaultdict(dict)
    for row in rows:
        seen = found[row.session_id].get(row.client_id)
        if seen is not None and (seen.state == "active" or not row.lives):
            continue
        found[row.session_id][row.client_id] = AppInSession(
            client_id=row.client_id,
            name=row.name,
            client_uri=row.client_uri,
            last_used_at=max(row.last_used_at, seen.last_used_at if seen else 0),
            has_logout=row.backchannel_logout_uri is not None,
            state="active" if row.lives else "ended",
        )
    return {session_id: list(apps.values()) for session_id, apps in found.items()}


def offline_of(unit: UnitOfWork, user_id: str) -> list[OfflineGrant]:
    """A person's living offline grants whose session has run out.

    None of an older epoch, whose end takes them too.
    """
    rows = unit.connection.execute(
        select(Authorization, Client.name)
        .join(Client, Client.id == Authorization.client_id)
        .join(Session, Session.id == Authorization.session_id)
        .where(
            Authorization.user_id == user_id,
            Authorization.offline == _YES,
            Authorization.ended_at.is_(None),
            Authorization.refresh_expires_at > unit.now,
            epoch.is_current(),
            ~life.alive(unit.now),
        )
        .order_by(Authorization.last_used_at.desc())
    ).all()
    return [
        OfflineGrant(
            authorization_id=row.id,
            client_id=row.client_id,
            name=row.name,
            scope=row.scope,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            expires_at=row.refresh_expires_at,
        )
        for row in rows
    ]

"""What the account page shows of sessions: rows of ready facts, no sentences.

Owns gathering everything a list needs in a handful of statements, however many sessions there are.
Sentences are made in the templates, where translators find them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from idp.clock import DAY, Duration, Instant
from idp.events import queries as events
from idp.oauth.authorizations import AppInSession, OfflineGrant, apps_in, offline_of
from idp.oauth.model import Client
from idp.sessions import queries, remembering
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork
from idp.users import trusted_devices
from idp.web import timeline
from idp.web.language import NOW_LASTS
from idp.web.receipts import AppTold, told_by_session
from idp.web.timeline import Happening

REUSE_SHOWN: Duration = 7 * DAY
HUES = 8


@dataclass(frozen=True, slots=True)
class App:
    """An app in a session; `hue` chooses the colour of its tile."""

    client_id: str
    name: str
    uri: str | None
    hue: int
    last_used_at: Instant
    has_logout: bool
    is_active: bool

    @property
    def initial(self) -> str:
        return self.name[:1].upper()


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A running session."""

    id: str
    name: str
    default_name: str
    is_renamed: bool
    is_current: bool
    needs_attention: bool
    device_type: str
    browser: str | None
    os: str | None
    origin: str
    # The device that let it in.
    via: str | None
    is_temporary: bool
    # Whether its browser stays signed in.
    is_remembered: bool
    is_kept: bool
    is_on_trusted_device: bool
    ip: str | None
    place: Place
    user_agent: str
    created_at: Instant
    last_active_at: Instant
    is_active_now: bool
    idle_timeout: Duration
    idle_at: Instant
    expires_at: Instant
    method: str
    acr: str
    apps: list[App]

    @property
    def suffix(self) -> str:
        """Enough of the id to tell it from others on the phone with support."""
        return self.id[-6:]


@dataclass(frozen=True, slots=True)
class EndedRow:
    """A session that is over. `by_name` names the app or the session that ended it, if one did."""

    id: str
    name: str
    device_type: str
    ip: str | None
    place: Place
    created_at: Instant
    ended_at: Instant
    idle_timeout: Duration
    reason: str
    by: str
    by_id: str | None
    by_name: str | None
    apps: tuple[AppTold, ...]


@dataclass(frozen=True, slots=True)
class Reuse:
    """A copied token that was refused, and the app that was signed out because of it."""

    at: Instant
    app: str
    session_id: str | None


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """An app's access that goes on although its session has run out."""

    id: str
    client_id: str
    name: str
    hue: int
    created_at: Instant
    last_used_at: Instant
    expires_at: Instant | None


def running(
    unit: UnitOfWork, user_id: str, *, current_id: str | None, reuses: Sequence[Reuse] = ()
) -> list[SessionRow]:
    """A person's running sessions: this one, those that need attention, the rest by activity."""
    sessions = queries.running_of(unit, user_id)
    ids = [session.id for session in sessions]
    apps = apps_in(unit, ids)
    alarming = {reuse.session_id for reuse in reuses}
    staying = {series.id for series in remembering.of(unit, user_id)}
    trusted = {device.id for device in trusted_devices.of(unit, user_id)}
    rows = [
        _row(
            unit,
            session,
            is_current=session.id == current_id,
            needs_attention=session.id in alarming or session.challenged_at is not None,
            is_remembered=session.remembered_id in staying,
            is_on_trusted_device=session.trusted_device_id in trusted,
            apps=[_app(app) for app in apps.get(session.id, [])],
        )
        for session in sessions
    ]
    return sorted(rows, key=lambda row: (not row.is_current, not row.needs_attention))


def happenings(
    unit: UnitOfWork, rows: Sequence[SessionRow], store: Store
) -> dict[str, list[Happening]]:
    """What happened in each of these sessions lately, with the names of apps."""
    found = timeline.kept(unit, [row.id for row in rows], store)
    names = {app.client_id: app.name for row in rows for app in row.apps}
    met = {one.client_id for happened in found.values() for one in happened}
    names |= _client_names(unit, met - names.keys())
    return {
        session_id: timeline.with_names(happened, names) for session_id, happened in found.items()
    }


def ended(unit: UnitOfWork, user_id: str, *, days: int) -> list[EndedRow]:
    """A person's ended sessions, the latest end first."""
    sessions = queries.ended_of(unit, user_id, days=days)
    told = told_by_session(unit, [session.id for session in sessions])
    names = _client_names(unit, {s.ended_by_id for s in sessions if s.ended_by == "client"})
    names |= _session_names(
        unit, user_id, {s.ended_by_id for s in sessions if s.ended_by == "user"}
    )
    rows = []
    for session in sessions:
        details = queries.details(unit, session)
        rows.append(
            EndedRow(
                id=session.id,
                name=details.name,
                device_type=session.device_type,
                ip=details.ip,
                place=details.place,
                created_at=session.created_at,
                ended_at=session.ended_at or session.last_active_at,
                idle_timeout=session.idle_timeout,
                reason=session.end_reason or "",
                by=session.ended_by or "system",
                by_id=session.ended_by_id,
                by_name=names.get(session.ended_by_id or ""),
                apps=told[session.id],
            )
        )
    return rows


def offline(unit: UnitOfWork, user_id: str) -> list[OfflineRow]:
    """A person's offline grants that outlived their session."""
    return [_offline(grant) for grant in offline_of(unit, user_id)]


def reuses(unit: UnitOfWork, user_id: str) -> list[Reuse]:
    """Copied tokens that were refused lately, the latest first."""
    rows = [
        row
        for row in events.newest_of(unit, "token.reuse_detected", user_id=user_id, limit=10)
        if row.at > unit.now - REUSE_SHOWN
    ]
    names = _client_names(unit, {row.client_id for row in rows})
    return [Reuse(row.at, names.get(row.client_id or "", "An app"), row.session_id) for row in rows]


def hue(client_id: str) -> int:
    """A colour that stays with an app."""
    return hashlib.sha256(client_id.encode()).digest()[0] % HUES


def _row(
    unit: UnitOfWork,
    session: Session,
    *,
    is_current: bool,
    needs_attention: bool,
    is_remembered: bool,
    is_on_trusted_device: bool,
    apps: list[App],
) -> SessionRow:
    details = queries.details(unit, session)
    return SessionRow(
        id=session.id,
        name=details.name,
        default_name=details.default_label,
        is_renamed=details.label is not None,
        is_current=is_current,
        needs_attention=needs_attention,
        device_type=session.device_type,
        browser=session.browser,
        os=session.os,
        origin=session.origin,
        via=details.via,
        is_temporary=bool(session.temporary),
        is_remembered=is_remembered,
        is_kept=bool(session.kept),
        is_on_trusted_device=is_on_trusted_device,
        ip=details.ip,
        place=details.place,
        user_agent=details.user_agent,
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        is_active_now=unit.now - session.last_active_at < NOW_LASTS,
        idle_timeout=session.idle_timeout,
        idle_at=session.idle_at,
        expires_at=session.expires_at,
        method=method(session),
        acr=session.acr,
        apps=apps,
    )


def method(session: Session) -> str:
    """How the person of a session last proved who they are."""
    authentications = session.authentications
    return str(authentications[-1]["method"]) if authentications else "password"


def _app(app: AppInSession) -> App:
    return App(
        client_id=app.client_id,
        name=app.name,
        # Whoever registers an app writes this; only a web address may become a link.
        uri=app.client_uri if (app.client_uri or "").startswith(("https://", "http://")) else None,
        hue=hue(app.client_id),
        last_used_at=app.last_used_at,
        has_logout=app.has_logout,
        is_active=app.state == "active",
    )


def _offline(grant: OfflineGrant) -> OfflineRow:
    return OfflineRow(
        id=grant.authorization_id,
        client_id=grant.client_id,
        name=grant.name,
        hue=hue(grant.client_id),
        created_at=grant.created_at,
        last_used_at=grant.last_used_at,
        expires_at=grant.expires_at,
    )


def _client_names(unit: UnitOfWork, client_ids: Iterable[str | None]) -> dict[str, str]:
    wanted = [one for one in client_ids if one]
    if not wanted:
        return {}
    rows = unit.orm.execute(select(Client.id, Client.name).where(Client.id.in_(wanted)))
    return {row.id: row.name for row in rows}


def _session_names(
    unit: UnitOfWork, user_id: str, session_ids: Iterable[str | None]
) -> dict[str, str]:
    wanted = [one for one in session_ids if one and one.startswith("ses_")]
    if not wanted:
        return {}
    rows = unit.orm.scalars(
        select(Session).where(Session.id.in_(wanted), Session.user_id == user_id)
    )
    return {row.id: queries.details(unit, row).name for row in rows}

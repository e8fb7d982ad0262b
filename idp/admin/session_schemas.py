"""Sessions as the management API shows and takes them: terms of a search, rows, details."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import select

from idp.admin import grammar, session_filter
from idp.admin.outcomes import AppTold
from idp.admin.schemas import (
    Model,
    Moment,
    Nothing,
    Page,
    PageQuery,
    When,
    moment,
)
from idp.admin.session_filter import SessionFilter
from idp.admin.session_search import Sort
from idp.oauth.authorizations import apps_in
from idp.sessions import epoch, life, queries
from idp.sessions.life import End
from idp.sessions.model import Session as SessionRow
from idp.sessions.place import UNKNOWN
from idp.sessions.queries import Details
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable
from idp.users.model import User
from idp.web import session_view

Value = Annotated[str, Field(min_length=1, max_length=grammar.VALUE_MAXIMUM)]


class Terms(Model):
    """Which sessions are meant; every term must hold. `q` takes them in the grammar of searches."""

    q: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=grammar.TEXT_MAXIMUM,
                description="Terms as one text: `ip:10.0.0.0/8 country:FR device:phone acr<aal2`.",
            ),
        ]
        | Nothing
    ) = None
    user: Value | Nothing = Field(None, description="Id, user name or e-mail address.")
    ip: Value | Nothing = Field(None, description="An address, or a network such as 10.0.0.0/8.")
    asn: Value | Nothing = Field(None, description="The network's number, such as AS64496.")
    country: Value | Nothing = Field(None, description="ISO 3166-1 alpha-2.")
    device: Value | Nothing = Field(None, description="Such as phone, laptop or terminal.")
    client: Value | Nothing = Field(None, description="An app that the session signed in to.")
    acr: Value | Nothing = Field(None, description="The level, such as aal2.")
    origin: Value | Nothing = Field(None, description="browser, device or handoff.")
    created_after: When | Nothing = None
    created_before: When | Nothing = None
    active_after: When | Nothing = None
    active_before: When | Nothing = None

    @property
    def meant(self) -> SessionFilter:
        """The filter; raises `Refused` (`invalid_filter`)."""
        given = {name: value for name in TERMS if (value := getattr(self, name, None)) is not None}
        return session_filter.of_values(given, self.q)


TERMS = (
    "user", "ip", "asn", "country", "device", "client", "acr", "origin", "state", "reason",
    "created_after", "created_before", "active_after", "active_before", "ended_after",
    "ended_before",
)  # fmt: skip


class SessionQuery(PageQuery, Terms):
    """Which sessions are wanted, and in what order."""

    state: Value | Nothing = Field(None, description="active (the default), ended or all.")
    reason: Value | Nothing = Field(None, description="Why it ended, such as idle_timeout.")
    ended_after: When | Nothing = None
    ended_before: When | Nothing = None
    sort: Sort | Nothing = Field(
        None,
        description="Running sessions by last_active_at or created_at, ended ones by ended_at or "
        "created_at, all by created_at; with - the latest first.",
    )


class SessionUser(Model):
    """Whose session it is."""

    id: str
    username: str


class Device(Model):
    """What a browser says of itself."""

    type: str
    browser: str | None
    os: str | None


class Place(Model):
    """Where the address is, as far as it is known: approximate by nature."""

    country: str | None
    region: str | None
    city: str | None
    network: str | None
    asn: int | None


class SessionApp(Model):
    """An app that a session signed in to."""

    client_id: str
    name: str
    state: Literal["active", "ended"]


class Session(Model):
    """A session, running or over."""

    id: str
    user: SessionUser
    name: str
    device: Device
    origin: str
    ip: str | None
    place: Place
    acr: str
    method: str
    is_remembered: bool
    is_on_trusted_device: bool
    is_temporary: bool
    created_at: Moment
    last_active_at: Moment
    idle_expires_at: Moment
    expires_at: Moment
    ended_at: Moment | None
    end_reason: str | None
    ended_by: str | None
    ended_by_id: str | None
    apps: list[SessionApp]


class SessionPage(Page):
    """Sessions. A page may be short, or empty, although more follow: the token says so."""

    items: list[Session]


class Happening(Model):
    """Something that happened in a session; `times` counts equal events in a row."""

    type: str
    at: Moment
    client_id: str | None
    reason: str | None
    times: int


class SessionDetail(Session):
    """A session with its latest events, the newest first, and whether apps know of its end."""

    user_agent: str
    timeline: list[Happening]
    apps_told: list[AppTold]


def described(unit: UnitOfWork, sessions: list[SessionRow]) -> list[Session]:
    """Sessions as the API shows them, in a handful of statements however many they are."""
    ids = [session.id for session in sessions]
    apps = apps_in(unit, ids) if ids else {}
    names = _usernames(unit, {session.user_id for session in sessions})
    present = epoch.present(unit)
    return [
        _described(
            session,
            details(unit, session),
            life.end_of(session, present, unit.now),
            username=names.get(session.user_id, ""),
            apps=[
                SessionApp(client_id=app.client_id, name=app.name, state=app.state)
                for app in apps.get(session.id, [])
            ],
        )
        for session in sessions
    ]


def _described(
    session: SessionRow,
    details: Details,
    end: End | None,
    *,
    username: str,
    apps: list[SessionApp],
) -> Session:
    place = details.place
    return Session(
        id=session.id,
        user=SessionUser(id=session.user_id, username=username),
        name=details.name,
        device=Device(type=session.device_type, browser=session.browser, os=session.os),
        origin=session.origin,
        ip=details.ip,
        place=Place(
            country=session.country,
            region=place.region,
            city=place.city,
            network=place.network,
            asn=session.asn,
        ),
        acr=session.acr,
        method=session_view.method(session),
        is_remembered=bool(session.remembered),
        is_on_trusted_device=session.trusted_device_id is not None,
        is_temporary=bool(session.temporary),
        created_at=moment(session.created_at),
        last_active_at=moment(session.last_active_at),
        idle_expires_at=moment(min(session.idle_at, session.expires_at)),
        expires_at=moment(session.expires_at),
        ended_at=moment(end.at) if end is not None else None,
        end_reason=end.reason if end is not None else None,
        ended_by=end.by if end is not None else None,
        ended_by_id=end.by_id if end is not None else None,
        apps=apps,
    )


def details(unit: UnitOfWork, session: SessionRow) -> Details:
    """The sealed part; what no key opens any more must not keep an administrator from the rest."""
    try:
        return queries.details(unit, session)
    except Unreadable:
        return Details(None, "Unknown device", None, "", UNKNOWN, None)


def _usernames(unit: UnitOfWork, user_ids: Iterable[str]) -> dict[str, str]:
    rows = unit.connection.execute(select(User.id, User.username).where(User.id.in_(user_ids)))
    return {row.id: row.username for row in rows}

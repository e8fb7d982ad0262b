"""The page of connected apps: what a person allowed, and how they take it back."""

from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import MINUTE, Duration, Instant
from idp.errors import Refused
from idp.events import queries as events
from idp.events.actor import Actor
from idp.oauth import consent
from idp.sessions import queries
from idp.web import elevation, session_view
from idp.web.http import PageRequest, WebContext
from idp.web.session_view import OfflineRow, hue
from idp.web.visitor import Visitor, visitor_route

PATH = "/account/apps"
REMOVAL_SHOWN: Duration = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class ConnectedApp:
    """An app a person allowed something, and its access that goes on without a session."""

    client_id: str
    name: str
    hue: int
    scopes: list[str]
    granted_at: Instant | None
    offline: list[OfflineRow] = field(default_factory=list)


def routes(context: WebContext) -> list[Route]:
    """/account/apps."""
    return [visitor_route(context, PATH, {"GET": show, "POST": revoke})]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/apps"""
    apps = _connected(context, visitor)
    with context.work.read() as unit:
        running = queries.running_of(unit, visitor.user.id)
        offline = session_view.offline(unit, visitor.user.id)
    return context.renderer.page(
        "apps.html",
        language=request.language,
        visitor=visitor,
        apps=apps,
        active=len(running) + len(offline),
        is_removed=_was_removed(context, visitor, request.query.get("removed")),
    )


def revoke(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/apps: takes back what one app was allowed; asks back first."""
    client_id = request.form.get("client_id", "")
    app = next((app for app in _connected(context, visitor) if app.client_id == client_id), None)
    if app is None:
        raise Refused("app_not_found", "You have not connected such an app.", 404)
    if request.form.get("confirmed") != "yes":
        return context.renderer.page(
            "confirm_revoke.html", language=request.language, visitor=visitor, app=app
        )
    held = elevation.ask(context, request, visitor.session, "manage_account")
    if held is not None:
        return held
    with context.work.begin() as unit:
        consent.revoke(unit, visitor.user.id, client_id, actor=Actor("user", visitor.session.id))
    return RedirectResponse(f"{PATH}?{urlencode({'removed': client_id})}", 303)


def _was_removed(context: WebContext, visitor: Visitor, client_id: str | None) -> bool:
    """Whether this app was revoked lately: the page says so only when it is true."""
    if client_id is None:
        return False
    with context.work.read() as unit:
        revoked = events.newest_of(unit, "consent.revoked", user_id=visitor.user.id, limit=10)
        return any(
            row.client_id == client_id and row.at > unit.now - REMOVAL_SHOWN for row in revoked
        )


def _connected(context: WebContext, visitor: Visitor) -> list[ConnectedApp]:
    with context.work.read() as unit:
        given = consent.of(unit, visitor.user.id)
        offline = session_view.offline(unit, visitor.user.id)
    apps = {
        one.client_id: ConnectedApp(
            one.client_id, one.name, hue(one.client_id), one.scope.split(), one.granted_at
        )
        for one in given
    }
    for row in offline:
        app = apps.setdefault(
            row.client_id, ConnectedApp(row.client_id, row.name, row.hue, [], None)
        )
        app.offline.append(row)
    return list(apps.values())

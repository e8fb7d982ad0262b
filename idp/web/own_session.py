"""/account/session: the session one is in, for its own person: staying in it, and coming back to it.

Owns "Stay signed in", and the form that is offered again after its session had ended. What becomes
of the session meanwhile is told by `session_stream`.
"""

from collections.abc import Mapping

import orjson
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.events.actor import Actor
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.web import csrf, kept_form, live, session_over, stray_form
from idp.web.errors import refuse
from idp.web.http import FORM, Kind, PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT, local_path
from idp.web.visitor import Visitor, find, to_sign_in, visitor_route

EXTEND = "/account/session/extend"


def routes(context: WebContext) -> list[Route]:
    """/account/session/extend and /account/session/form"""
    return [
        route(context, EXTEND, Kind(FORM, _guard, refuse), {"POST": extend}),
        visitor_route(context, kept_form.PATH, {"GET": offer_form}),
    ]


def extend(context: WebContext, request: PageRequest) -> Response:
    """POST /account/session/extend: for a form back to its page, for a script as JSON."""
    visitor = find(context, request)
    if visitor is None:
        return _too_late(context, request)
    made = csrf.made_for(context.work.vault, request.form)
    # A proof in another tab has changed the token; staying signed in is nothing that it protects.
    if made is None or made.session_id != visitor.session.id:
        return stray_form.answer(context, request, visitor, made)
    with context.work.begin() as unit:
        session = unit.orm.get_one(Session, visitor.session.id)
        is_extended = lifecycle.extend(unit, session, Actor("user", session.id))
        now = unit.now
    if not is_extended:
        return _too_late(context, request)
    if _wants_json(request):
        return _json(live.deadlines(session, now))
    return RedirectResponse(local_path(request.form.get("next")), 303)


def offer_form(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/session/form?of=…: what was typed when the session ended, to be sent or left."""
    kept = kept_form.find(context, request, visitor.user.id)
    if kept is None:
        return RedirectResponse(ACCOUNT, 303)
    return stray_form.offer(context, request, visitor, kept, why="ended")


def _too_late(context: WebContext, request: PageRequest) -> Response:
    if not _wants_json(request):
        return to_sign_in(context, request)
    with context.work.read() as unit:
        over = session_over.by_secret(unit, request.session_secret)
        now = unit.now
    return _json(session_over.told(over, request.language, now, reason="signed_out"), 401)


def _guard(context: WebContext, request: PageRequest) -> None:
    csrf.require_same_origin(request.headers, context.settings)


def _wants_json(request: PageRequest) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")

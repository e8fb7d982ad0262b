"""/account/session: the session one is in, for its own person.

Owns "Stay signed in", what is told of the person's other sessions, what they prefer, and the form that
is offered again after its session had ended. What becomes of the session meanwhile is told by
`session_stream`.
"""

from collections.abc import Mapping
from dataclasses import replace

import orjson
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.events.actor import Actor
from idp.sessions import lifecycle, notices, preferences
from idp.sessions.model import Session
from idp.web import csrf, hold, kept_form, live, session_over, stray_form
from idp.web.errors import refuse
from idp.web.http import FORM, Kind, PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT, local_path
from idp.web.security import instant
from idp.web.visitor import Visitor, recognised, to_sign_in, visitor_route

EXTEND = "/account/session/extend"
NOTICES = "/account/session/notices"
PREFERENCES = "/account/session/preferences"


def routes(context: WebContext) -> list[Route]:
    """Everything under /account/session but the stream."""
    kind = Kind(FORM, _guard, refuse)
    return [
        route(context, EXTEND, kind, {"POST": extend}),
        route(context, NOTICES, kind, {"GET": show_notices}),
        visitor_route(context, f"{NOTICES}/seen", {"POST": mark_seen}),
        visitor_route(context, PREFERENCES, {"POST": prefer}),
        visitor_route(context, kept_form.PATH, {"GET": offer_form}),
    ]


def extend(context: WebContext, request: PageRequest) -> Response:
    """POST /account/session/extend: for a form back to its page, for a script as JSON."""
    visitor = recognised(context, request)
    if visitor is None:
        return _too_late(context, request)
    made = csrf.made_for(context.work.vault, request.form)
    # A proof in another tab has changed the token; staying signed in is nothing that it protects.
    if made is None or made.session_id != visitor.session.id:
        return stray_form.answer(context, request, visitor, made)
    held = hold.answer(context, request, visitor.session, visitor.hold)
    if held is not None:
        return held
    with context.work.begin() as unit:
        session = unit.orm.get_one(Session, visitor.session.id)
        is_extended = lifecycle.extend(unit, session, Actor("user", session.id))
        now = unit.now
    if not is_extended:
        return _too_late(context, request)
    if _wants_json(request):
        return _json(live.deadlines(session, now))
    return RedirectResponse(local_path(request.form.get("next")), 303)


def show_notices(context: WebContext, request: PageRequest) -> Response:
    """GET /account/session/notices: the bell alone, for a script that heard of a change.

    No activity. Also how a page finds out that its browser is in no session any more, or in another:
    the bell says whose it is, and until when. Of a held session nothing is said.
    """
    visitor = recognised(context, request)
    if visitor is None:
        return _over(context, request)
    if visitor.hold is not None:
        return Response(status_code=204)
    with context.work.read() as unit:
        told = tuple(notices.unseen(unit, visitor.session))
    shown = replace(visitor, notices=told, here=local_path(request.query.get("here")))
    return HTMLResponse(
        context.renderer.fragment("bell.html", language=visitor.language, visitor=shown)
    )


def mark_seen(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/session/notices/seen: what began until `until` was seen in this session."""
    with context.work.begin() as unit:
        notices.saw(unit, visitor.session, instant(request.form.get("until")))
    return RedirectResponse(local_path(request.form.get("next")), 303)


def prefer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/session/preferences: language and theme of this session's pages, at once."""
    wanted = preferences.chosen(request.form.get("language", ""), request.form.get("theme", ""))
    with context.work.begin() as unit:
        preferences.prefer(unit, visitor.session, wanted)
    here = local_path(request.form.get("next"))
    # An address that asks for a language would be heard before the choice.
    return RedirectResponse(_without_wish(here) if wanted.language else here, 303)


def offer_form(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/session/form?of=…: what was typed when the session ended, to be sent or left."""
    kept = kept_form.find(context, request, visitor.user.id)
    if kept is None:
        return RedirectResponse(ACCOUNT, 303)
    return stray_form.offer(context, request, visitor, kept, why="ended")


def _without_wish(here: str) -> str:
    path, _, query = here.partition("?")
    kept = "&".join(one for one in query.split("&") if not one.startswith("ui_locales="))
    return f"{path}?{kept}" if kept else path


def _too_late(context: WebContext, request: PageRequest) -> Response:
    return _over(context, request) if _wants_json(request) else to_sign_in(context, request)


def _over(context: WebContext, request: PageRequest) -> Response:
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

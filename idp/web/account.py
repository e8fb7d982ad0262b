"""The account page: a person's sessions, and every way to end them.

Owns which sessions a click means and what the person sees afterwards. Ending itself is
`lifecycle.end`. One session is ended at once; several are named on a page of their own first, and
all of them need a fresh proof. After an end the browser is sent to the list again with the instant
of the end, by which the page finds out what really happened (`receipts`).
"""

import re
from dataclasses import replace
from urllib.parse import urlencode

from sqlalchemy import select
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.events.actor import Actor
from idp.oauth import authorizations
from idp.sessions import life, lifecycle, marks, naming, queries
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.web import (
    cookies,
    elevation,
    errors,
    own_rules,
    receipts,
    remembered,
    session_view,
    welcome,
)
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT
from idp.web.visitor import Visitor, find, visitor_route

SELECTED = "select."
_SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")
_GRANT_ID = re.compile(r"azn_[0-9a-f]{32}")


def routes(context: WebContext) -> list[Route]:
    """/account and everything under /account/sessions."""
    return [
        route(context, "/account", errors.PUBLIC, {"GET": to_sessions}),
        visitor_route(context, ACCOUNT, {"GET": show}),
        route(context, f"{ACCOUNT}/live", errors.OWN, {"GET": show_live}),
        route(context, f"{ACCOUNT}/receipts", errors.PUBLIC, {"GET": show_receipts}),
        visitor_route(context, f"{ACCOUNT}/end", {"POST": end_several}),
        visitor_route(context, f"{ACCOUNT}/{{id}}/end", {"POST": end_one}),
        visitor_route(
            context, f"{ACCOUNT}/{{id}}/rename", {"POST": rename}, operation="manage_account"
        ),
        visitor_route(
            context, f"{ACCOUNT}/{{id}}/keep", {"POST": keep}, operation="manage_account"
        ),
        visitor_route(
            context, "/account/grants/{id}/end", {"POST": end_grant}, operation="manage_account"
        ),
    ]


def to_sessions(context: WebContext, request: PageRequest) -> Response:
    """GET /account"""
    del context, request
    return RedirectResponse(ACCOUNT, 303)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/sessions, and its tab `?tab=ended`."""
    is_ended = request.query.get("tab") == "ended"
    user_id = visitor.user.id
    at = _instant(request.query.get("done"))
    book = context.provider.rules.current()
    with context.work.read() as unit:
        reuses = session_view.reuses(unit, user_id)
        outcome = receipts.outcome_at(unit, user_id, at) if at else None
        running = session_view.running(unit, user_id, current_id=visitor.session.id, reuses=reuses)
        happenings = (
            session_view.happenings(unit, running, context.provider.store) if not is_ended else {}
        )
        ended = (
            session_view.ended(unit, user_id, days=context.settings.history_days)
            if is_ended
            else []
        )
        offline = session_view.offline(unit, user_id)
        copies = remembered.copies(unit, user_id)
        own = own_rules.of(unit, book, visitor.session, roles=visitor.user.roles)
    return context.renderer.page(
        "sessions_ended.html" if is_ended else "sessions.html",
        language=request.language,
        visitor=visitor,
        running=running,
        happenings=happenings,
        ended=ended,
        offline=offline,
        others=len(running) - 1 + len(offline),
        reuses=reuses,
        copies=copies,
        outcome=outcome,
        history_days=context.settings.history_days,
        sources=context.provider.atlas.attributions(),
        own_rules=own,
    )


def show_live(context: WebContext, request: PageRequest) -> Response:
    """GET /account/sessions/live: the list as it is now, for a page that is open.

    A script asks, so it is no activity.
    """
    visitor = find(context, request)
    if visitor is None:
        return Response(status_code=204)
    return show(context, replace(request, language=visitor.language), visitor)


def show_receipts(context: WebContext, request: PageRequest) -> Response:
    """GET /account/sessions/receipts?done=…: the banner alone, asked for until it is settled.

    A script asks, so it is no activity: nobody stays signed in by leaving a page open.
    """
    visitor = find(context, request)
    if visitor is None:
        return Response(status_code=204)
    with context.work.read() as unit:
        outcome = receipts.outcome_at(unit, visitor.user.id, _instant(request.query.get("done")))
    if outcome is None:
        return Response(status_code=204)
    return HTMLResponse(
        context.renderer.fragment("receipts.html", language=visitor.language, outcome=outcome)
    )


def end_one(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/sessions/{id}/end: instant, no question.

    Anybody may sign themselves out; to end another session takes one proof (ASVS 7.5.2).
    """
    session_id = request.params["id"]
    if session_id != visitor.session.id:
        held = elevation.ask(context, request, visitor.session, "manage_account")
        if held is not None:
            return held
    with context.work.begin() as unit:
        session = _own(unit, visitor, session_id)
        lifecycle.end(unit, [session.id], reason="signed_out", actor=_actor(visitor))
        # Of one that was over already, show how it ended.
        at = session.ended_at or unit.now
    return _after(context, request, visitor, at)


def end_several(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/sessions/end: `what` is selected, others or everywhere; asks back first."""
    what = request.form.get("what", "")
    if what not in ("selected", "others", "everywhere"):
        raise Refused("malformed_request", "This request cannot be understood.", 400)
    chosen = [name.removeprefix(SELECTED) for name in request.form if name.startswith(SELECTED)]
    if what == "selected" and not chosen:
        raise Refused("nothing_selected", "Please tick at least one session first.", 400)
    if request.form.get("confirmed") != "yes":
        return _ask_back(context, request, visitor, what, chosen)
    operation: elevation.Operation = "manage_account" if what == "selected" else "end_everything"
    held = elevation.ask(context, request, visitor.session, operation)
    if held is not None:
        return held
    with context.work.begin() as unit:
        if what == "selected":
            _end_selected(unit, visitor, chosen)
        else:
            _end_all(unit, visitor, keeping=visitor.session.id if what == "others" else None)
        at = unit.now
    return _after(context, request, visitor, at)


def end_grant(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/grants/{id}/end: an app's access that outlived its session."""
    with context.work.begin() as unit:
        mine = [one.authorization_id for one in authorizations.offline_of(unit, visitor.user.id)]
        if request.params["id"] not in mine:
            raise _unknown()
        authorizations.end(unit, [request.params["id"]], reason="signed_out", actor=_actor(visitor))
        at = unit.now
    return _after(context, request, visitor, at)


def rename(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/sessions/{id}/rename: an empty name brings the default back."""
    with context.work.begin() as unit:
        session = _own(unit, visitor, request.params["id"])
        naming.rename(unit, session, request.form.get("name", ""), _actor(visitor))
    return RedirectResponse(f"{ACCOUNT}#{session.id}", 303)


def keep(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/sessions/{id}/keep: the last to give way at a limit, or one like the others."""
    mark = {"yes": marks.keep, "no": marks.let_go}.get(request.form.get("keep", ""))
    if mark is None:
        raise Refused("malformed_request", "This request cannot be understood.", 400)
    with context.work.begin() as unit:
        session = _own(unit, visitor, request.params["id"])
        mark(unit, session, _actor(visitor))
    return RedirectResponse(f"{ACCOUNT}#{session.id}", 303)


def _ask_back(
    context: WebContext, request: PageRequest, visitor: Visitor, what: str, chosen: list[str]
) -> Response:
    with context.work.read() as unit:
        running = session_view.running(unit, visitor.user.id, current_id=visitor.session.id)
        offline = session_view.offline(unit, visitor.user.id)
    if what == "selected":
        running = [row for row in running if row.id in chosen]
        offline = [row for row in offline if row.id in chosen]
    elif what == "others":
        running = [row for row in running if not row.is_current]
    if not running and not offline:
        return RedirectResponse(ACCOUNT, 303)
    return context.renderer.page(
        "confirm_end.html",
        language=request.language,
        visitor=visitor,
        what=what,
        running=running,
        offline=offline,
        sources=context.provider.atlas.attributions(),
    )


def _end_selected(unit: UnitOfWork, visitor: Visitor, chosen: list[str]) -> None:
    sessions = unit.orm.scalars(
        select(Session.id).where(
            Session.user_id == visitor.user.id,
            Session.id.in_([one for one in chosen if _SESSION_ID.fullmatch(one)]),
        )
    ).all()
    lifecycle.end(unit, sessions, reason="signed_out", actor=_actor(visitor))
    _end_offline(unit, visitor, {one for one in chosen if _GRANT_ID.fullmatch(one)})


def _end_all(unit: UnitOfWork, visitor: Visitor, *, keeping: str | None) -> None:
    lifecycle.end_all_of(
        unit,
        visitor.user.id,
        reason="signed_out_everywhere",
        actor=_actor(visitor),
        keeping=keeping,
    )


def _end_offline(unit: UnitOfWork, visitor: Visitor, chosen: set[str]) -> None:
    """Ends the chosen ones of the offline grants that outlived their session."""
    mine = [one.authorization_id for one in authorizations.offline_of(unit, visitor.user.id)]
    authorizations.end(
        unit,
        [one for one in mine if one in chosen],
        reason="signed_out",
        actor=_actor(visitor),
    )


def _after(context: WebContext, request: PageRequest, visitor: Visitor, at: Instant) -> Response:
    """Back to the list, or to the farewell when the session that asked is over."""
    with context.work.read() as unit:
        goes_on = life.is_alive(unit, visitor.session.id)
    if goes_on:
        return RedirectResponse(f"{ACCOUNT}?{urlencode({'done': at})}", 303)
    done = receipts.ticket(
        context.work.vault, user_id=visitor.user.id, at=at, browser_hash=request.browser_hash
    )
    response = RedirectResponse(f"/signed-out?{urlencode({'done': done})}", 303)
    cookies.forget_session(response, context.settings)
    welcome.take_back(context, request, response)
    # Only "cache": it also drops pages kept for the Back button. "cookies" would take those of every
    # port and subdomain of this host with it, which belong to other apps.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _own(unit: UnitOfWork, visitor: Visitor, session_id: str) -> Session:
    session = (
        queries.one_of(unit, visitor.user.id, session_id)
        if _SESSION_ID.fullmatch(session_id)
        else None
    )
    if session is None:
        raise _unknown()
    return session


def _unknown() -> Refused:
    return Refused("session_not_found", "There is no such session of yours.", 404)


def _actor(visitor: Visitor) -> Actor:
    """The person, by the session they act from: whose it is stands in the event already."""
    return Actor("user", visitor.session.id)


def _instant(text: str | None) -> Instant:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else 0

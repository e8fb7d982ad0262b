"""/account/security/not-me: "This wasn't me", four steps back to a safe account (row U8).

One page at one address, which can be left and taken up again: what is done is read from what really
happened (sessions, passwords, factors), not from a memory of the page. Looking changes nothing. Only
that somebody has reviewed their factors leaves no trace, so the address carries when they said so;
a factor that was added since needs another look. What was done is told by mail at the end.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import select
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.events import queries as events
from idp.events.catalogue import SessionDisowned
from idp.oauth import authorizations
from idp.oauth.model import Authorization
from idp.sessions import lifecycle, queries
from idp.storage.unit_of_work import UnitOfWork
from idp.web import elevation, not_me_summary, not_me_view
from idp.web.factor_changes import SECURITY, by, changing, end_others
from idp.web.http import PageRequest, WebContext
from idp.web.security import instant
from idp.web.visitor import Visitor, visitor_route

PATH = f"{SECURITY}/not-me"
_SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Carried:
    """What the address remembers: the session in question, and when the factors were reviewed."""

    session_id: str | None
    reviewed_at: int

    def address(self) -> str:
        query = {"session": self.session_id} if self.session_id is not None else {}
        if self.reviewed_at:
            query["reviewed"] = str(self.reviewed_at)
        return f"{PATH}?{urlencode(query)}" if query else PATH


def routes(context: WebContext) -> list[Route]:
    """/account/security/not-me"""
    return [visitor_route(context, PATH, {"GET": show, "POST": submit})]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/not-me"""
    carried = _carried(request.query.get("session"), request.query.get("reviewed"))
    with context.work.read() as unit:
        state = not_me_view.state(unit, visitor, carried.session_id, carried.reviewed_at)
        summary = not_me_summary.so_far(unit, visitor.user.id)
        now = unit.now
    return context.renderer.page(
        "not_me.html",
        language=request.language,
        visitor=visitor,
        state=state,
        summary=summary,
        action=PATH,
        carried=carried,
        reviewed=Carried(carried.session_id, now).address(),
        sources=context.provider.atlas.attributions(),
    )


def submit(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/not-me: `step` is session (with `end`), others, or finish."""
    carried = _carried(request.form.get("session"), request.form.get("reviewed"))
    step = request.form.get("step")
    operation: elevation.Operation = "end_everything" if step == "others" else "manage_account"
    held = elevation.ask(context, request, visitor.session, operation)
    if held is not None:
        return held
    with context.work.begin() as unit:
        changing(unit, visitor, operation)
        match step:
            case "session":
                carried = Carried(_disown(unit, request, visitor), carried.reviewed_at)
            case "others":
                end_others(unit, visitor)
            case "finish":
                pass
            case _:
                raise Refused("malformed_request", "This request cannot be understood.", 400)
        unit.flush()
        state = not_me_view.state(unit, visitor, carried.session_id, carried.reviewed_at)
        if state.done == not_me_view.STEPS:
            not_me_summary.finish(unit, visitor)
        elif step == "finish":
            raise Refused(
                "not_done_yet", "There are steps left; please look at the page again.", 409
            )
    return RedirectResponse(carried.address(), 303)


def _disown(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> str:
    """Ends a session as not its person's, and what may have outlived it; gives its id."""
    session_id = request.form.get("end", "")
    session = (
        queries.one_of(unit, visitor.user.id, session_id)
        if _SESSION_ID.fullmatch(session_id)
        else None
    )
    if session is None:
        raise Refused("session_not_found", "There is no such session of yours.", 404)
    if session.id == visitor.session.id:
        raise Refused(
            "own_session", "This is the session you are in now. You can sign out of it above.", 409
        )
    # Whom a stranger let in is a stranger, also where they were to go on alone.
    let_in = [
        one
        for one in queries.let_in_by(unit, visitor.user.id, session.id)
        if one != visitor.session.id
    ]
    lifecycle.end(unit, [session.id, *let_in], reason="disowned", actor=by(visitor))
    # Of one that had run out before, apps may still have access.
    outlived = unit.connection.scalars(
        select(Authorization.id).where(
            Authorization.session_id == session.id,
            Authorization.offline == 1,
            Authorization.ended_at.is_(None),
        )
    ).all()
    authorizations.end(unit, outlived, reason="signed_out", actor=by(visitor))
    if not events.newest_of(
        unit, "session.disowned", user_id=visitor.user.id, session_id=session.id
    ):
        actor = by(visitor)
        unit.record(
            SessionDisowned(
                actor=actor.kind,
                actor_id=actor.id,
                user_id=visitor.user.id,
                session_id=session.id,
            )
        )
    return session.id


def _carried(session_id: str | None, reviewed: str | None) -> Carried:
    is_id = session_id is not None and _SESSION_ID.fullmatch(session_id)
    return Carried(session_id if is_id else None, instant(reviewed))

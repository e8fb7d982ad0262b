"""/admin/sessions/{id}: one session, what happened in it, which apps know of its end; and ending it."""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import sessions
from idp.admin.schemas import Because
from idp.admin.session_schemas import SessionDetail
from idp.console import names, rooms
from idp.console.session_list import PATH
from idp.errors import Refused
from idp.policy import management
from idp.sessions import life
from idp.sessions.model import Session
from idp.users import queries as users
from idp.web import receipts
from idp.web.http import PageRequest, WebContext
from idp.web.receipts import Outcome
from idp.web.visitor import Visitor

_ONE = f"{PATH}/{{id}}"


def routes(context: WebContext) -> list[Route]:
    """/admin/sessions/{id} and …/end"""
    return [
        rooms.room(context, _ONE, "sessions:read", {"GET": show}),
        rooms.form(context, f"{_ONE}/end", "sessions:revoke", end, on=_ONE),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/sessions/{id}"""
    return _page(context, request, visitor)


def end(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/sessions/{id}/end"""
    held = rooms.prove(context, request, visitor, sessions.end_session)
    if held is not None:
        return held
    session_id = request.params["id"]
    try:
        because = rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})
        rooms.carry_out(context, visitor, sessions.end_session, because, id=session_id)
    except Refused as refused:
        if refused.code == "session_not_found":
            raise
        return _page(context, request, visitor, refused)
    return RedirectResponse(f"{PATH}/{session_id}", 303)


def _page(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    session_id = request.params["id"]
    session: SessionDetail = rooms.carry_out(
        context, visitor, sessions.get_session, id=session_id
    ).found
    with context.work.read() as unit:
        person = users.by_id(unit, session.user.id)
        ended_by = (
            names.of_people(unit, rooms.rights(visitor), [session.ended_by_id])
            | names.of_apps(unit, [session.ended_by_id])
        ).get(session.ended_by_id or "")
        apps = names.of_apps(unit, [one.client_id for one in session.timeline])
        outcome = None
        row = unit.orm.get(Session, session_id)
        if row is not None and life.is_marked(row):
            told = receipts.apps_told(unit, [session_id])
            outcome = Outcome(row.ended_at or unit.now, (session_id,), told, ())
    held = person.permissions if person is not None else []
    return rooms.page(
        context,
        request,
        visitor,
        "session.html",
        status=problem.status if problem is not None else 200,
        session=session,
        outcome=outcome,
        ended_by=ended_by,
        apps=apps,
        is_own=session_id == visitor.session.id,
        is_above=management.is_above(held, rooms.rights(visitor)),
        sources=context.provider.atlas.attributions(),
        typed=request.form,
        problem=problem.sentence if problem is not None else None,
    )

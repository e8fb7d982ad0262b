"""/admin/queries: searches and reports that are kept under a name; opened, changed and forgotten.

The address of one stays the same when it is renamed or changed, so it can be sent to others: it leads
on to the page that answers it, for whoever may ask.
"""

from collections.abc import Mapping

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import queries, stored_queries
from idp.admin.answering import dumped, tag_of
from idp.admin.schemas import Because, Model
from idp.console import names, rooms
from idp.errors import Refused
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/queries"
_ONE = f"{PATH}/{{id}}"


def routes(context: WebContext) -> list[Route]:
    """/admin/queries, /admin/queries/{id} and an address for each of its forms"""
    return [
        rooms.room(context, PATH, "queries:read", {"GET": show_all}),
        rooms.form(context, f"{PATH}/new", "queries:write", save, on=PATH),
        rooms.room(context, _ONE, "queries:read", {"GET": lead_on}),
        rooms.form(context, f"{_ONE}/change", "queries:write", change, on=PATH),
        rooms.form(context, f"{_ONE}/remove", "queries:write", remove, on=PATH),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/queries"""
    return _page(context, request, visitor)


def lead_on(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/queries/{id}: to the page that answers it."""
    query_id = request.params["id"]
    found = rooms.carry_out(context, visitor, queries.get_query, id=query_id).found
    return RedirectResponse(found.page, 303)


def save(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/queries/new"""
    try:
        new = rooms.taken(queries.NewQuery, _fields(request) | {"kind": request.form.get("kind")})
        key = request.form.get("key")
        rooms.carry_out(context, visitor, queries.save_query, new, key=key)
    except Refused as refused:
        return _page(context, request, visitor, refused)
    return RedirectResponse(PATH, 303)


def change(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/queries/{id}/change"""
    return _on_one(
        context, request, visitor, queries.change_query, queries.QueryChange, _fields(request)
    )


def remove(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/queries/{id}/remove"""
    because = {"reason": request.form.get("reason", "").strip()}
    return _on_one(context, request, visitor, queries.remove_query, Because, because)


def _on_one(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    act: rooms.Act,
    model: type[Model],
    values: Mapping[str, object],
) -> Response:
    """Carries an operation out on the one that the address names, as it was seen."""
    try:
        sent = rooms.taken(model, values)
        seen, query_id = request.form.get("tag"), request.params["id"]
        rooms.carry_out(context, visitor, act, sent, match=seen, id=query_id)
    except Refused as refused:
        if refused.code == "query_not_found":
            raise
        return _page(context, request, visitor, refused)
    return RedirectResponse(PATH, 303)


def _page(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    found = rooms.carry_out(context, visitor, queries.list_queries).found
    rights = rooms.rights(visitor)
    tags = {one.id: tag_of(dumped(one)) for one in found.items}
    form = request.params.get("id")
    if form in tags and problem is not None and problem.code != "precondition_failed":
        # What was typed goes on from where it was made; after a conflict, from what stands now.
        tags[form] = request.form.get("tag", "")
    with context.work.read() as unit:
        people = names.of_people(unit, rights, [one.changed_by for one in found.items])
    return rooms.page(
        context,
        request,
        visitor,
        "queries.html",
        status=problem.status if problem is not None else 200,
        found=found,
        people=people,
        tags=tags,
        kinds=[kind for kind, right in stored_queries.RIGHTS.items() if right in rights],
        typed=dict(request.form),
        # Whose form comes back with what was typed; none for a new one.
        form=form,
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )


def _fields(request: PageRequest) -> dict[str, object]:
    form = request.form
    return {"name": form.get("name", "").strip(), "query": " ".join(form.get("q", "").split())}

"""/admin/apps/new: adding an app, from a kind of app to a configuration that is ready to paste.

The secret is on the page that answers the form, and nowhere afterwards. The same form sent again,
within a day, gets the same answer: a lost page loses no secret and makes no second app.
"""

from starlette.responses import Response
from starlette.routing import Route

from idp.admin import clients
from idp.console import apps, rooms
from idp.console.app_templates import BY_KEY, TEMPLATES, Template
from idp.console.people import query
from idp.errors import Refused
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{apps.PATH}/new"
RIGHT = "right."


def routes(context: WebContext) -> list[Route]:
    """/admin/apps/new"""
    return [rooms.room(context, PATH, "clients:write", {"GET": ask, "POST": create})]


def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/apps/new?kind=grafana"""
    kind = query(request, "kind")
    if not kind:
        return rooms.page(context, request, visitor, "app_kinds.html", kinds=TEMPLATES)
    return _form(context, request, visitor, _template(kind))


def create(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/apps/new"""
    held = rooms.prove(context, request, visitor, clients.create_client)
    if held is not None:
        return held
    form = request.form
    template = _template(form.get("kind", ""))
    try:
        new = rooms.taken(clients.NewClient, _values(template, request))
        made = rooms.carry_out(
            context, visitor, clients.create_client, new, key=form.get("key")
        ).found
    except Refused as refused:
        return _form(context, request, visitor, template, refused)
    return apps.with_secret(
        context, request, visitor, made, made.client_secret, kind=template.key, is_new=True
    )


def _values(template: Template, request: PageRequest) -> dict[str, object]:
    form = request.form
    values = template.made(
        name=form.get("name", "").strip(),
        address=form.get("address", "").strip(),
        callback=form.get("callback", template.callback or "").strip(),
        backchannel=form.get("backchannel", template.backchannel or "").strip(),
    )
    if template.asks == "rights":
        wanted = (name.removeprefix(RIGHT) for name in form if name.startswith(RIGHT))
        values["scope"] = " ".join(sorted(wanted))
    if "first_party" in form:
        values["first_party"] = True
    return values


def _template(kind: str) -> Template:
    found = BY_KEY.get(kind)
    if found is None:
        raise rooms.nothing_here()
    return found


def _form(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    template: Template,
    problem: Refused | None = None,
) -> Response:
    return rooms.page(
        context,
        request,
        visitor,
        "app_new.html",
        status=problem.status if problem is not None else 200,
        kind=template,
        typed=request.form,
        key=request.form.get("key") or rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )

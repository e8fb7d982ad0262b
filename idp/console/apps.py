"""/admin/apps: the apps that sign people in here; what each is registered with, and who is in it now.

A change says what it was made from. When somebody else changed the app meanwhile, both are shown: what
stands now, and what was typed.
"""

from collections.abc import Callable
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import clients, sessions
from idp.admin.answering import dumped, tag_of
from idp.admin.schemas import Because, Model
from idp.admin.session_schemas import SessionQuery
from idp.console import rooms
from idp.console.people import query
from idp.console.rooms import Act
from idp.errors import Refused
from idp.policy import management
from idp.policy.assurance import LADDER
from idp.web.http import PageRequest, WebContext
from idp.web.security import instant
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/apps"
_ONE = f"{PATH}/{{id}}"
# Fields of the form: lists with an entry a line, texts and numbers that may be missing.
_LISTS = ("redirect_uris", "post_logout_redirect_uris", "allowed_origins", "audience")
_TEXTS = ("backchannel_logout_uri", "client_uri", "minimum_acr")
_NUMBERS = ("access_token_lifetime", "refresh_token_lifetime")
_LONGEST_NUMBER = 9


def routes(context: WebContext) -> list[Route]:
    """/admin/apps, /admin/apps/{id} and an address for each of its forms"""
    return [
        rooms.room(context, PATH, "clients:read", {"GET": show_all}),
        rooms.room(context, _ONE, "clients:read", {"GET": show}),
        _route(context, "change", clients.change_client, _change),
        _route(context, "disable", clients.disable_client, _because),
        _route(context, "enable", clients.enable_client, _because),
        rooms.form(context, f"{_ONE}/secret", "clients:write", rotate, on=_ONE),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/apps?q=…&origin=registered"""
    given = {name: said for name in ("q", "origin", "page_token") if (said := query(request, name))}
    asked = rooms.taken(clients.ClientQuery, given)
    found = rooms.carry_out(context, visitor, clients.list_clients, asked).found
    return rooms.page(context, request, visitor, "apps.html", found=found, given=given)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/apps/{id}"""
    return _page(context, request, visitor)


def rotate(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/apps/{id}/secret: the new one is on the page that answers, and nowhere else."""
    held = rooms.prove(context, request, visitor, clients.rotate_client_secret)
    if held is not None:
        return held
    client_id = request.params["id"]
    try:
        rotation = clients.Rotation(overlap=request.form.get("overlap") != "none")
        made = rooms.carry_out(
            context,
            visitor,
            clients.rotate_client_secret,
            rotation,
            key=request.form.get("key"),
            id=client_id,
        ).found
    except Refused as refused:
        return _again(context, request, visitor, refused, "secret")
    client = rooms.carry_out(context, visitor, clients.get_client, id=client_id).found
    return with_secret(context, request, visitor, client, made.client_secret, kind="web")


def with_secret(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    client: clients.Client,
    secret: str | None,
    *,
    kind: str,
    is_new: bool = False,
) -> Response:
    """The one page that shows a secret, with what the app has to be told."""
    return rooms.page(
        context,
        request,
        visitor,
        "app_secret.html",
        client=client,
        secret=secret,
        kind=kind,
        is_new=is_new,
        issuer=context.settings.issuer,
    )


def _route(
    context: WebContext, name: str, act: Act, makes: Callable[[PageRequest], Model]
) -> Route:
    def send(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        held = rooms.prove(context, request, visitor, act)
        if held is not None:
            return held
        client_id = request.params["id"]
        try:
            done = rooms.carry_out(
                context, visitor, act, makes(request), match=request.form.get("tag"), id=client_id
            )
        except Refused as refused:
            return _again(context, request, visitor, refused, name)
        return RedirectResponse(f"{PATH}/{client_id}?done={done.at}", 303)

    return rooms.form(context, f"{_ONE}/{name}", rooms.operation(act).scope, send, on=_ONE)


def _again(
    context: WebContext, request: PageRequest, visitor: Visitor, refused: Refused, form: str
) -> Response:
    if refused.code == "client_not_found":
        raise refused
    return _page(context, request, visitor, refused, form=form)


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    problem: Refused | None = None,
    *,
    form: str = "",
) -> Response:
    client_id = request.params["id"]
    client = rooms.carry_out(context, visitor, clients.get_client, id=client_id).found
    rights = rooms.rights(visitor)
    running = None
    if "sessions:read" in rights:
        inside = rooms.taken(SessionQuery, {"client": client_id})
        running = rooms.carry_out(context, visitor, sessions.list_sessions, inside).found
    is_conflict = problem is not None and problem.code == "precondition_failed"
    # What was typed goes on from where it was made; after a conflict, from what stands now.
    made_from = request.form.get("tag") if form == "change" and not is_conflict else None
    return rooms.page(
        context,
        request,
        visitor,
        "app.html",
        status=problem.status if problem is not None else 200,
        client=client,
        running=running,
        own=visitor.session.id,
        tag=made_from or tag_of(dumped(client)),
        values=_typed(request) if form == "change" else _shown(client),
        is_conflict=is_conflict,
        is_above=management.is_above(client.scope.split(), rights),
        is_changed=instant(request.query.get("done")) > 0,
        ladder=LADDER[1:],
        typed=request.form,
        form=form,
        key=rooms.new_key(),
        issuer=context.settings.issuer,
        problem=problem.sentence if problem is not None else None,
    )


def _shown(client: clients.Client) -> dict[str, str]:
    """The fields of the form as they stand now."""
    found = {name: "\n".join(getattr(client, name)) for name in _LISTS}
    for name in (*_TEXTS, *_NUMBERS, "name", "scope"):
        value = getattr(client, name)
        found[name] = "" if value is None else str(value)
    found["first_party"] = "on" if client.first_party else ""
    return found


def _typed(request: PageRequest) -> dict[str, str]:
    names = (*_LISTS, *_TEXTS, *_NUMBERS, "name", "scope", "first_party")
    return {name: request.form.get(name, "") for name in names}


def _change(request: PageRequest) -> clients.ClientChange:
    """The whole form: what is empty is taken away."""
    typed = _typed(request)
    wanted: dict[str, Any] = {
        "name": typed["name"].strip(),
        "scope": " ".join(typed["scope"].split()),
        "first_party": bool(typed["first_party"]),
    }
    for name in _LISTS:
        wanted[name] = typed[name].split()
    for name in _TEXTS:
        wanted[name] = typed[name].strip() or None
    for name in _NUMBERS:
        wanted[name] = _number(typed[name].strip(), name)
    return rooms.taken(clients.ClientChange, wanted)


def _number(text: str, name: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        said = name.replace("_", " ")
        raise Refused("invalid_field", f"“{said}” is a whole number of seconds.", 400)
    return int(text)


def _because(request: PageRequest) -> Because:
    return rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})

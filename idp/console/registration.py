"""/admin/apps/registration: leave for apps to register themselves, given and taken back.

A token is on the page that answers its form, and nowhere else. The same form sent again, within a day,
gets the same answer.
"""

from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import initial_access
from idp.admin.schemas import Because
from idp.console import apps, rooms
from idp.errors import Refused
from idp.oauth.server import GRANT_TYPES
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

PATH = f"{apps.PATH}/registration"
_USUAL = ("authorization_code", "refresh_token")
_GRANT = "grant."
_DAY = 86_400


def routes(context: WebContext) -> list[Route]:
    """/admin/apps/registration and /admin/apps/registration/{id}/revoke"""
    return [
        rooms.room(context, PATH, "clients:read", {"GET": show_all}),
        rooms.form(context, f"{PATH}/new", "clients:write", allow, on=PATH),
        rooms.form(context, f"{PATH}/{{id}}/revoke", "clients:write", revoke, on=PATH),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/apps/registration"""
    return _page(context, request, visitor)


def allow(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/apps/registration/new: the token is on the page that answers."""
    act = initial_access.allow_registration
    held = rooms.prove(context, request, visitor, act)
    if held is not None:
        return held
    try:
        new = rooms.taken(initial_access.NewInitialAccess, _wanted(request))
        made = rooms.carry_out(context, visitor, act, new, key=request.form.get("key")).found
    except Refused as refused:
        return _page(context, request, visitor, refused)
    return _page(context, request, visitor, made=made)


def revoke(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/apps/registration/{id}/revoke"""
    token_id = request.params["id"]
    try:
        because = rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})
        act = initial_access.revoke_initial_access
        rooms.carry_out(context, visitor, act, because, id=token_id)
    except Refused as refused:
        if refused.code == "initial_access_not_found":
            raise
        return _page(context, request, visitor, refused)
    return RedirectResponse(PATH, 303)


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    problem: Refused | None = None,
    *,
    made: Any = None,
) -> Response:
    typed = {} if made is not None else dict(request.form)
    granted = [one for one in GRANT_TYPES if f"{_GRANT}{one}" in typed] if typed else _USUAL
    return rooms.page(
        context,
        request,
        visitor,
        "registration.html",
        status=problem.status if problem is not None else 200,
        found=rooms.carry_out(context, visitor, initial_access.list_initial_access).found,
        made=made,
        typed=typed,
        grant_types=GRANT_TYPES,
        granted=granted,
        is_on=context.settings.registration,
        address=f"{context.settings.issuer}/register",
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )


def _wanted(request: PageRequest) -> dict[str, object]:
    form = request.form
    return {
        "name": form.get("name", "").strip(),
        "scope": " ".join(form.get("scope", "").split()),
        "grant_types": [one for one in GRANT_TYPES if f"{_GRANT}{one}" in form],
        "redirect_hosts": form.get("redirect_hosts", "").split(),
        "uses": _number(form.get("uses", "")),
        "expires_in": _number(form.get("days", "")) * _DAY,
    }


def _number(text: str) -> int:
    said = text.strip()
    if not (said.isascii() and said.isdigit() and len(said) <= 6):
        raise Refused("invalid_field", "How many apps, and for how many days, are numbers.", 400)
    return int(said)

"""/admin/keys: the keys that sign tokens, what each does now, and rotating them."""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import keys
from idp.admin.schemas import Because
from idp.clock import DAY, from_rfc3339
from idp.console import rooms
from idp.errors import Refused
from idp.oauth.keys import AGE_WARNED, RETIRED_PUBLISHED
from idp.web.http import PageRequest, WebContext
from idp.web.security import instant
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/keys"
# What signs stands first, then what will, then what did.
_ORDER = ("active", "next", "retired")


def routes(context: WebContext) -> list[Route]:
    """/admin/keys and its form"""
    return [
        rooms.room(context, PATH, "keys:read", {"GET": show}),
        rooms.form(context, f"{PATH}/rotate", "keys:rotate", rotate, on=PATH),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/keys"""
    return _page(context, request, visitor)


def rotate(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/keys/rotate: after a fresh proof."""
    held = rooms.prove(context, request, visitor, keys.rotate_keys)
    if held is not None:
        return held
    try:
        because = rooms.taken(Because, {"reason": request.form.get("reason", "").strip()})
        key = request.form.get("key")
        done = rooms.carry_out(context, visitor, keys.rotate_keys, because, key=key)
    except Refused as refused:
        return _page(context, request, visitor, refused)
    return RedirectResponse(f"{PATH}?done={done.at}", 303)


def _page(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    # The newest first.
    found = rooms.carry_out(context, visitor, keys.list_keys).found.items[::-1]
    now = context.work.clock.now()
    since = [from_rfc3339(one.activated_at) for one in found if one.state == "active"]
    age = max((now - at for at in since), default=0)
    gone = {
        one.kid: from_rfc3339(one.retired_at) + RETIRED_PUBLISHED < now
        for one in found
        if one.retired_at is not None
    }
    return rooms.page(
        context,
        request,
        visitor,
        "keys.html",
        status=problem.status if problem is not None else 200,
        found=sorted(found, key=lambda one: _ORDER.index(one.state)),
        is_gone=gone,
        days=age // DAY,
        is_old=age > AGE_WARNED,
        published=RETIRED_PUBLISHED // DAY,
        jwks=f"{context.settings.issuer}/jwks",
        is_done=instant(request.query.get("done")) > 0,
        typed=request.form,
        key=rooms.new_key(),
        problem=problem.sentence if problem is not None else None,
    )

"""/account/security/codes: making new recovery codes, which are shown this once.

Owns the page that shows them, also after a first second factor was added. There is no page that
shows existing ones: nobody knows them any more but whoever kept them.
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.users import factors, recovery_codes
from idp.web.factor_changes import SECURITY, address, by, changing, others
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

PATH = f"{SECURITY}/codes"


def routes(context: WebContext) -> list[Route]:
    """/account/security/codes"""
    return [
        visitor_route(context, PATH, {"POST": make}, operation="see_secrets"),
        visitor_route(context, PATH, {"GET": to_security}),
    ]


def to_security(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/codes: nothing to see, only how many are left."""
    del context, request, visitor
    return RedirectResponse(f"{SECURITY}#codes", 303)


def make(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/codes: a new set; the older one is worth nothing from now on."""
    with context.work.begin() as unit:
        user = changing(unit, visitor, "see_secrets")
        if not factors.has_second(factors.enrolled(unit, user.id)):
            raise Refused(
                "no_second_factor",
                "Recovery codes stand in for a second proof. Please add a passkey or an "
                "authenticator app first.",
                409,
            )
        codes = recovery_codes.make(unit, user, by(visitor))
        at = unit.now
    return shown_once(context, request, visitor, codes, at=at, back=None)


def shown_once(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    codes: list[str],
    *,
    at: Instant,
    back: str | None,
) -> Response:
    """The answer that shows new codes; it is kept by no cache, and asked for again by nobody."""
    with context.work.read() as unit:
        elsewhere = others(unit, visitor)
    is_first = request.path != PATH
    return context.renderer.page(
        "recovery_codes.html",
        language=request.language,
        visitor=visitor,
        codes=codes,
        is_first=is_first,
        others=elsewhere if is_first else 0,
        onward=address(SECURITY, back=back, done=at),
    )

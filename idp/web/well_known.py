"""What browsers and password managers look for under /.well-known: where passkeys and passwords are.

Owns three addresses and nothing behind them. They are the same for everybody, so nobody is looked
at: no cookie is read or set. The provider's own metadata is `idp.oauth.discovery`.
Specs: WebAuthn Level 3 section 5.11 (related origins), W3C "A Well-Known URL for Relying Party
Passkey Endpoints", W3C "A Well-Known URL for Changing Passwords".
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.users import passkeys
from idp.web.http import WebContext

SECURITY = "/account/security"
# Pages of the further origins, and extensions of browsers, read these from elsewhere.
_FOR_EVERYBODY = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def routes(context: WebContext) -> list[Route]:
    """/.well-known/webauthn, /.well-known/passkey-endpoints and /.well-known/change-password."""
    settings = context.settings
    security = f"{settings.issuer}{SECURITY}"
    # Ours need not be named; those of Android apps are not asked for here (section 5.11.1).
    further = [one for one in passkeys.origins(settings)[1:] if one.startswith("https://")]
    return [
        _document("/.well-known/webauthn", {"origins": further}),
        _document("/.well-known/passkey-endpoints", {"enroll": security, "manage": security}),
        Route("/.well-known/change-password", _change_password, include_in_schema=False),
    ]


def _document(path: str, members: dict[str, Any]) -> Route:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(members, headers=_FOR_EVERYBODY)

    return Route(path, endpoint, include_in_schema=False)


async def _change_password(_: Request) -> Response:
    """GET /.well-known/change-password"""
    return RedirectResponse(f"{SECURITY}/password", 303)

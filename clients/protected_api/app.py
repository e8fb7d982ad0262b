"""An API that asks the provider about every access token it is shown (RFC 7662).

Introspection costs a call and buys the truth: a token whose session was ended a moment ago is
refused at once, whatever its expiry says. Errors are those of RFC 6750 section 3, and of RFC 9470
section 3 where a payment needs its person to have proved more, or more recently.

Settings by environment: ISSUER, CLIENT_ID, CLIENT_SECRET (a client that may introspect), API_URL
(this API's name in the `aud` of tokens), API_SCOPE (what a token must be allowed, `profile`).
Run it with `uvicorn --factory clients.protected_api.app:create_app`.
"""

import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote_plus

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN_MAXIMUM = 4_096
PAYMENTS_SCOPE = "payments"
# The provider's levels (`acr_values_supported` in its metadata), the lowest first.
LEVELS = ("0", "aal1", "aal2", "aal3")
# What a payment needs: two factors, both shown within so many seconds.
PAYMENT_LEVEL = "aal2"
PAYMENT_MAX_AGE = 300
BODY_MAXIMUM = 4_096
NOTE_MAXIMUM = 140
KEPT_MAXIMUM = 1_000
_AMOUNT = re.compile(r"(?=.*[1-9])[0-9]{1,7}(\.[0-9]{2})?")


class Refused(Exception):  # noqa: N818 - an answer to the caller
    """No answer for this caller: the status, and the error of RFC 6750 section 3.1, if any."""

    def __init__(self, status: int, error: str | None = None, **members: str) -> None:
        super().__init__(error)
        self.status = status
        self.members = {"error": error, **members} if error else members


# Answers a caller whose token was found good, and says what it says.
Handler = Callable[[Request, dict[str, Any]], Awaitable[Response]]


class ProtectedApi:
    """The routes, and how they know who is asking."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.issuer = environment["ISSUER"]
        self.audience = environment["API_URL"]
        self.scope = environment.get("API_SCOPE", "profile")
        # RFC 6749 section 2.3.1: both are form-encoded before they are put together.
        self.credentials = httpx2.BasicAuth(
            quote_plus(environment["CLIENT_ID"]), quote_plus(environment["CLIENT_SECRET"])
        )
        self.http = httpx2.AsyncClient(timeout=5)
        self.introspection_endpoint: str | None = None
        # In memory, for a demonstration: the newest, as (whose, payment).
        self.payments: list[tuple[str, dict[str, Any]]] = []

    async def whoami(self, request: Request) -> Response:
        """Says whom the token stands for."""
        return await self._answered(request, self.scope, self._tell)

    async def payments_of(self, request: Request) -> Response:
        """GET: the payments of the token's person."""
        return await self._answered(request, PAYMENTS_SCOPE, self._list)

    async def pay(self, request: Request) -> Response:
        """POST {"amount": "12.50", "note": …}: for people who proved enough, and recently."""
        return await self._answered(request, PAYMENTS_SCOPE, self._pay)

    async def _tell(self, _: Request, token: dict[str, Any]) -> Response:
        told = {name: token[name] for name in ("sub", "username", "scope", "sid") if name in token}
        return _json(told)

    async def _list(self, _: Request, token: dict[str, Any]) -> Response:
        return _json({"payments": [one for sub, one in self.payments if sub == token["sub"]]})

    async def _pay(self, request: Request, token: dict[str, Any]) -> Response:
        require_proof(token, level=PAYMENT_LEVEL, max_age=PAYMENT_MAX_AGE, now=time.time())
        asked = await _payment(request)
        if asked is None:
            description = "Send an amount such as 12.50, and a note of at most 140 characters."
            return _json({"error": "invalid_request", "error_description": description}, 400)
        self.payments = [*self.payments, (token["sub"], asked)][-KEPT_MAXIMUM:]
        shown = {name: token[name] for name in ("username", "acr", "auth_time") if name in token}
        return _json({"paid": asked, "by": shown}, 201)

    async def _answered(self, request: Request, scope: str, handler: Handler) -> Response:
        try:
            token = await self._checked(bearer_token(request), scope)
            return await handler(request, token)
        except Refused as refused:
            return self._refusal(refused)
        except httpx2.HTTPError:
            return JSONResponse({"error": "temporarily_unavailable"}, 503, {"Retry-After": "1"})

    async def _checked(self, token: str, scope: str) -> dict[str, Any]:
        answer = await self._introspect(token)
        audience = answer.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if answer.get("active") is not True or answer.get("iss", self.issuer) != self.issuer:
            raise Refused(401, "invalid_token", error_description="The token is not valid.")
        if self.audience not in audiences:
            raise Refused(
                401, "invalid_token", error_description="The token is for another service."
            )
        if scope not in str(answer.get("scope", "")).split():
            raise Refused(403, "insufficient_scope", scope=scope)
        return answer

    async def _introspect(self, token: str) -> dict[str, Any]:
        if self.introspection_endpoint is None:
            metadata = await self.http.get(f"{self.issuer}/.well-known/openid-configuration")
            metadata.raise_for_status()
            self.introspection_endpoint = metadata.json()["introspection_endpoint"]
        response = await self.http.post(
            self.introspection_endpoint,
            data={"token": token, "token_type_hint": "access_token"},
            auth=self.credentials,
        )
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def _refusal(self, refused: Refused) -> Response:
        challenge = ", ".join(
            f'{name}="{value}"' for name, value in {"realm": "api", **refused.members}.items()
        )
        return JSONResponse(
            refused.members,
            refused.status,
            {"WWW-Authenticate": f"Bearer {challenge}", "Cache-Control": "no-store"},
        )


def bearer_token(request: Request) -> str:
    """The token of the Authorization header (RFC 6750 section 2.1); raises `Refused`."""
    sent = request.headers.getlist("authorization")
    if not sent:
        # RFC 6750 section 3.1: nothing was sent, so nothing is said about an error.
        raise Refused(401)
    scheme, _, token = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_MAXIMUM:
        raise Refused(400, "invalid_request", error_description="Send one bearer token.")
    return token


def require_proof(token: dict[str, Any], *, level: str, max_age: int, now: float) -> None:
    """Raises the challenge of RFC 9470 section 3 unless the person proved enough, and recently.

    The two claims may be looked at one by one because of what the provider says with them: its
    `auth_time` is the moment of the oldest proof that `acr` rests on. Where it is that of the
    newest, "aal2" of this morning and a password of this minute would pass for a fresh aal2.
    """
    acr, at = token.get("acr"), token.get("auth_time")
    enough = acr in LEVELS and LEVELS.index(acr) >= LEVELS.index(level)
    if not enough or not isinstance(at, int) or now - at > max_age:
        raise Refused(
            401,
            "insufficient_user_authentication",
            error_description="This needs a surer or a more recent sign-in.",
            acr_values=level,
            max_age=str(max_age),
        )


async def _payment(request: Request) -> dict[str, Any] | None:
    """What shall be paid; None when the body is not exactly that."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAXIMUM:
            return None
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict) or set(asked) != {"amount", "note"}:
        return None
    amount, note = asked["amount"], asked["note"]
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        return None
    if not isinstance(note, str) or len(note) > NOTE_MAXIMUM or not note.isprintable():
        return None
    return {"amount": amount, "note": note}


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(body, status, {"Cache-Control": "no-store"})


def routes(api: ProtectedApi) -> list[Route]:
    """Where everything is."""
    return [
        Route("/whoami", api.whoami),
        Route("/payments", api.payments_of),
        Route("/payments", api.pay, methods=["POST"]),
    ]


def create_app() -> Starlette:
    """The API, as its environment says."""
    return Starlette(routes=routes(ProtectedApi(dict(os.environ))))

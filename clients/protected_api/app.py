"""An API that asks the provider about every access token it is shown (RFC 7662).

Introspection costs a call and buys the truth: a token whose session was ended a moment ago is
refused at once, whatever its expiry says. Errors are those of RFC 6750 section 3.

Settings by environment: ISSUER, CLIENT_ID, CLIENT_SECRET (a client that may introspect), API_URL
(this API's name in the `aud` of tokens), API_SCOPE (what a token must be allowed, `profile`).
Run it with `uvicorn --factory clients.protected_api.app:create_app`.
"""

import os
from typing import Any
from urllib.parse import quote_plus

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN_MAXIMUM = 4_096


class Refused(Exception):  # noqa: N818 - an answer to the caller
    """No answer for this caller: the status, and the error of RFC 6750 section 3.1, if any."""

    def __init__(self, status: int, error: str | None = None, **members: str) -> None:
        super().__init__(error)
        self.status = status
        self.members = {"error": error, **members} if error else members


class ProtectedApi:
    """The one route, and how it knows who is asking."""

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

    async def whoami(self, request: Request) -> Response:
        """Says whom the token stands for."""
        try:
            token = await self._checked(bearer_token(request))
        except Refused as refused:
            return self._answer(refused)
        except httpx2.HTTPError:
            return JSONResponse({"error": "temporarily_unavailable"}, 503, {"Retry-After": "1"})
        told = {name: token[name] for name in ("sub", "username", "scope", "sid") if name in token}
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    async def _checked(self, token: str) -> dict[str, Any]:
        answer = await self._introspect(token)
        audience = answer.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if answer.get("active") is not True or answer.get("iss", self.issuer) != self.issuer:
            raise Refused(401, "invalid_token", error_description="The token is not valid.")
        if self.audience not in audiences:
            raise Refused(
                401, "invalid_token", error_description="The token is for another service."
            )
        if self.scope not in str(answer.get("scope", "")).split():
            raise Refused(403, "insufficient_scope", scope=self.scope)
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

    def _answer(self, refused: Refused) -> Response:
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


def create_app() -> Starlette:
    """The API, as its environment says."""
    api = ProtectedApi(dict(os.environ))
    return Starlette(routes=[Route("/whoami", api.whoami)])

"""The protocol endpoints as plain ASGI: /token, /introspect, /revoke, /userinfo, keys and metadata.

Owns which request is decided by what, and CORS for the token side. /authorize is
`authorization_endpoint`. What is decided stands in `idp.oauth`, reading and writing in `wire`.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable

import orjson
from authlib.oauth2.rfc6749 import OAuth2Error
from starlette.types import Receive, Scope, Send

from idp.errors import Refused
from idp.oauth import (
    client_auth,
    clients,
    device_authorization,
    discovery,
    introspection,
    revocation,
    server,
    token_state,
    userinfo,
)
from idp.oauth.facts import (
    BY_AUTHORIZATION,
    token_facts,
)
from idp.oauth.provider import Answer, Decision, Provider, json_answer
from idp.oauth.request import parse_form
from idp.storage.database import Row
from idp.web.address import networks
from idp.web.authorization_endpoint import AuthorizationEndpoint, ErrorPage
from idp.web.decisions import Shell
from idp.web.wire import (
    TooLarge,
    headers_of,
    method_not_allowed,
    preflight,
    read_body,
    send_answer,
    unavailable,
    visit_of,
)

log = logging.getLogger(__name__)


class ProtocolEndpoints:
    """ASGI callables by path.

    `error_page` draws the page for what must not be redirected at /authorize; `counted` hears the
    grant and status of each answer of the token endpoint.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        error_page: ErrorPage,
        counted: Callable[[str | None, int], None],
    ) -> None:
        self.provider = provider
        self._counted = counted
        self.shell = Shell(provider)
        self.settings = provider.settings
        self._trusted_proxies = networks(provider.settings.trusted_proxies)
        metadata = orjson.dumps(discovery.document(self.settings))
        etag = f'"{hashlib.sha256(metadata).hexdigest()[:32]}"'
        self._metadata = (metadata, etag)
        self.by_path: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            "/authorize": AuthorizationEndpoint(provider, self.shell, error_page=error_page),
            "/token": self._form_endpoint(self._token),
            "/device_authorization": self._form_endpoint(self._device_authorization),
            "/introspect": self._form_endpoint(self._introspect),
            "/revoke": self._form_endpoint(self._revoke),
            "/userinfo": self.userinfo_endpoint,
            "/jwks": self._document(provider.keyring.jwks),
            "/.well-known/jwks.json": self._document(provider.keyring.jwks),
            "/.well-known/openid-configuration": self._document(lambda: self._metadata),
            "/.well-known/oauth-authorization-server": self._document(lambda: self._metadata),
        }

    # --- the token side ---------------------------------------------------------------------

    def _form_endpoint(
        self, endpoint: Callable[[dict[str, str], dict[str, str], Scope], Awaitable[Answer]]
    ) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            headers = headers_of(scope)
            if scope["method"] not in ("POST", "OPTIONS"):
                await self._send(send, scope, method_not_allowed("POST, OPTIONS"))
                return
            cross: tuple[tuple[str, str], ...] = ()
            try:
                # First, so that the app in a browser can read the errors as well.
                cross = await self._cross_origin(headers)
                if scope["method"] == "OPTIONS":
                    answer = preflight(cross)
                else:
                    body = await read_body(receive)
                    form = parse_form(headers.get("content-type", ""), body)
                    answer = await endpoint(form, headers, scope)
            except TooLarge:
                answer = json_answer(413, {"error": "invalid_request"})
            except OAuth2Error as error:
                answer = server.error_answer(error)
            except Refused as refused:
                answer = unavailable(refused)
            except Exception:
                log.exception("protocol endpoint failed")
                answer = json_answer(500, {"error": "server_error"})
            await self._send(send, scope, answer, cross)

        return handle

    async def _token(self, form: dict[str, str], headers: dict[str, str], _: Scope) -> Answer:
        status = 500
        try:
            answer = await self._token_answer(form, headers)
            status = answer.status
        except OAuth2Error as error:
            status = error.status_code
            raise
        except Refused as refused:
            status = refused.status
            raise
        finally:
            self._counted(form.get("grant_type"), status)
        return answer

    async def _token_answer(self, form: dict[str, str], headers: dict[str, str]) -> Answer:
        presented = client_auth.presented(form, headers)
        statement, parameters = server.facts_key(form, presented)

        def decide(row: Row | None) -> Decision:
            now = self.provider.work.clock.now()
            return server.decide(form, presented, token_facts(row), self.provider, now)

        return await self.shell.decide(statement, parameters, decide)

    async def _device_authorization(
        self, form: dict[str, str], headers: dict[str, str], scope: Scope
    ) -> Answer:
        presented = client_auth.presented(form, headers)
        asker = visit_of(scope, self._trusted_proxies, self.provider.atlas.of)
        # Nothing but the caller is to be found.
        statement, parameters = server.facts_key({}, presented)

        def decide(row: Row | None) -> Decision:
            now = self.provider.work.clock.now()
            facts = token_facts(row)
            return device_authorization.decide(form, presented, facts, asker, self.provider, now)

        return await self.shell.decide(statement, parameters, decide)

    async def _introspect(self, form: dict[str, str], headers: dict[str, str], _: Scope) -> Answer:
        return await self._about_token(form, headers, introspection.decide)

    async def _revoke(self, form: dict[str, str], headers: dict[str, str], _: Scope) -> Answer:
        return await self._about_token(form, headers, revocation.decide)

    async def _about_token(
        self, form: dict[str, str], headers: dict[str, str], decided: Callable[..., Decision]
    ) -> Answer:
        presented = client_auth.presented(form, headers)
        token = token_state.read(
            form.get("token", ""), self.provider, self.provider.work.clock.now()
        )
        selected = (
            token.facts_parameters()
            if token
            else {"authorization_id": "", "owner_id": "", "jti": ""}
        )
        parameters = selected | {
            "client_id": presented.client_id,
            "assertion_jti": presented.assertion_jti,
        }

        def decide(row: Row | None) -> Decision:
            now = self.provider.work.clock.now()
            return decided(form, presented, token, token_facts(row), self.provider, now)

        return await self.shell.decide(BY_AUTHORIZATION, parameters, decide)

    async def userinfo_endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        """OpenID Connect Core section 5.3: GET or POST, token in the header or the form."""
        headers = headers_of(scope)
        cross: tuple[tuple[str, str], ...] = ()
        if scope["method"] not in ("GET", "POST", "OPTIONS"):
            await self._send(send, scope, method_not_allowed("GET, POST, OPTIONS"))
            return
        try:
            cross = await self._cross_origin(headers)
            if scope["method"] == "OPTIONS":
                await self._send(send, scope, preflight(cross), cross)
                return
            form: dict[str, str] = {}
            if scope["method"] == "POST":
                body = await read_body(receive)
                if body:
                    form = parse_form(headers.get("content-type", ""), body)
            now = self.provider.work.clock.now()
            token = token_state.read(userinfo.bearer_token(headers, form), self.provider, now)
            selected = (
                token.facts_parameters()
                if token is not None and token.access is not None
                else {"authorization_id": "", "owner_id": "", "jti": ""}
            )

            def decide(row: Row | None) -> Decision:
                now = self.provider.work.clock.now()
                return userinfo.decide(token, token_facts(row), self.provider, now)

            answer = await self.shell.decide(
                BY_AUTHORIZATION, selected | {"client_id": "", "assertion_jti": ""}, decide
            )
        except TooLarge:
            answer = json_answer(413, {"error": "invalid_request"})
        except userinfo.BearerError as error:
            answer = userinfo.bearer_answer(error)
        except OAuth2Error as error:
            answer = server.error_answer(error)
        except Refused as refused:
            answer = unavailable(refused)
        except Exception:
            log.exception("userinfo failed")
            answer = json_answer(500, {"error": "server_error"})
        await self._send(send, scope, answer, cross)

    # --- documents and the wire -------------------------------------------------------------

    def _document(
        self, current: Callable[[], tuple[bytes, str]]
    ) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            del receive
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                await self._send(send, scope, method_not_allowed("GET, HEAD, OPTIONS"))
                return
            body, etag = current()
            shared = (
                ("Content-Type", "application/json"),
                ("Cache-Control", "public, max-age=300"),
                ("ETag", etag),
                ("Access-Control-Allow-Origin", "*"),
            )
            if headers_of(scope).get("if-none-match") == etag:
                await self._send(send, scope, Answer(304, b"", shared))
            else:
                await self._send(send, scope, Answer(200, body, shared))

        return handle

    async def _cross_origin(self, headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
        """CORS for the token side: exactly the origins that clients registered, no credentials."""
        origin = headers.get("origin")
        if origin is None or origin == "null":
            return ()
        if origin not in await self.shell.hop(self._registered_origins):
            return (("Vary", "Origin"),)
        return (
            ("Access-Control-Allow-Origin", origin),
            # Which scope or level is missing stands there alone (RFC 6750 section 3, RFC 9470).
            ("Access-Control-Expose-Headers", "WWW-Authenticate"),
            ("Vary", "Origin"),
        )

    def _registered_origins(self) -> frozenset[str]:
        with self.provider.work.read() as unit:
            return clients.origins(unit)

    async def _send(
        self, send: Send, scope: Scope, answer: Answer, extra: tuple[tuple[str, str], ...] = ()
    ) -> None:
        await send_answer(send, scope, answer, extra, is_secure=self.settings.is_secure)

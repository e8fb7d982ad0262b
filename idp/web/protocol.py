"""The protocol endpoints as plain ASGI: /authorize, /token, /introspect, /revoke, /userinfo, keys
and metadata.

Owns which request is decided by what, CORS for the token side, and the way from a decision of
`/authorize` to a page. What is decided stands in `idp.oauth`, reading and writing in `wire`.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlencode

import orjson
from authlib.oauth2.rfc6749 import OAuth2Error
from sqlalchemy import select
from starlette.types import Receive, Scope, Send

from idp import ids
from idp.errors import Refused, Unavailable
from idp.oauth import (
    authorize,
    client_auth,
    clients,
    device_authorization,
    discovery,
    introspection,
    pushed,
    revocation,
    server,
    token_state,
    userinfo,
)
from idp.oauth.authorize import PageError
from idp.oauth.facts import (
    BY_AUTHORIZATION,
    FOR_AUTHORIZE,
    AuthorizeFacts,
    authorize_facts,
    token_facts,
)
from idp.oauth.provider import Answer, Decision, Provider, json_answer
from idp.oauth.request import Parameters, parse, parse_form
from idp.policy import management
from idp.sessions import hot
from idp.storage.database import Row
from idp.users.model import Role
from idp.web import cookies
from idp.web.address import networks
from idp.web.decisions import Shell
from idp.web.wire import (
    TEXT,
    TooLarge,
    cookies_of,
    headers_of,
    method_not_allowed,
    preflight,
    read_body,
    see_other,
    send_answer,
    unavailable,
    visit_of,
)

log = logging.getLogger(__name__)

# A POST to /authorize comes from another site, so the session's Lax cookie is not with it; it is
# turned into a GET, which carries it. What anybody may send unasked is kept until it expires, so it
# is bounded (DS-08).
GET_MAXIMUM = 8_192
ErrorPage = Callable[[PageError, dict[str, str]], Answer]


class _NeedsPermissions(Exception):  # noqa: N818
    """A scope was asked for that roles may govern; most requests ask for none."""


class ProtocolEndpoints:
    """ASGI callables by path.

    `error_page` draws the page for what must not be redirected; `counted` hears the grant and status
    of each answer of the token endpoint.
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
        self._error_page = error_page
        self._trusted_proxies = networks(provider.settings.trusted_proxies)
        metadata = orjson.dumps(discovery.document(self.settings.issuer))
        etag = f'"{hashlib.sha256(metadata).hexdigest()[:32]}"'
        self._metadata = (metadata, etag)
        self.by_path: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            "/authorize": self.authorize_endpoint,
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

    # --- the authorization endpoint ---------------------------------------------------------

    async def authorize_endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        """RFC 6749 section 4.1.1: GET, or POST which becomes a GET."""
        if scope["method"] not in ("GET", "POST"):
            await self._send(send, scope, method_not_allowed("GET, POST"))
            return
        try:
            if scope["method"] == "POST":
                answer = await self._authorize_post(headers_of(scope), await read_body(receive))
            else:
                answer = await self._authorize_get(scope)
        except TooLarge:
            answer = self._error_page(PageError("too_large", "The request is too large."), {})
        except PageError as error:
            answer = self._error_page(error, {})
        except OAuth2Error:
            answer = self._error_page(
                PageError("invalid_request", "The app sent a request that cannot be read."), {}
            )
        except Refused as refused:
            answer = self._error_page(PageError(refused.code, refused.sentence), {})
            answer = Answer(refused.status, answer.body, (*answer.headers, ("Retry-After", "1")))
        except Exception:
            log.exception("authorize failed")
            answer = Answer(500, b"Something went wrong on our side.", (TEXT,))
        await self._send(send, scope, answer)

    async def _authorize_post(self, headers: dict[str, str], body: bytes) -> Answer:
        found = parse(body)
        parse_form(headers.get("content-type", ""), b"")
        if found.repeated or len(body) > GET_MAXIMUM:
            raise PageError("invalid_request", "The app sent a request that cannot be used.")
        return see_other("/authorize?" + urlencode(found.values))

    async def _authorize_get(self, scope: Scope) -> Answer:
        if len(scope["query_string"]) > GET_MAXIMUM:
            raise TooLarge
        parameters = parse(scope["query_string"])
        jar = cookies_of(scope)
        secret = cookies.session_secret(jar, self.settings)
        reference = pushed.reference_of(parameters.values)
        governed: frozenset[str] | None = None

        def decide(row: Row | None) -> Decision:
            return self._decide_authorize(parameters, reference, jar, governed, row)

        while True:
            try:
                return await self.shell.decide(
                    FOR_AUTHORIZE,
                    {
                        "client_id": parameters.values.get("client_id", ""),
                        "secret_hash": ids.digest(secret) if secret else "",
                        "now": self.provider.work.clock.now(),
                        "pending_id": reference or "",
                    },
                    decide,
                )
            except _NeedsPermissions:
                governed = await self.shell.hop(self._permission_scopes)

    def _decide_authorize(
        self,
        parameters: Parameters,
        reference: str | None,
        jar: dict[str, str],
        governed: frozenset[str] | None,
        row: Row | None,
    ) -> Decision:
        provider, now = self.provider, self.provider.work.clock.now()
        facts = authorize_facts(row)
        browser_hash = cookies.browser_hash(jar, self.settings)
        values, repeated = parameters.values, parameters.repeated
        if reference is not None:
            opened = (
                pushed.open_parameters(
                    facts.pending, browser_hash=browser_hash, vault=provider.vault, now=now
                )
                if facts.pending is not None
                and facts.client is not None
                and facts.pending.client_id == facts.client.id
                else None
            )
            if opened is None:
                raise PageError(
                    "request_expired",
                    "This sign-in was begun too long ago, was finished already, or belongs to "
                    "another browser. Please go back to the app and start again.",
                )
            values, repeated = opened, frozenset()
        try:
            requested = authorize.validate(values, repeated, facts.client, provider)
            moment = authorize.moment(
                requested,
                facts if reference else _fresh(facts),
                provider.assurance.current(),
                now,
            )
            if moment.is_denied:
                raise authorize.refused(moment)
            step = authorize.next_step(moment)
            if step is not None and ("none" in requested.prompt or step.page == "none"):
                error = step.error("The person must be asked first.")
                error.redirect_uri = requested.redirect_uri
                raise error
            if step is not None:
                return self._to_page(step.page, values, requested, reference, jar)
            if governed is None:
                if authorize.is_governed(requested.scope):
                    raise _NeedsPermissions
                governed = frozenset()
            issued = authorize.issue(moment, permission_scopes=governed, provider=provider)
        except OAuth2Error as error:
            if error.redirect_uri is None:
                raise
            location = authorize.error_location(
                error, state=_echoed(values.get("state")), issuer=self.settings.issuer
            )
            spent = [pushed.use(reference, now)] if reference else []
            return Decision(see_other(location), spent)
        writes = issued.writes + ([pushed.use(reference, now)] if reference else [])
        headers: list[tuple[str, str]] = []
        if facts.session is not None:
            presented = ids.digest(cookies.session_secret(jar, self.settings) or "")
            writes += hot.confirming(facts.session, presented, now)
            rotated = hot.rotating(facts.session, presented, now)
            if rotated is not None:
                secret, write = rotated
                writes.append(write)
                headers.append(("Set-Cookie", cookies.session_header(self.settings, secret)))
        return Decision(see_other(issued.location, headers), writes)

    def _to_page(
        self,
        page: str,
        values: dict[str, str],
        requested: authorize.Requested,
        reference: str | None,
        jar: dict[str, str],
    ) -> Decision:
        if reference is not None:
            return Decision(see_other(f"/{page}?request={reference}"))
        if not pushed.has_room(self.provider.store):
            raise Unavailable("too many sign-ins are waiting", retry_after=60)
        browser = cookies.browser_secret(jar, self.settings)
        headers: list[tuple[str, str]] = []
        if browser is None:
            browser = ids.new_secret()
            headers.append(("Set-Cookie", cookies.browser_header(self.settings, browser)))
        # The consent page must name what will be given, also when the app left `scope` out.
        new_reference, write = pushed.push(
            {**values, "scope": requested.scope},
            requested.client.id,
            browser_hash=ids.digest(browser),
            provider=self.provider,
            now=self.provider.work.clock.now(),
        )
        return Decision(see_other(f"/{page}?request={new_reference}", headers), [write])

    def _permission_scopes(self) -> frozenset[str]:
        """The scopes that only roles give; those of the management API even if no role does."""
        with self.provider.work.read() as unit:
            rows = unit.orm.scalars(select(Role.permissions)).all()
        return management.ALL.union(*rows)

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
        return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))

    def _registered_origins(self) -> frozenset[str]:
        with self.provider.work.read() as unit:
            return clients.origins(unit)

    async def _send(
        self, send: Send, scope: Scope, answer: Answer, extra: tuple[tuple[str, str], ...] = ()
    ) -> None:
        await send_answer(send, scope, answer, extra, is_secure=self.settings.is_secure)


def _fresh(facts: AuthorizeFacts) -> AuthorizeFacts:
    """The facts of a request that carries its parameters itself: nothing was done for it yet."""
    return replace(facts, pending=None)


def _echoed(state: str | None) -> str | None:
    """`state` as it may be given back: byte for byte, unless it could not be a state at all."""
    return state if state is None or len(state) <= authorize.STATE_MAXIMUM else None

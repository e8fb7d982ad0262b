"""The authorization endpoint as plain ASGI: GET /authorize, or a POST which becomes a GET.

Owns the way from a decision to a page, or back to the app. What is decided stands in
`idp.oauth.authorize`.
Specs: RFC 6749 section 4.1.1.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import OAuth2Error
from starlette.types import Receive, Scope, Send

from idp import ids
from idp.errors import Refused, Unavailable
from idp.oauth import authorize, pushed
from idp.oauth.authorization_request import STATE_MAXIMUM, PageError, Requested, validate
from idp.oauth.facts import FOR_AUTHORIZE, AuthorizeFacts, authorize_facts
from idp.oauth.provider import Answer, Decision, Provider
from idp.oauth.request import Parameters, parse, parse_form
from idp.sessions import admission, hot, movement
from idp.sessions.device import Visit
from idp.storage.database import Row
from idp.storage.unit_of_work import UnitOfWork
from idp.users import roles
from idp.web import cookies
from idp.web.address import networks
from idp.web.decisions import Shell
from idp.web.wire import (
    TEXT,
    TooLarge,
    cookies_of,
    headers_of,
    method_not_allowed,
    read_body,
    see_other,
    send_answer,
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


class AuthorizationEndpoint:
    """The ASGI callable. `error_page` draws the page for what must not be redirected."""

    def __init__(self, provider: Provider, shell: Shell, *, error_page: ErrorPage) -> None:
        self.provider = provider
        self.shell = shell
        self.settings = provider.settings
        self._error_page = error_page
        self._trusted_proxies = networks(provider.settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "POST"):
            answer = method_not_allowed("GET, POST")
            await send_answer(send, scope, answer, is_secure=self.settings.is_secure)
            return
        try:
            if scope["method"] == "POST":
                answer = await self._post(headers_of(scope), await read_body(receive))
            else:
                answer = await self._get(scope)
        except TooLarge:
            answer = self._error_page(PageError("too_large", "The request is too large."), {})
        except PageError as error:
            if error.detail is not None:
                log.info("authorize refused: %s", error.detail)
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
        await send_answer(send, scope, answer, is_secure=self.settings.is_secure)

    async def _post(self, headers: dict[str, str], body: bytes) -> Answer:
        found = parse(body)
        parse_form(headers.get("content-type", ""), b"")
        if found.repeated or len(body) > GET_MAXIMUM:
            raise PageError("invalid_request", "The app sent a request that cannot be used.")
        return see_other("/authorize?" + urlencode(found.values))

    async def _get(self, scope: Scope) -> Answer:
        if len(scope["query_string"]) > GET_MAXIMUM:
            raise TooLarge
        parameters = parse(scope["query_string"])
        jar = cookies_of(scope)
        secret = cookies.session_secret(jar, self.settings)
        reference = pushed.reference_of(parameters.values)
        governed: frozenset[str] | None = None
        seen = visit_of(scope, self._trusted_proxies, self.provider.atlas.of)
        visit = replace(seen, device_hash=cookies.browser_hash(jar, self.settings))

        def decide(row: Row | None) -> Decision:
            return self._decide(parameters, reference, jar, visit, governed, row)

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

    def _decide(
        self,
        parameters: Parameters,
        reference: str | None,
        jar: dict[str, str],
        visit: Visit,
        governed: frozenset[str] | None,
        row: Row | None,
    ) -> Decision:
        provider, now = self.provider, self.provider.work.clock.now()
        facts = authorize_facts(row)
        values, repeated = parameters.values, parameters.repeated
        if reference is not None:
            opened = (
                pushed.open_parameters(
                    facts.pending, browser_hash=visit.device_hash, vault=provider.vault, now=now
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
        consequence: Callable[[UnitOfWork], None] | None = None
        try:
            requested = validate(values, repeated, facts.client, provider)
            book = provider.rules.current()
            found = authorize.judged(requested, facts, visit, book, now)
            if found is not None and facts.session is not None:
                consequence = movement.consequence(facts.session.id, found, visit)
            moment = authorize.moment(
                requested, facts if reference else _fresh(facts), book, found, now
            )
            if moment.is_denied:
                raise authorize.refused(moment)
            step = authorize.next_step(moment)
            if step is not None and ("none" in requested.prompt or step.page == "none"):
                error = step.error("The person must be asked first.")
                error.redirect_uri = requested.redirect_uri
                raise error
            if step is not None and step.page == "barred":
                raise PageError(step.reason, admission.NOT_FROM_HERE)
            if step is not None:
                decision = self._to_page(step.page, values, requested, reference, jar)
                return replace(decision, consequence=consequence)
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
            return Decision(see_other(location), spent, consequence)
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
        return Decision(see_other(issued.location, headers), writes, consequence)

    def _to_page(
        self,
        page: str,
        values: dict[str, str],
        requested: Requested,
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
        with self.provider.work.read() as unit:
            return roles.governed(unit)


def _fresh(facts: AuthorizeFacts) -> AuthorizeFacts:
    """The facts of a request that carries its parameters itself: nothing was done for it yet."""
    return replace(facts, pending=None)


def _echoed(state: str | None) -> str | None:
    """`state` as it may be given back: byte for byte, unless it could not be a state at all."""
    return state if state is None or len(state) <= STATE_MAXIMUM else None

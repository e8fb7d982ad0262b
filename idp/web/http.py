"""How a page request becomes a call of a plain function, and its answer a response.

Owns the edge: what a request may look like (size, media type, no parameter twice), who it came from,
one hop into a bounded thread pool, and what becomes of a refusal or a bug. Everything behind the
edge is synchronous. Does not know any page.

A handler takes the context and a `PageRequest`, does its work in units of its own, and returns a
response after the last one has committed. For methods that change something the guard of the route
runs first, so that a new page cannot forget it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from idp import ids
from idp.errors import Refused
from idp.oauth.provider import Provider
from idp.sessions.device import Visit
from idp.sessions.device import visit as visit_of
from idp.settings import Settings
from idp.storage.unit_of_work import Work
from idp.users.passwords import PasswordHasher
from idp.web import cookies, csrf
from idp.web.address import Network, client_address, networks
from idp.web.language import choose
from idp.web.live import Live
from idp.web.render import Renderer

LARGEST_BODY = 64 * 1024
# Requests that may wait for a thread before the next ones are turned away.
MOST_WAITING = 48
BUSY = "The service is busy. Nothing was changed; please try again in a moment.\n"
MOST_FIELDS = 2_000
FORM = "application/x-www-form-urlencoded"
_READING = ("GET", "HEAD")

_log = logging.getLogger("idp.web")


@dataclass(frozen=True, slots=True)
class WebContext:
    """The parts every page needs; one per process, wired in `idp.app`."""

    provider: Provider
    hasher: PasswordHasher
    renderer: Renderer
    trusted_proxies: tuple[Network, ...]
    # Threads for pages, of strangers and of everybody else: a flood of sign-ins keeps nobody from the
    # pages of people who are signed in. One for each password that may be waiting, and some.
    entrance: anyio.CapacityLimiter
    limiter: anyio.CapacityLimiter
    live: Live

    @property
    def work(self) -> Work:
        return self.provider.work

    @property
    def settings(self) -> Settings:
        return self.provider.work.settings


def web_context(provider: Provider, hasher: PasswordHasher) -> WebContext:
    """The context of this deployment's pages; reads templates and static files into memory."""
    settings = provider.work.settings
    return WebContext(
        provider=provider,
        hasher=hasher,
        renderer=Renderer(settings, provider.work.clock),
        trusted_proxies=networks(settings.trusted_proxies),
        entrance=anyio.CapacityLimiter(2 * settings.password.queue + 8),
        limiter=anyio.CapacityLimiter(16),
        live=Live(provider.work, provider.store),
    )


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request whose form is known to be good."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    # Lower-case names.
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, str]
    visit: Visit
    # The browser cookie's secret; a new one where none came, and the response sets it.
    browser: str
    browser_is_new: bool
    session_secret: str | None
    # The cookie by which the browser stays signed in; "" for one that cannot be ours.
    remembered: str | None
    language: str
    # Light or dark, if the session has chosen; else the browser's.
    theme: str | None = None

    @property
    def browser_hash(self) -> str:
        return ids.digest(self.browser)


Handler = Callable[[WebContext, PageRequest], Response]
Guard = Callable[[WebContext, PageRequest], None]
Refusal = Callable[[WebContext, PageRequest, Refused], Response]


@dataclass(frozen=True, slots=True)
class Kind:
    """What routes of one sort share: the media type of bodies, the guard, the look of refusals."""

    media_type: str
    guard: Guard
    refuse: Refusal
    # Whether anybody may ask for it, signed in or not.
    is_public: bool = False


def route(context: WebContext, path: str, kind: Kind, handlers: Mapping[str, Handler]) -> Route:
    """A route for one path; `handlers` by method. Other methods get 405 with `Allow`."""

    limiter = context.entrance if kind.is_public else context.limiter

    async def endpoint(request: Request) -> Response:
        if limiter.statistics().tasks_waiting >= MOST_WAITING:
            # Said at once and cheaply: who waits longer than this has gone away (DS-01).
            return PlainTextResponse(BUSY, 503, headers={"Retry-After": "2"})
        body, problem = await _body(request, kind.media_type)
        return await anyio.to_thread.run_sync(
            _answer, context, kind, handlers, request, body, problem, limiter=limiter
        )

    return Route(path, endpoint, methods=list(handlers), include_in_schema=False)


def guard_browser(context: WebContext, request: PageRequest) -> None:
    """The guard of pages that need nobody signed in."""
    csrf.require_same_origin(request.headers, context.settings)
    csrf.require_browser(context.work.vault, request.form, request.browser)


def page_request(context: WebContext, request: Request) -> PageRequest:
    """The facts of a request without body and query: what a page needs to be shown at all."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}; {value}" if name in headers else value
    jar = cookies.jar(headers.get("cookie", ""))
    sent = cookies.browser_secret(jar, context.settings)
    trusted = cookies.trust_secret(jar, context.settings)
    address = client_address(
        request.client.host if request.client is not None else None,
        request.headers.getlist("x-forwarded-for"),
        context.trusted_proxies,
    )
    return PageRequest(
        method=request.method,
        path=request.scope["path"],
        params=request.path_params,
        query={},
        headers=headers,
        body=b"",
        form={},
        visit=visit_of(
            headers,
            ip=address,
            device_hash=ids.digest(sent) if sent else None,
            trust_hash=ids.digest(trusted) if trusted else None,
            locate=context.provider.atlas.of,
        ),
        browser=sent or ids.new_secret(),
        browser_is_new=sent is None,
        session_secret=cookies.session_secret(jar, context.settings),
        remembered=cookies.remembered(jar, context.settings),
        language=choose(headers.get("accept-language")),
    )


def _answer(
    context: WebContext,
    kind: Kind,
    handlers: Mapping[str, Handler],
    raw: Request,
    body: bytes,
    problem: Refused | None,
) -> Response:
    request = page_request(context, raw)
    if any("\x00" in text for text in request.params.values()):
        problem = Refused("not_found", "There is nothing at this address.", 404)
    if problem is not None:
        return kind.refuse(context, request, problem)
    try:
        query = fields(raw.scope["query_string"])
        form = fields(body) if kind.media_type == FORM else {}
        wished = choose(query.get("ui_locales"), request.headers.get("accept-language"))
        request = replace(request, body=body, query=query, form=form, language=wished)
        if request.method not in _READING:
            kind.guard(context, request)
        method = "GET" if request.method == "HEAD" else request.method
        response = handlers[method](context, request)
    except Refused as refused:
        response = refusal(context, kind, request, refused)
    except Exception:
        _log.exception("%s %r failed", request.method, request.path)
        response = kind.refuse(context, request, unexpected())
    if request.browser_is_new and kind.media_type == FORM:
        cookies.keep_browser(response, context.settings, request.browser)
    return response


def refusal(context: WebContext, kind: Kind, request: PageRequest, refused: Refused) -> Response:
    """What becomes of a refusal: what only we may know goes to the log, the rest is answered."""
    if refused.detail is not None:
        _log.info("%s %r refused: %s", request.method, request.path, refused.detail)
    return kind.refuse(context, request, refused)


def unexpected() -> Refused:
    """What people are told of a bug: nothing but that it is ours."""
    return Refused(
        "server_error", "Something went wrong on our side. Please try again in a moment.", 500
    )


def fields(encoded: bytes) -> dict[str, str]:
    """The fields of a form or query; raises `Refused` for twice the same, or what is not text."""
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError as error:
        raise _malformed(f"form: {error.__class__.__name__}") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("a field came twice")
    if any("\x00" in text for pair in pairs for text in pair):
        raise _malformed("a NUL character")
    return found


async def _body(request: Request, media_type: str) -> tuple[bytes, Refused | None]:
    if request.method in _READING:
        return b"", None
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > LARGEST_BODY:
                return b"", Refused("too_large", "That is more than we take in one request.", 413)
            chunks.append(chunk)
    except ClientDisconnect:
        return b"", _malformed("the client went away")
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if size and sent != media_type:
        return b"", Refused(
            "unsupported_media_type",
            f"The body of this request must be {media_type}.",
            415,
            detail=f"Content-Type: {sent[:80]}",
        )
    return b"".join(chunks), None


def _malformed(detail: str) -> Refused:
    return Refused("malformed_request", "This request cannot be understood.", 400, detail=detail)

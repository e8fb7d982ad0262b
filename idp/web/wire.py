"""The protocol side on the wire: reading an ASGI request, writing an `Answer`.

Owns limits on bodies and the headers every answer of the protocol side carries.
"""

import contextlib
import logging
from collections.abc import Iterable

import anyio
from authlib.oauth2.rfc6749 import InvalidRequestError
from starlette.types import Receive, Scope, Send

from idp.errors import Refused
from idp.oauth.provider import Answer, json_answer
from idp.oauth.request import BODY_MAXIMUM
from idp.sessions.device import Locate, Visit, visit
from idp.web.address import Network, client_address

log = logging.getLogger(__name__)

SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
TEXT = ("Content-Type", "text/plain; charset=utf-8")


class TooLarge(Exception):  # noqa: N818
    """A body over the limit."""


async def send_answer(
    send: Send,
    scope: Scope,
    answer: Answer,
    extra: tuple[tuple[str, str], ...] = (),
    *,
    is_secure: bool,
) -> None:
    """Writes an answer; `extra` headers are of the request's origin."""
    body = b"" if scope["method"] == "HEAD" else answer.body
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (*answer.headers, *extra)
    ]
    names = {name for name, _ in headers}
    headers += [pair for pair in SECURITY if pair[0] not in names]
    if is_secure:
        headers.append(_STRICT_TRANSPORT)
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Ends what is sent to somebody when they have gone away."""
    with contextlib.suppress(RuntimeError):
        while (await receive())["type"] != "http.disconnect":
            pass
    scope.cancel()


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name; of two with one name both count (RFC 9110 section 5.3).

    So two `Authorization` headers are none, whichever of them somebody before us has looked at.
    """
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    found = dict(pairs)
    if len(found) < len(pairs):
        # Joined at once: one header a thousand times must not cost a thousand copies.
        together: dict[str, list[str]] = {}
        for name, value in pairs:
            together.setdefault(name, []).append(value)
        found = {name: ", ".join(values) for name, values in together.items()}
    return found


def cookies_of(scope: Scope) -> dict[str, str]:
    """The request's cookies; of two with one name the first counts (the longest path)."""
    jar: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, content = part.strip().partition("=")
                jar.setdefault(key, content)
    return jar


def visit_of(scope: Scope, trusted: tuple[Network, ...], locate: Locate) -> Visit:
    """Where a request came from, and what its client says of itself."""
    peer = scope.get("client")
    forwarded = [
        value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
    ]
    address = client_address(peer[0] if peer else None, forwarded, trusted)
    return visit(headers_of(scope), ip=address, locate=locate)


async def read_body(receive: Receive) -> bytes:
    """The body; raises `TooLarge`, and `InvalidRequestError` when it broke off."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequestError("The request broke off.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > BODY_MAXIMUM:
            raise TooLarge
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def preflight(allowed: tuple[tuple[str, str], ...]) -> Answer:
    """What a preflight says besides `allowed`, which every answer to this origin carries."""
    if not any(name == "Access-Control-Allow-Origin" for name, _ in allowed):
        return Answer(204)
    return Answer(
        204,
        b"",
        (
            ("Access-Control-Allow-Methods", "POST"),
            ("Access-Control-Allow-Headers", "authorization, content-type, dpop"),
            ("Access-Control-Max-Age", "300"),
        ),
    )


def see_other(location: str, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """303, never 307: a form that was posted to us must not be posted on (RFC 9700 section 2.1)."""
    return Answer(303, b"", (("Location", location), ("Cache-Control", "no-store"), *headers))


def method_not_allowed(allowed: str) -> Answer:
    """405 with the methods that are."""
    return json_answer(405, {"error": "invalid_request"}, (("Allow", allowed),))


def unavailable(refused: Refused) -> Answer:
    """A refusal of ours as a protocol error."""
    log.warning("refused: %s %s", refused.code, refused.detail)
    is_later = refused.status in (429, 503)
    retry = (("Retry-After", str(refused.retry_after or 1)),) if is_later else ()
    return json_answer(refused.status, {"error": refused.code}, retry)

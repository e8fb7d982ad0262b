"""The headers that every answer carries: what browsers may do with it.

Owns the content security policy and its companions, added by a plain ASGI layer around the whole
app, so that no page can forget them; a header that an answer sets itself is left alone. Does not
know pages. Specs: CSP Level 3, Fetch Metadata, RFC 6797 (HSTS), User-Agent Client Hints.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idp.sessions.device import ACCEPT_CH
from idp.settings import Settings

_SOURCE = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]{1,5})?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_NEVER = frozenset({"javascript", "data", "blob", "about", "vbscript", "file"})
_BARE_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

Pair = tuple[bytes, bytes]


def policy(form_actions: Iterable[str] = ()) -> str:
    """The content security policy of a page.

    `form_actions` are addresses a form of the page may lead to besides ours. Chromium applies
    `form-action` to every redirect that answers a form, so the page that signs a person in must
    name the origins of the app they go on to.
    """
    others = dict.fromkeys(source for uri in form_actions if (source := source_of(uri)))
    sources = " ".join(["'self'", *others])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; "
        f"form-action {sources}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def permissions(*, camera: bool = False) -> str:
    """What a page may ask a device for; the camera only where a code is scanned."""
    return (
        f"camera=({'self' if camera else ''}), microphone=(), geolocation=(), payment=(), usb=(), "
        "browsing-topics=(), publickey-credentials-get=(self), publickey-credentials-create=(self)"
    )


def source_of(uri: str) -> str | None:
    """The CSP source for an address: its origin, or its scheme where an origin cannot be written.

    That is so for apps with a scheme of their own (RFC 8252 section 7.1) and for IPv6 literals,
    which the grammar of sources does not know. None when nothing safe can be said.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if not _SCHEME.fullmatch(scheme) or scheme in _NEVER:
        return None
    if scheme not in ("http", "https") or ":" in host:
        return f"{scheme}:"
    source = f"{scheme}://{host}" + (f":{port}" if port is not None else "")
    return source if _SOURCE.fullmatch(source) else None


def of_anything(settings: Settings) -> dict[str, str]:
    """The headers of every answer. Caching is off unless said otherwise: forgetting is harmless."""
    headers = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
    if settings.is_secure:
        headers["strict-transport-security"] = "max-age=63072000; includeSubDomains"
    return headers


def of_pages(settings: Settings) -> dict[str, str]:
    """The headers of every page."""
    return of_anything(settings) | {
        "content-security-policy": policy(),
        "cross-origin-opener-policy": "same-origin",
        "x-frame-options": "DENY",
        "permissions-policy": permissions(),
        "accept-ch": ACCEPT_CH,
    }


class PageHeaders:
    """The ASGI layer that completes answers."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._pages = _pairs(of_pages(settings))
        self._others = _pairs(of_anything(settings) | {"content-security-policy": _BARE_POLICY})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(message)
            await send(message)

        await self._app(scope, receive, completed)

    def _complete(self, message: Message) -> None:
        headers: list[Pair] = list(message.get("headers", ()))
        present = {name.lower(): value for name, value in headers}
        is_page = present.get(b"content-type", b"").startswith(b"text/html")
        headers.extend(
            pair for pair in (self._pages if is_page else self._others) if pair[0] not in present
        )
        message["headers"] = headers


def _pairs(headers: dict[str, str]) -> list[Pair]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]

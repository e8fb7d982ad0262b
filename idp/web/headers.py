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


class PageHeaders:
    """The ASGI layer. Unknown or unset caching is `no-store`: forgetting it must be harmless."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        always = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        if settings.is_secure:
            always["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
        self._others = _pairs({**always, "Content-Security-Policy": _BARE_POLICY})
        self._pages = _pairs(
            {
                **always,
                "Content-Security-Policy": policy(),
                "Cross-Origin-Opener-Policy": "same-origin",
                "X-Frame-Options": "DENY",
                "Permissions-Policy": (
                    "camera=(), microphone=(), geolocation=(), payment=(), usb=(), "
                    "browsing-topics=(), publickey-credentials-get=(self), "
                    "publickey-credentials-create=(self)"
                ),
                "Accept-CH": ACCEPT_CH,
            }
        )

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
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]

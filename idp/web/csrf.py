"""Forms that only our own pages can send (row B7).

Two checks, both for every state-changing request of a page. The token: a MAC over who the form was
made for, in the hidden field `csrf`. The browser's word: `Sec-Fetch-Site` (Fetch Metadata), else
`Origin`. Either alone would do in most browsers; together a gap in one is not a hole.

Before sign-in a token is bound to the browser cookie, so that nobody can sign a victim in to an
account of the attacker's. After it, to the session and its last authentication: it changes at
sign-in and at re-authentication, and another session's is refused. It is not bound to the session's
secret, which changes by time alone: a page that was open for twenty minutes must still work.
"""

import base64
from collections.abc import Mapping

from idp.errors import Refused
from idp.sessions.model import Session
from idp.settings import Settings
from idp.storage.vault import Vault

FIELD = "csrf"
_PURPOSE = "csrf"


def for_browser(vault: Vault, browser_secret: str) -> str:
    """The token for a form shown to a browser in which nobody need be signed in."""
    return _encoded(vault.mac(_browser(browser_secret), _PURPOSE))


def for_session(vault: Vault, session: Session) -> str:
    """The token for a form shown to the person of this session."""
    return _encoded(vault.mac(_session(session), _PURPOSE))


def require_browser(vault: Vault, form: Mapping[str, str], browser_secret: str) -> None:
    """Raises `Refused` unless the form carries a token made for this browser."""
    _require(vault, form, _browser(browser_secret))


def require_session(vault: Vault, form: Mapping[str, str], session: Session) -> None:
    """Raises `Refused` unless the form carries a token made for this session."""
    _require(vault, form, _session(session))


def require_same_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """Raises `Refused` when the browser says that another site sent the form.

    `none` is a request the person made themselves (a reload after a restart). Our pages send no
    referrer, which makes `Origin` "null" on their own forms: that says nothing either way.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise _refusal(f"Sec-Fetch-Site: {site[:40]}")
        return
    origin = headers.get("origin", "null")
    if origin not in ("null", settings.issuer):
        raise _refusal(f"Origin: {origin[:200]}")


def _require(vault: Vault, form: Mapping[str, str], message: bytes) -> None:
    try:
        tag = base64.b64decode(form.get(FIELD, "") + "=", altchars=b"-_", validate=True)
    except ValueError:
        tag = b""
    if not vault.verify_mac(message, _PURPOSE, tag):
        raise _refusal("token missing or made for another browser or session")


def _browser(secret: str) -> bytes:
    return b"browser:" + secret.encode()


def _session(session: Session) -> bytes:
    return f"session:{session.id}:{session.auth_time}".encode()


def _encoded(tag: bytes) -> str:
    return base64.urlsafe_b64encode(tag).rstrip(b"=").decode()


def _refusal(detail: str) -> Refused:
    return Refused(
        "form_expired",
        "This page is no longer current, so nothing was changed. "
        "Please go back, reload it and try again.",
        403,
        detail=detail,
    )

"""Forms that only our own pages can send (row B7).

Two checks, both for every state-changing request of a page. The token: a MAC over who the form was
made for, in the hidden field `csrf`. The browser's word: `Sec-Fetch-Site` (Fetch Metadata), else
`Origin`. Either alone would do in most browsers; together a gap in one is not a hole.

Before sign-in a token is bound to the browser cookie, so that nobody can sign a victim in to an
account of the attacker's. After it, to the session and its last authentication: it changes at
sign-in and at re-authentication, and another session's is refused. It is not bound to the session's
secret, which changes by time alone: a page that was open for twenty minutes must still work.

A session's token also says, beside its MAC, which session it was made for (`made_for`): so the person
whose form comes too late, or from another tab's sign-in, can be told what happened. That is all it
is good for then.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from idp.clock import Instant
from idp.errors import Refused
from idp.sessions.model import Session
from idp.settings import Settings
from idp.storage.vault import Vault

FIELD = "csrf"
_PURPOSE = "csrf"
_OF_SESSION = re.compile(r"(ses_[0-9a-f]{32})\.([0-9]{1,18})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What an authentic token was made for: a session, as it was last authenticated."""

    session_id: str
    auth_time: Instant


def for_browser(vault: Vault, browser_secret: str) -> str:
    """The token for a form shown to a browser in which nobody need be signed in."""
    return _encoded(vault.mac(_browser(browser_secret), _PURPOSE))


def for_session(vault: Vault, session: Session) -> str:
    """The token for a form shown to the person of this session."""
    made = MadeFor(session.id, session.auth_time)
    return f"{made.session_id}.{made.auth_time}.{_encoded(vault.mac(_session(made), _PURPOSE))}"


def require_browser(vault: Vault, form: Mapping[str, str], browser_secret: str) -> None:
    """Raises `Refused` unless the form carries a token made for this browser."""
    if not vault.verify_mac(_browser(browser_secret), _PURPOSE, _decoded(form.get(FIELD, ""))):
        raise refusal()


def require_session(vault: Vault, form: Mapping[str, str], session: Session) -> None:
    """Raises `Refused` unless the form carries a token made for this session."""
    if not is_for(made_for(vault, form), session):
        raise refusal()


def made_for(vault: Vault, form: Mapping[str, str]) -> MadeFor | None:
    """The session that the form's token was made for; None when it is none of ours."""
    parts = _OF_SESSION.fullmatch(form.get(FIELD, ""))
    if parts is None:
        return None
    made = MadeFor(parts[1], int(parts[2]))
    return made if vault.verify_mac(_session(made), _PURPOSE, _decoded(parts[3])) else None


def is_for(made: MadeFor | None, session: Session) -> bool:
    """Whether a token was made for this session since its last authentication."""
    return made == MadeFor(session.id, session.auth_time)


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


def _browser(secret: str) -> bytes:
    return b"browser:" + secret.encode()


def _session(made: MadeFor) -> bytes:
    return f"session:{made.session_id}:{made.auth_time}".encode()


def _encoded(tag: bytes) -> str:
    return base64.urlsafe_b64encode(tag).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except ValueError:
        return b""


def refusal() -> Refused:
    """The answer to a form without a token of ours, or with a stranger's."""
    return _refusal("token missing or made for another browser or session")


def _refusal(detail: str) -> Refused:
    return Refused(
        "form_expired",
        "This page is no longer current, so nothing was changed. "
        "Please go back, reload it and try again.",
        403,
        detail=detail,
    )

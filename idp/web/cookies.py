"""The four cookies of the pages: the session's secret, the browser's own number, its trust, and that it
stays signed in.

Owns their names, attributes and form. All are opaque random values; only their digests are stored.
The browser cookie says "a browser that was here before": it binds a sign-in under way, and the
forms of people who are not signed in yet, to the browser that began them. It proves no identity.
The trust cookie is made when somebody says "trust this device", and spares them a second factor.
The remember cookie is made when somebody says "stay signed in", and begins sessions that prove
nothing; its form is that of `idp.sessions.remember_cookie`.

Over https the names carry `__Host-` (RFC 6265bis section 4.1.3.2), so that neither a sibling
subdomain nor plain http can plant one. Loopback http cannot have that prefix: the plain names are
for trying things out.
"""

import re
from collections.abc import Mapping

from starlette.responses import Response

from idp import ids
from idp.clock import SECOND
from idp.sessions import remember_cookie
from idp.sessions.remember import Keepsake
from idp.settings import Settings

BROWSER_LIFETIME = 365 * 86_400
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def jar(header: str) -> dict[str, str]:
    """The cookies of a `Cookie` header; of two with one name the first counts (the longest path)."""
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found


def session_cookie(settings: Settings) -> str:
    """The name of the cookie that holds the session's secret."""
    return "__Host-idp_session" if settings.is_secure else "idp_session"


def browser_cookie(settings: Settings) -> str:
    """The name of the cookie that holds the browser's number."""
    return "__Host-idp_device" if settings.is_secure else "idp_device"


def session_secret(cookies: Mapping[str, str], settings: Settings) -> str | None:
    """The session secret a browser sent, if it has the form of one."""
    return _well_formed(cookies.get(session_cookie(settings)))


def trust_cookie(settings: Settings) -> str:
    """The name of the cookie of a trusted device."""
    return "__Host-idp_trust" if settings.is_secure else "idp_trust"


def trust_secret(cookies: Mapping[str, str], settings: Settings) -> str | None:
    """The secret of a trusted device, if it has the form of one."""
    return _well_formed(cookies.get(trust_cookie(settings)))


def remember_name(settings: Settings) -> str:
    """The name of the cookie by which a browser stays signed in."""
    return "__Host-idp_remember" if settings.is_secure else "idp_remember"


def remembered(cookies: Mapping[str, str], settings: Settings) -> str | None:
    """The cookie by which a browser stays signed in, if there is one; "" when it cannot be ours."""
    value = cookies.get(remember_name(settings))
    return value if value is None or len(value) == remember_cookie.LENGTH else ""


def browser_secret(cookies: Mapping[str, str], settings: Settings) -> str | None:
    """The browser's number, if it has the form of one."""
    return _well_formed(cookies.get(browser_cookie(settings)))


def browser_hash(cookies: Mapping[str, str], settings: Settings) -> str | None:
    """The digest that stands in the database for this browser; None when it sent no cookie."""
    secret = browser_secret(cookies, settings)
    return ids.digest(secret) if secret is not None else None


def keep_session(response: Response, settings: Settings, secret: str) -> None:
    """Hands the browser a session's secret, until it is closed."""
    response.headers.append("Set-Cookie", session_header(settings, secret))


def forget_session(response: Response, settings: Settings) -> None:
    """Takes the session's secret back from the browser."""
    response.headers.append("Set-Cookie", session_header(settings, None))


def keep_browser(response: Response, settings: Settings, secret: str) -> None:
    """Numbers the browser for a year."""
    response.headers.append("Set-Cookie", browser_header(settings, secret))


def keep_trust(response: Response, settings: Settings, secret: str) -> None:
    """Marks the browser as trusted for as long as the settings say."""
    lasting = settings.assurance.trusted_device_days * 86_400
    header = _header(settings, trust_cookie(settings), secret)
    response.headers.append("Set-Cookie", f"{header}; Max-Age={lasting}")


def keep_remembered(response: Response, settings: Settings, keepsake: Keepsake) -> None:
    """Keeps the browser signed in for as long as its series is good."""
    header = _header(settings, remember_name(settings), keepsake.cookie)
    response.headers.append("Set-Cookie", f"{header}; Max-Age={keepsake.lasts // SECOND}")


def forget_remembered(response: Response, settings: Settings) -> None:
    """Takes that cookie back from the browser."""
    header = _header(settings, remember_name(settings), "")
    response.headers.append("Set-Cookie", f"{header}; Max-Age=0")


def session_header(settings: Settings, secret: str | None) -> str:
    """The value of `Set-Cookie` that hands out a session's secret, or takes it back (None)."""
    lasting = "" if secret is not None else "; Max-Age=0"
    return _header(settings, session_cookie(settings), secret or "") + lasting


def browser_header(settings: Settings, secret: str) -> str:
    """The value of `Set-Cookie` that numbers a browser."""
    return f"{_header(settings, browser_cookie(settings), secret)}; Max-Age={BROWSER_LIFETIME}"


def _header(settings: Settings, name: str, value: str) -> str:
    # Lax, not Strict: the way back from an app to /authorize is a cross-site navigation, and single
    # sign-on would end if it came without the cookie.
    secure = "; Secure" if settings.is_secure else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _well_formed(value: str | None) -> str | None:
    return value if value is not None and _SECRET.fullmatch(value) else None

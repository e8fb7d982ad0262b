"""A form that met the end of its session: kept, and offered again after signing in (row T6).

No way around the token: a form is kept only if it carried one that was made for that very session,
in a browser that had it; it is shown again only to the same person in the same browser, as what it
is; and it is sent again only by their click. What is secret is never kept.

The Store holds it, sealed, one for each session: it may be lost, and then has to be typed again.
"""

import re
from typing import Literal
from urllib.parse import quote, urlencode

import orjson

from idp.clock import MINUTE, Duration
from idp.storage.vault import Unreadable
from idp.web import csrf, elevation
from idp.web.elevation import KEPT_MAXIMUM, STEP_UP, Kept
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import ACCOUNT, local_path
from idp.web.session_over import Over

PATH = "/account/session/form"
LASTS: Duration = 30 * MINUTE
SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")

Does = Literal[
    "rename_session", "end_session", "end_sessions", "end_grant", "revoke_app", "change_email",
    "rename_factor", "remove_factor", "make_codes", "forget_device", "keep_session",
]  # fmt: skip
# Every form that is worth keeping, and what it does; what is not here is typed again.
_DOES: tuple[tuple[re.Pattern[str], Does], ...] = (
    (re.compile(r"/account/sessions/[^/]+/rename"), "rename_session"),
    (re.compile(r"/account/sessions/[^/]+/keep"), "keep_session"),
    (re.compile(r"/account/sessions/[^/]+/end"), "end_session"),
    (re.compile(r"/account/sessions/end"), "end_sessions"),
    (re.compile(r"/account/grants/[^/]+/end"), "end_grant"),
    (re.compile(r"/account/apps"), "revoke_app"),
    (re.compile(r"/account/security/email"), "change_email"),
    (re.compile(r"/account/security/(passkeys|totp)/[^/]+/rename"), "rename_factor"),
    (re.compile(r"/account/security/(passkeys|totp)/[^/]+/remove"), "remove_factor"),
    (re.compile(r"/account/security/codes"), "make_codes"),
    (re.compile(r"/account/security/(devices|remembered)/([^/]+/)?forget"), "forget_device"),
)
_WITH_A_PAGE = re.compile(r"/account/apps|/account/security(/(password|email|not-me))?")
# What a person types into these forms; the rest of their fields are ours.
TYPED = ("name", "email")


def address(context: WebContext, request: PageRequest, over: Over) -> str:
    """Where somebody whose form met the end of `over` goes on after signing in."""
    kept = of_request(request)
    if request.path == STEP_UP:
        # The form that waits for the proof is the one to come back to.
        sealed = request.form.get("kept", "")
        waiting = elevation.opened(context.work.vault, over.session_id, sealed)
        kept = waiting if waiting is not None and offered(waiting) else None
    if kept is None:
        return page_for(request)
    text = orjson.dumps({"path": kept.path, "form": kept.form}).decode()
    place = _place(over.session_id, over.user_id, request.browser_hash)
    sealed = context.work.vault.seal_text(text, place)
    context.provider.store.set(_key(over.session_id), sealed.encode(), LASTS)
    return f"{PATH}?of={over.session_id}"


def find(context: WebContext, request: PageRequest, user_id: str) -> Kept | None:
    """The form that was kept in this browser, for this person, of the session that is named."""
    session_id = request.query.get("of", "")
    if not SESSION_ID.fullmatch(session_id):
        return None
    found = context.provider.store.get(_key(session_id))
    if found is None:
        return None
    place = _place(session_id, user_id, request.browser_hash)
    try:
        values = orjson.loads(context.work.vault.open_text(found.decode(), place))
    except Unreadable:
        return None
    return Kept(values["path"], values["form"])


def offered(kept: Kept) -> Does | None:
    """What the form does, if it may be offered again at all."""
    return next((does for pattern, does in _DOES if pattern.fullmatch(kept.path)), None)


def page_of(kept: Kept) -> str:
    """The page that has such a form, for whoever does not want to send it any more."""
    return _page_of(kept.path)


def page_for(request: PageRequest) -> str:
    """The page that a request asked for, or that has the form that it sent, with its query."""
    if request.method in ("GET", "HEAD"):
        query = urlencode(dict(request.query), quote_via=quote)
        return f"{request.path}?{query}" if query else request.path
    if request.path == STEP_UP:
        return _page_of(local_path(request.form.get("next")))
    return local_path(request.form.get("next"), otherwise=_page_of(request.path))


def of_request(request: PageRequest) -> Kept | None:
    """The form of a request, if it is one that may be offered again and holds no secret."""
    fields = {name: value for name, value in request.form.items() if name != csrf.FIELD}
    kept = Kept(request.path, fields)
    if offered(kept) is None or any(elevation.is_private(name) for name in fields):
        return None
    return kept if sum(map(len, (*fields, *fields.values()))) <= KEPT_MAXIMUM else None


def _page_of(path: str) -> str:
    if _WITH_A_PAGE.fullmatch(path):
        return path
    if path in ("/account/security/passkeys", "/account/security/totp"):
        return f"{path}/new"
    return "/account/security" if path.startswith("/account/security/") else ACCOUNT


def _key(session_id: str) -> str:
    return f"form:{session_id}"


def _place(session_id: str, user_id: str, browser_hash: str) -> str:
    return f"form:{session_id}:{user_id}:{browser_hash}"

"""The request of an app that a page works for: finding it, where its pages may lead, going back.

Chromium applies `form-action` to every redirect that answers a form, to the end of the chain: also
to those of the app, long after we have let go. An app that sends people on to an origin it never
told us about would leave them on our page, signed in and stuck. So a form that a browser sent is
answered with a page that goes on by itself (`back_to_authorize`), which ends the chain; whatever is
no browser gets the plain redirect.
"""

from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from idp.errors import Refused
from idp.oauth import pushed
from idp.oauth.pushed import Pending
from idp.web import errors
from idp.web.http import PageRequest, WebContext
from idp.web.language import choose
from idp.web.local_path import ACCOUNT
from idp.web.onward import lead_on

_ANEW = frozenset({"login", "select_account"})
LONGEST_REFERENCE = 200
MOST_ORIGINS = 12


def find_pending(
    context: WebContext, request: PageRequest, fields: Mapping[str, str]
) -> Pending | None:
    """The living request that `fields` refers to, if this very browser began it."""
    reference = fields.get("request", "")
    if not reference or len(reference) > LONGEST_REFERENCE or request.browser_is_new:
        return None
    return pushed.find(context.work, reference, request.browser_hash)


def speaking(request: PageRequest, pending: Pending) -> PageRequest:
    """The request in the language that the app asked for (`ui_locales`), if we speak it."""
    wished = choose(pending.parameters.get("ui_locales"), request.language)
    return replace(request, language=wished)


def asks_anew(pending: Pending) -> bool:
    """Whether its person must show once more who they are, and not by what was shown before."""
    return not _ANEW.isdisjoint((pending.parameters.get("prompt") or "").split())


def leads_to(pending: Pending) -> tuple[str, ...]:
    """Addresses that a form of this request's pages may end at, for its `form-action`.

    For browsers that get a plain redirect: the request's own redirect URI, and whatever else its app
    has registered.
    """
    client = pending.client
    uris = [
        pending.parameters.get("redirect_uri") or "",
        *client.redirect_uris,
        pending.client_uri or "",
    ]
    return tuple(dict.fromkeys(uri for uri in uris if uri))[:MOST_ORIGINS]


def back_to_authorize(context: WebContext, request: PageRequest, pending: Pending) -> Response:
    """Sends the person back to the endpoint that decides, after a form or instead of one."""
    address = pushed.return_url(pending.id, pending.client.id)
    return lead_on(context, request, address, app=pending.client.name)


def unknown_request(context: WebContext, request: PageRequest) -> Response:
    """The page for a reference that leads nowhere (any more, or in this browser)."""
    return errors.page(
        context,
        Refused(
            "request_expired",
            "You waited too long, already finished it, or opened it in another browser. "
            "Nothing is lost: go back to the app and choose “Sign in” again.",
            400,
        ),
        language=request.language,
        title="This sign-in is no longer open",
        links=[("Go to your account", ACCOUNT)],
    )

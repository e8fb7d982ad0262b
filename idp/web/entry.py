"""What all ways of signing in share: where somebody comes in, and what their browser keeps."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from idp.oauth import pushed
from idp.oauth.pushed import Pending
from idp.policy.deadlines import Ownership
from idp.sessions.sign_in import Entry, SignedIn
from idp.storage.unit_of_work import UnitOfWork
from idp.web import cookies, visitor
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import local_path
from idp.web.pending import back_to_authorize

# The field in which somebody says that others use this device too.
DEVICE = "device"
# Of the checkbox "Stay signed in on this device".
STAY = "stay"


def at(request: PageRequest, pending: Pending | None) -> Entry:
    """Where this request comes in; an app's request learns that somebody proved themselves."""

    def note(unit: UnitOfWork, signed_in: SignedIn) -> None:
        if pending is not None:
            pushed.note_authentication(unit, pending.id, signed_in.session_id)

    return Entry(
        visit=request.visit,
        current=request.session_secret,
        then=note,
        ownership=ownership(request),
        remembered=request.remembered,
        wish="stay" if request.form.get(STAY) == "yes" else "leave",
    )


def ownership(request: PageRequest) -> Ownership:
    """Whose device this is, as whoever signs in says."""
    return "shared" if request.form.get(DEVICE) == "shared" else "own"


def keeping(
    context: WebContext, request: PageRequest, outcome: SignedIn, response: Response
) -> Response:
    """The response with the cookies of somebody who is signed in now."""
    cookies.keep_session(response, context.settings, outcome.secret)
    cookies.keep_browser(response, context.settings, request.browser)
    if outcome.trust is not None:
        cookies.keep_trust(response, context.settings, outcome.trust)
    if outcome.keepsake is not None:
        cookies.keep_remembered(response, context.settings, outcome.keepsake)
    return response


def cancelled(context: WebContext, request: PageRequest, pending: Pending | None) -> Response:
    """Somebody said "Cancel": an app is told so."""
    if pending is None:
        return begin_again(request, None)
    with context.work.begin() as unit:
        pushed.note_denial(unit, pending.id)
    return back_to_authorize(context, request, pending)


def start_again(context: WebContext, request: PageRequest) -> Response:
    """GET of a page that shows nothing without what was proved before it: back to the password."""
    del context
    if "request" not in request.query:
        return RedirectResponse(visitor.SIGN_IN, 303)
    query = urlencode({"request": request.query["request"]})
    return RedirectResponse(f"/login?{query}", 303)


def begin_again(request: PageRequest, pending: Pending | None) -> Response:
    """The way to the first page; what it has to say it finds out by itself."""
    onward = {"request": pending.id} if pending is not None else request.form
    return RedirectResponse(first_page(onward), 303)


def first_page(onward: Mapping[str, str]) -> str:
    """The sign-in page for an app's request (`request`), or for a page of ours (`next`)."""
    if "request" in onward:
        return f"/login?{urlencode({'request': onward['request']})}"
    return f"{visitor.SIGN_IN}?{urlencode({'next': local_path(onward.get('next'))})}"

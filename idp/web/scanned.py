"""Where a scanned code leads: the page that a camera opens, and the button that opens the code.

Owns /qr. A code says nothing of who shows it, and reading its page changes nothing. What a browser
shows that asks to be let in is opened by a session, which answers then; what a session shows is
opened by a browser that wants to go on there, and whoever has the code may be that.
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.languages import said
from idp.sessions import handoff
from idp.sessions.model import Pairing
from idp.sessions.pairing_details import Details
from idp.storage.unit_of_work import UnitOfWork
from idp.users import qr
from idp.web import csrf, device, errors, hold, visitor
from idp.web.http import PageRequest, WebContext, route

PATH = "/qr"
# Where a browser waits that asks to be let in.
WAITING = "/handoff"


def routes(context: WebContext) -> list[Route]:
    """/qr/{code}"""
    return [route(context, f"{PATH}/{{code}}", errors.PUBLIC, {"GET": show, "POST": open_code})]


def drawn(context: WebContext, request: PageRequest, details: Details) -> str:
    """The QR code of a pairing, as it stands in a page."""
    address = f"{context.settings.issuer}{PATH}/{details.qr}"
    return qr.drawn(address, title=said("QR code for your other device", request.language))


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /qr/{code}: what a camera opens. It changes nothing: whoever is there presses a button."""
    kind = _kind(context, request)
    if kind is None:
        return device.unknown_code(context, request)
    if kind == "move":
        return context.renderer.page(
            "move_here.html",
            language=request.language,
            action=request.path,
            typed=None,
            problem=None,
            csrf=csrf.for_browser(context.work.vault, request.browser),
        )
    present = visitor.recognised(context, request)
    if present is None:
        return visitor.to_sign_in(context, request)
    held = hold.answer(context, request, present.session, present.hold)
    if held is not None:
        # Signing in would lead back here: whoever is held is signed in.
        return held
    return context.renderer.page(
        "qr.html",
        language=request.language,
        action=request.path,
        username=present.user.username,
        csrf=csrf.for_browser(context.work.vault, request.browser),
    )


def open_code(context: WebContext, request: PageRequest) -> Response:
    """POST /qr/{code}: the first to open it has it."""
    kind = _kind(context, request)
    if kind is None:
        return device.unknown_code(context, request)
    return _ask_by(context, request) if kind == "move" else _answer_to(context, request)


def taken(unit: UnitOfWork, asked: Pairing, request: PageRequest) -> bool:
    """Whether the browser of a request has a code of kind `move`; see `handoff.take`."""
    return handoff.take(
        unit,
        asked,
        browser_hash=request.browser_hash,
        visit=request.visit,
        current=request.session_secret,
    )


def _kind(context: WebContext, request: PageRequest) -> str | None:
    with context.work.read() as unit:
        asked = handoff.by_code(unit, request.params["code"])
        return asked.kind if asked is not None else None


def _ask_by(context: WebContext, request: PageRequest) -> Response:
    """A browser wants to go on where a session shows this code."""
    with context.work.begin() as unit:
        asked = handoff.by_code(unit, request.params["code"])
        if asked is None or not taken(unit, asked, request):
            return device.unknown_code(context, request)
    return RedirectResponse(f"{WAITING}/{asked.id}", 303)


def _answer_to(context: WebContext, request: PageRequest) -> Response:
    """A session answers the browser that shows this code."""
    present = visitor.recognised(context, request)
    if present is None:
        return visitor.to_sign_in(context, request)
    if present.hold is not None:
        # The form is this browser's, not the session's, so it is not kept: the page is shown anew.
        return RedirectResponse(request.path, 303)
    with context.work.begin() as unit:
        asked = handoff.by_code(unit, request.params["code"])
        if asked is None:
            return device.unknown_code(context, request)
        browser = request.browser_hash
        if not handoff.open_for(unit, asked, present.session, from_browser=browser):
            return device.unknown_code(context, request)
    return RedirectResponse(f"{device.PATH}/{asked.id}", 303)

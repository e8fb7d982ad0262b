"""Moving a session: a signed-in device shows a code, and another browser goes on there.

Owns /account/move, the page that shows the code, for the session that began it, and /move, where the
code is typed on a device that scans nothing. What the person answers once somebody opened the code is
/device (`idp.web.device`); where the other browser waits and comes in is /handoff (`idp.web.handoff`).

Beginning asks for the same fresh proof as answering: whoever passes by shows nobody a code.
"""

from functools import partial

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.clock import SECOND
from idp.errors import Refused
from idp.sessions import handoff, pairing, pairing_details, pairing_stage, user_code
from idp.sessions.model import Pairing
from idp.storage.unit_of_work import UnitOfWork
from idp.web import csrf, device, elevation, errors, scanned, typed_code
from idp.web.handoff import require_room
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT
from idp.web.typed_code import Problem
from idp.web.visitor import Visitor, find, visitor_route

PATH = "/account/move"
TYPED = "/move"


def routes(context: WebContext) -> list[Route]:
    """/account/move and /move"""
    return [
        visitor_route(context, PATH, {"GET": to_sessions, "POST": begin}),
        visitor_route(context, f"{PATH}/{{id}}", {"GET": show, "POST": go_on}),
        route(context, f"{PATH}/{{id}}/stage", errors.OWN, {"GET": tell}),
        route(context, TYPED, errors.PUBLIC, {"GET": ask, "POST": open_code}),
    ]


def begin(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/move: "Move this session"."""
    held = elevation.ask(context, request, visitor.session, "let_in")
    if held is not None:
        return held
    require_room(context, request)
    with context.work.begin() as unit:
        pairing_id = handoff.offer(unit, visitor.session)
    return RedirectResponse(f"{PATH}/{pairing_id}", 303)


def to_sessions(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/move: where a proof leads whose form is lost; the button is on the list."""
    del context, request
    return RedirectResponse(f"{ACCOUNT}#{visitor.session.id}", 303)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/move/{id}: the code; once somebody opened it, the way to answering."""
    with context.work.read() as unit:
        asked = _own(unit, request, visitor)
        details = pairing_details.of(unit, asked)
        stage = pairing_stage.of(asked, unit.now)
        left = max(asked.expires_at - unit.now, 0) // SECOND
    # What became of it once it was opened is told where it is answered.
    if asked.browser_hash is not None or stage not in ("pending", "expired"):
        return RedirectResponse(f"{device.PATH}/{asked.id}", 303)
    return context.renderer.page(
        "move.html",
        language=request.language,
        visitor=visitor,
        asked=asked,
        stage=stage,
        address=f"{context.settings.issuer}{TYPED}".partition("://")[2],
        qr=scanned.drawn(context, request, details) if stage == "pending" else "",
        user_code=details.user_code,
        left=left,
    )


def tell(context: WebContext, request: PageRequest) -> Response:
    """GET /account/move/{id}/stage: for the page's script, which looks again when it changes.

    A script asks, so it is no activity.
    """
    visitor = find(context, request)
    if visitor is None:
        raise _unknown()
    with context.work.read() as unit:
        asked = _own(unit, request, visitor)
        return JSONResponse({"stage": pairing_stage.of(asked, unit.now)})


def go_on(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/move/{id}: `action` is renew; whatever else takes the code back."""
    with context.work.begin() as unit:
        asked = _own(unit, request, visitor)
        if request.form.get("action") == "renew":
            handoff.renew(unit, asked)
        else:
            pairing.deny(unit, asked, visitor.session, reason="withdrawn")
            return RedirectResponse(ACCOUNT, 303)
    return RedirectResponse(f"{PATH}/{asked.id}", 303)


def ask(context: WebContext, request: PageRequest) -> Response:
    """GET /move: for a device without a camera; its person is nobody yet."""
    typed = typed_code.sent(request)
    return _code_page(context, request, user_code.canonical(typed) or typed, None)


def open_code(context: WebContext, request: PageRequest) -> Response:
    """POST /move: the first browser to open a code has it."""
    outcome = typed_code.opened(
        context,
        request,
        user_id=None,
        kinds=("move",),
        tie=partial(scanned.taken, request=request),
    )
    if isinstance(outcome, Problem):
        return _code_page(context, request, typed_code.sent(request), outcome)
    return RedirectResponse(f"{scanned.WAITING}/{outcome}", 303)


def _own(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> Pairing:
    """The pairing of the address, if this very session shows its code; anybody else's is unknown."""
    asked = pairing.of_approver(unit, request.params["id"], visitor.session)
    if asked is None or asked.kind != "move":
        raise _unknown()
    return asked


def _unknown() -> Refused:
    return Refused("code_not_found", pairing.NOT_THIS_CODE, 404)


def _code_page(
    context: WebContext, request: PageRequest, typed: str, problem: Problem | None
) -> Response:
    response = context.renderer.page(
        "move_here.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        action=TYPED,
        typed=typed,
        problem=problem,
        csrf=csrf.for_browser(context.work.vault, request.browser),
    )
    return typed_code.with_problem(response, problem)

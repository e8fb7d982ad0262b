"""The page after signing out: what ended, and which apps know."""

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.web import errors, receipts, visitor
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import ACCOUNT
from idp.web.receipts import Outcome

PATH = visitor.SIGNED_OUT
LONGEST_TICKET = 1_000


def routes(context: WebContext) -> list[Route]:
    """/signed-out, and the part of it that is asked for again until it is settled."""
    return [
        route(context, PATH, errors.PUBLIC, {"GET": show}),
        route(context, f"{PATH}/receipts", errors.PUBLIC, {"GET": show_receipts}),
    ]


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /signed-out?done=…; for somebody who is signed in it would not be true."""
    outcome = _outcome(context, request)
    if outcome is None and visitor.find(context, request) is not None:
        return RedirectResponse(ACCOUNT, 303)
    return context.renderer.page(
        "signed_out.html",
        language=request.language,
        outcome=outcome,
        ticket=request.query.get("done", ""),
    )


def show_receipts(context: WebContext, request: PageRequest) -> Response:
    """GET /signed-out/receipts?done=…"""
    outcome = _outcome(context, request)
    if outcome is None:
        return Response(status_code=204)
    return HTMLResponse(
        context.renderer.fragment("receipts.html", language=request.language, outcome=outcome)
    )


def _outcome(context: WebContext, request: PageRequest) -> Outcome | None:
    text = request.query.get("done", "")
    if not text or len(text) > LONGEST_TICKET:
        return None
    with context.work.read() as unit:
        return receipts.outcome_of_ticket(unit, text, browser_hash=request.browser_hash)

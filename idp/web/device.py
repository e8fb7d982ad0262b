"""/device: opening the code of another device, and letting it in or not (RFC 8628 section 3.3).

Owns the approving side's pages: the code is typed (or came with the address, and is only shown until
somebody presses a button: reading changes nothing), the first session that opens it has it, and sees
who asks, from where, and for what. Saying no needs no proof; saying yes needs a fresh one. What may
be decided when is `idp.sessions.pairing`.
"""

import re
from functools import partial

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth import devices
from idp.policy.assurance import Demand
from idp.policy.limits import Full
from idp.sessions import handoff, pairing, user_code
from idp.sessions.handoff import WISHES, Wish
from idp.sessions.model import Pairing
from idp.storage.unit_of_work import UnitOfWork
from idp.web import device_view, elevation, errors, headers, typed_code
from idp.web.http import PageRequest, WebContext
from idp.web.typed_code import Problem
from idp.web.visitor import Visitor, visitor_route

PATH = "/device"
_NUMBER = re.compile(r"[0-9]{2}")


def routes(context: WebContext) -> list[Route]:
    """/device and the answer to each code that was opened."""
    return [
        visitor_route(context, PATH, {"GET": ask, "POST": open_code}),
        visitor_route(context, f"{PATH}/{{id}}", {"GET": show, "POST": answer}),
    ]


def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /device, and /device?user_code=…: the code is shown, not used."""
    typed = typed_code.sent(request)
    return _code_page(context, request, visitor, user_code.canonical(typed) or typed, None)


def open_code(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /device: the first session to open a code has it."""
    outcome = typed_code.opened(
        context,
        request,
        user_id=visitor.user.id,
        kinds=("device", "sign_in"),
        tie=partial(_claimed, request=request, visitor=visitor),
    )
    if isinstance(outcome, Problem):
        return _code_page(context, request, visitor, typed_code.sent(request), outcome)
    return RedirectResponse(f"{PATH}/{outcome}", 303)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /device/{id}: who asks, and for what; or what became of it."""
    with context.work.read() as unit:
        asked = _own(unit, request, visitor)
        asking = device_view.of(unit, asked, visitor.user, request.visit)
        wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
        met = {wish: _at_limit(unit, asked, visitor, wish) for wish in _wishes(asked)}
    wishes = [wish for wish, full in met.items() if full is None]
    limit = next((full.limit for full in met.values() if full is not None), None)
    return context.renderer.page(
        "device_answer.html",
        language=request.language,
        visitor=visitor,
        asking=asking,
        sources=context.provider.atlas.attributions(),
        is_proved=elevation.is_met(visitor.session, wanted),
        wishes=wishes,
        limit=limit,
    )


def answer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /device/{id}: `action` is allow, deny, report, or look; whatever else denies.

    "look" answers nothing: it is what a key that was pressed in a field does.
    """
    action = request.form.get("action", "")
    with context.work.begin() as unit:
        asked = _own(unit, request, visitor)
        if action.startswith("allow"):
            wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
            if not elevation.is_met(visitor.session, wanted):
                return RedirectResponse(f"{elevation.STEP_UP}?pairing={asked.id}", 303)
            wish = _wish(asked, request)
            # At a limit the page says so, and the code waits for its person to sign out elsewhere.
            if _at_limit(unit, asked, visitor, wish) is None:
                if asked.kind == "device":
                    devices.approve(unit, asked, visitor.session, wanted)
                else:
                    _let_in(unit, asked, request, visitor, wanted, wish)
        elif action == "report" and elevation.is_proved(visitor.session):
            if asked.kind == "device":
                devices.report(unit, asked, visitor.session)
            else:
                pairing.report(unit, asked, visitor.session)
        elif action == "look":
            pass
        elif asked.kind == "device":
            devices.deny(unit, asked, visitor.session)
        else:
            pairing.deny(unit, asked, visitor.session, reason="denied")
    if action == "report" and not elevation.is_proved(visitor.session):
        # The no holds, whoever said it. Keeping a network out for a day changes the account: whoever
        # merely sits at a remembered browser could do that to the network of its owner.
        return elevation.lead(context, request, visitor.session, "manage_account")
    return RedirectResponse(f"{PATH}/{asked.id}", 303)


def unknown_code(context: WebContext, request: PageRequest) -> Response:
    """The page for a code that leads nowhere: unknown, run out, used, or somebody else's."""
    return errors.page(
        context,
        Refused("code_not_found", pairing.NOT_THIS_CODE, 404),
        language=request.language,
        theme=request.theme,
        title="This code does not work",
        links=[("Type another code", PATH)],
    )


def _wishes(asked: Pairing) -> tuple[Wish, ...]:
    """What may be wished of the two sessions; an app's goes on by itself."""
    return WISHES.get(asked.kind, ("alone",))


def _wish(asked: Pairing, request: PageRequest) -> Wish:
    offered = _wishes(asked)
    said = request.form.get("wish")
    return next((one for one in offered if one == said), offered[-1])


def _at_limit(unit: UnitOfWork, asked: Pairing, visitor: Visitor, wish: Wish) -> Full | None:
    if asked.kind == "device":
        return devices.at_limit(unit, asked, visitor.session, visitor.user)
    return handoff.at_limit(unit, asked, visitor.user, wish)


def _let_in(
    unit: UnitOfWork,
    asked: Pairing,
    request: PageRequest,
    visitor: Visitor,
    wanted: Demand,
    wish: Wish,
) -> None:
    """The number was picked (it came with the button) or typed, whichever the rules ask for."""
    terms = handoff.meeting(unit, asked, visitor.user, request.visit).terms
    if terms.ask == "refuse":
        pairing.deny(unit, asked, visitor.session, reason="too_far")
        return
    picked = request.form.get("action", "").removeprefix("allow-")
    said = request.form.get("number", "").strip() if terms.ask == "type" else picked
    handoff.approve(
        unit,
        asked,
        visitor.session,
        wanted=wanted,
        shown=int(said) if _NUMBER.fullmatch(said) else None,
        wish=wish,
    )


def _claimed(unit: UnitOfWork, asked: Pairing, *, request: PageRequest, visitor: Visitor) -> bool:
    if asked.kind == "device":
        return pairing.claim(unit, asked, visitor.session)
    return handoff.open_for(unit, asked, visitor.session, from_browser=request.browser_hash)


def _own(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> Pairing:
    """The pairing of the address, if this very session opened it; anybody else's is unknown.

    So is one whose code it only shows so far: there is nobody to be answered.
    """
    asked = pairing.of_approver(unit, request.params["id"], visitor.session)
    if asked is None or asked.state == "pending":
        raise Refused("code_not_found", pairing.NOT_THIS_CODE, 404)
    return asked


def _code_page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    typed: str,
    problem: Problem | None,
) -> Response:
    response = context.renderer.page(
        "device.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        visitor=visitor,
        typed=typed,
        problem=problem,
    )
    response.headers["Permissions-Policy"] = headers.permissions(camera=True)
    return typed_code.with_problem(response, problem)

"""/device: opening the code of another device, and letting it in or not (RFC 8628 section 3.3).

Owns the approving side's pages: the code is typed (or came with the address, and is only shown until
somebody presses a button: reading changes nothing), the first session that opens it has it, and sees
who asks, from where, and for what. Saying no needs no proof; saying yes needs a fresh one. What may
be decided when is `idp.sessions.pairing`.
"""

import re
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.events.catalogue import CodesGuessed
from idp.oauth import devices
from idp.policy import assurance
from idp.policy.assurance import Demand
from idp.policy.limits import Full
from idp.sessions import handoff, pairing, user_code
from idp.sessions.model import Pairing
from idp.storage.unit_of_work import UnitOfWork
from idp.users import throttle
from idp.users.throttle import Refusal
from idp.web import device_view, elevation, errors, headers
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

PATH = "/device"
_NUMBER = re.compile(r"[0-9]{2}")
# Wrong codes of everybody in one window, from which on somebody may be guessing: with as many codes
# waiting as there may be, one in a hundred such windows would hit one.
ALARM = user_code.SPACE // (100 * pairing.WAITING_MAXIMUM)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a code was not taken."""

    sentence: str
    status: int
    retry_after: int | None = None


def routes(context: WebContext) -> list[Route]:
    """/device and the answer to each code that was opened."""
    return [
        visitor_route(context, PATH, {"GET": ask, "POST": open_code}),
        visitor_route(context, f"{PATH}/{{id}}", {"GET": show, "POST": answer}),
    ]


def ask(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /device, and /device?user_code=…: the code is shown, not used."""
    typed = request.query.get("user_code", "")[: user_code.TYPED_MAXIMUM]
    return _code_page(context, request, visitor, user_code.canonical(typed) or typed, None)


def open_code(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /device: the first session to open a code has it."""
    typed = request.form.get("user_code", "")[: user_code.TYPED_MAXIMUM]
    try:
        outcome = _opened(context, request, visitor, typed)
    except Refused as refused:
        outcome = Problem(refused.sentence, refused.status)
    if isinstance(outcome, Problem):
        return _code_page(context, request, visitor, typed, outcome)
    return RedirectResponse(f"{PATH}/{outcome}", 303)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /device/{id}: who asks, and for what; or what became of it."""
    with context.work.read() as unit:
        asked = _own(unit, request, visitor)
        asking = device_view.of(unit, asked, visitor.user, request.visit)
        wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
        full = _at_limit(unit, asked, visitor)
    proofs = assurance.proofs(visitor.session.authentications)
    return context.renderer.page(
        "device_answer.html",
        language=request.language,
        visitor=visitor,
        asking=asking,
        sources=context.provider.atlas.attributions(),
        is_proved=assurance.meets(proofs, wanted),
        limit=full.limit if full is not None else None,
    )


def answer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /device/{id}: `action` is allow, deny or report; whatever is neither denies."""
    action = request.form.get("action", "")
    with context.work.begin() as unit:
        asked = _own(unit, request, visitor)
        if action.startswith("allow"):
            wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
            if not assurance.meets(assurance.proofs(visitor.session.authentications), wanted):
                return RedirectResponse(f"{elevation.STEP_UP}?pairing={asked.id}", 303)
            # At a limit the page says so, and the code waits for its person to sign out elsewhere.
            if _at_limit(unit, asked, visitor) is None:
                if asked.kind == "device":
                    devices.approve(unit, asked, visitor.session, wanted)
                else:
                    _let_in(unit, asked, request, visitor, wanted)
        elif action == "report":
            pairing.report(unit, asked, visitor.session)
        elif asked.kind == "device":
            devices.deny(unit, asked, visitor.session)
        else:
            pairing.deny(unit, asked, visitor.session, reason="denied")
    return RedirectResponse(f"{PATH}/{asked.id}", 303)


def unknown_code(context: WebContext, request: PageRequest) -> Response:
    """The page for a code that leads nowhere: unknown, run out, used, or somebody else's."""
    return errors.page(
        context,
        Refused("code_not_found", pairing.NOT_THIS_CODE, 404),
        language=request.language,
        title="This code does not work",
        links=[("Type another code", PATH)],
    )


def _at_limit(unit: UnitOfWork, asked: Pairing, visitor: Visitor) -> Full | None:
    if asked.kind == "device":
        return devices.at_limit(unit, asked, visitor.session, visitor.user)
    return handoff.at_limit(unit, asked, visitor.user)


def _let_in(
    unit: UnitOfWork, asked: Pairing, request: PageRequest, visitor: Visitor, wanted: Demand
) -> None:
    """The number was picked (it came with the button) or typed, whichever the rules ask for."""
    _, terms = handoff.terms_of(unit, asked, visitor.user, request.visit)
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
        wish="together" if request.form.get("together") == "yes" else "alone",
    )


def _opened(
    context: WebContext, request: PageRequest, visitor: Visitor, typed: str
) -> str | Problem:
    """The pairing that a typed code belongs to, tied to this session; or why there is none."""
    with context.work.begin() as unit:
        counted = throttle.reserve_pairing_code(unit, user_id=visitor.user.id, ip=request.visit.ip)
        if isinstance(counted, Refusal):
            return _too_many(counted)
    with context.work.begin() as unit:
        found = pairing.by_typed(unit, typed, ("device", "sign_in"))
        if found is not None and _claimed(unit, found, request, visitor):
            throttle.pairing_code_was_right(unit, counted)
            return found.id
        standing = throttle.pairing_code_was_wrong(unit, alarm=ALARM)
        if standing is not None and standing.is_noteworthy:
            unit.record(CodesGuessed(count=standing.attempts))
    return Problem(pairing.NOT_THIS_CODE, 404)


def _claimed(unit: UnitOfWork, asked: Pairing, request: PageRequest, visitor: Visitor) -> bool:
    if asked.kind == "device":
        return pairing.claim(unit, asked, visitor.session)
    return handoff.open_for(unit, asked, visitor.session, from_browser=request.browser_hash)


def _too_many(refusal: Refusal) -> Problem:
    minutes = -(-refusal.retry_after // 60)
    unit_name = "minute" if minutes == 1 else "minutes"
    return Problem(
        f"Too many wrong codes. Please wait {minutes} {unit_name} and try again.",
        429,
        refusal.retry_after,
    )


def _own(unit: UnitOfWork, request: PageRequest, visitor: Visitor) -> Pairing:
    """The pairing of the address, if this very session opened it; anybody else's is unknown."""
    asked = pairing.of_approver(unit, request.params["id"], visitor.session)
    if asked is None:
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
    if problem is not None and problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response

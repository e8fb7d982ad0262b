"""/device: opening the code of another device, and letting it in or not (RFC 8628 section 3.3).

Owns the approving side's pages: the code is typed (or came with the address, and is only shown until
somebody presses a button: reading changes nothing), the first session that opens it has it, and sees
who asks, from where, and for what. Saying no needs no proof; saying yes needs a fresh one. What may
be decided when is `idp.sessions.pairing`.
"""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.events.catalogue import CodesGuessed
from idp.oauth import devices
from idp.oauth.model import Client
from idp.policy import assurance, proximity
from idp.sessions import pairing, user_code
from idp.sessions.device import Visit, describe
from idp.sessions.model import Pairing
from idp.sessions.place import Place
from idp.sessions.subject import arriving
from idp.storage.unit_of_work import UnitOfWork
from idp.users import throttle
from idp.users.throttle import Refusal
from idp.web import elevation
from idp.web.http import PageRequest, WebContext
from idp.web.session_view import hue
from idp.web.visitor import Visitor, visitor_route

PATH = "/device"
# Wrong codes of everybody in one window, from which on somebody may be guessing: with as many codes
# waiting as there may be, one in a hundred such windows would hit one.
ALARM = user_code.SPACE // (100 * pairing.WAITING_MAXIMUM)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a code was not taken."""

    sentence: str
    status: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """What the person is shown of the other device."""

    id: str
    kind: str
    # What is left to do, or how it ended: decide | approved | consumed | denied | reported | expired
    stage: str
    user_code: str
    app: str
    hue: int
    device: str
    device_type: str
    ip: str | None
    place: Place
    relation: proximity.Relation
    started_at: Instant
    scopes: tuple[str, ...]
    is_contested: bool


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
        asking = _asking(unit, asked, request.visit)
        wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
        full = devices.at_limit(unit, asked, visitor.session, visitor.user)
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
    action = request.form.get("action")
    with context.work.begin() as unit:
        asked = _own(unit, request, visitor)
        if action == "allow":
            wanted = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
            if not assurance.meets(assurance.proofs(visitor.session.authentications), wanted):
                return RedirectResponse(f"{elevation.STEP_UP}?pairing={asked.id}", 303)
            # At a limit the page says so, and the code waits for its person to sign out elsewhere.
            if devices.at_limit(unit, asked, visitor.session, visitor.user) is None:
                devices.approve(unit, asked, visitor.session, wanted)
        elif action == "report":
            pairing.report(unit, asked, visitor.session)
        else:
            devices.deny(unit, asked, visitor.session)
    return RedirectResponse(f"{PATH}/{asked.id}", 303)


def _opened(
    context: WebContext, request: PageRequest, visitor: Visitor, typed: str
) -> str | Problem:
    """The pairing that a typed code belongs to, tied to this session; or why there is none."""
    with context.work.begin() as unit:
        counted = throttle.reserve_pairing_code(unit, user_id=visitor.user.id, ip=request.visit.ip)
        if isinstance(counted, Refusal):
            return _too_many(counted)
    with context.work.begin() as unit:
        found = pairing.by_typed(unit, typed, ("device",))
        if found is not None and pairing.claim(unit, found, visitor.session):
            throttle.pairing_code_was_right(unit, counted)
            return found.id
        standing = throttle.pairing_code_was_wrong(unit, alarm=ALARM)
        if standing is not None and standing.is_noteworthy:
            unit.record(CodesGuessed(count=standing.attempts))
    return Problem(pairing.NOT_THIS_CODE, 404)


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


def _asking(unit: UnitOfWork, asked: Pairing, approver: Visit) -> Asking:
    details = pairing.details_of(unit, asked)
    asker = details.asker or Visit()
    client = unit.orm.get(Client, asked.client_id) if asked.client_id is not None else None
    place = asker.place
    relation = proximity.relation(
        arriving(describe(asker), asker.ip, place, ()),
        arriving(describe(approver), approver.ip, approver.place, ()),
    )
    return Asking(
        id=asked.id,
        kind=asked.kind,
        stage=_stage(asked, unit.now),
        user_code=details.user_code,
        app=client.name if client is not None else "",
        hue=hue(asked.client_id or ""),
        device=describe(asker).label,
        device_type=devices.type_of(asker),
        ip=asker.ip,
        place=place,
        relation=relation,
        started_at=asked.created_at,
        scopes=tuple(asked.scope.split()),
        is_contested=asked.contested_at is not None,
    )


def _stage(asked: Pairing, now: Instant) -> str:
    if asked.state in ("pending", "claimed", "approved") and now >= asked.expires_at:
        return "expired"
    return "decide" if asked.state in ("pending", "claimed") else asked.state


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
    if problem is not None and problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response

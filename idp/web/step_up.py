"""The step-up page: proving more in a session that runs, and going on where it was asked for.

Owns /step-up, which says why and for what, and offers only what would do. It serves an app's request
(`request`), which /authorize decides again afterwards, and our own sensitive operations (`for`,
`next`), with the form that was kept for them, and letting another device in (`pairing`).
Specs: RFC 9470, OpenID Connect Core section 3.1.2.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.oauth import demands, pushed
from idp.oauth.pushed import Pending
from idp.policy import assurance
from idp.policy.assurance import Demand
from idp.sessions import ceremony as ceremonies
from idp.sessions import pairing, prove, step_up
from idp.sessions.model import Session
from idp.sessions.prove import Rejected
from idp.storage.unit_of_work import UnitOfWork
from idp.web import cookies, csrf, elevation, factor_page
from idp.web.elevation import STEP_UP
from idp.web.factor_page import Asked
from idp.web.hold import Hold, is_over
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import local_path
from idp.web.pending import (
    back_to_authorize,
    find_pending,
    leads_to,
    speaking,
    unknown_request,
)
from idp.web.visitor import Visitor, visitor_route


@dataclass(frozen=True, slots=True)
class _Aim:
    """What the proof is for: an app's request, or an operation and the form kept for it."""

    demand: Demand
    pending: Pending | None
    why: str
    hidden: dict[str, str]
    # Why the session is held, if that is what it is for.
    hold: Hold | None = None


def routes(context: WebContext) -> list[Route]:
    """/step-up"""
    return [visitor_route(context, STEP_UP, {"GET": show, "POST": submit})]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /step-up?request=… or ?for=…&next=…"""
    aim = _aim(context, request, visitor, request.query)
    if isinstance(aim, Response):
        return aim
    if aim.pending is not None:
        request = speaking(request, aim.pending)
    return _next(context, request, visitor, aim, wanted=request.query.get("method"))


def submit(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /step-up: a proof, another method, "Cancel", or a form that waits for a proof."""
    aim = _aim(context, request, visitor, request.form)
    if isinstance(aim, Response):
        return aim
    if aim.pending is not None:
        request = speaking(request, aim.pending)
    action = request.form.get("action", "")
    if action == "cancel":
        return _cancelled(context, request, aim)
    if action == "begin" or action.startswith("use-"):
        return _next(context, request, visitor, aim, wanted=action.removeprefix("use-"))
    method = request.form.get("method", "")
    outcome = _proved(context, request, visitor, aim, method)
    if isinstance(outcome, Rejected):
        return _next(context, request, visitor, aim, wanted=method, problem=outcome)
    with context.work.read() as unit:
        session = unit.orm.get_one(Session, visitor.session.id)
    token = csrf.for_session(context.work.vault, session)
    changed = replace(visitor, session=session, csrf=token)
    response = _next(context, request, changed, aim, wanted=None)
    cookies.keep_session(response, context.settings, outcome)
    return response


def _aim(
    context: WebContext, request: PageRequest, visitor: Visitor, fields: Mapping[str, str]
) -> _Aim | Response:
    """What the proof is for, or where somebody must go instead."""
    if "request" in fields:
        pending = find_pending(context, request, fields)
        if pending is None:
            return unknown_request(context, request)
        demand = demands.of_pending(
            pending,
            visitor.session,
            visitor.user,
            context.provider.rules.current(),
            context.work.clock.now(),
        )
        if visitor.hold is not None and visitor.hold.why != "due":
            return _held(visitor.hold, pending, {"request": pending.id})
        # Nobody is sent here who need not prove anything, as for a consent (`authorize._consented`).
        demand = replace(demand, acr=assurance.highest([demand.acr, assurance.PROVED]))
        proofs = assurance.proofs(visitor.session.authentications)
        if assurance.wants_whole_sign_in(proofs, demand):
            return back_to_authorize(context, request, pending)
        return _Aim(demand, pending, "app", {"request": pending.id})
    if "pairing" in fields:
        return _aim_of_pairing(context, request, visitor, fields["pairing"])
    operation = next((one for one in elevation.OPERATIONS if one == fields.get("for")), None)
    if operation is None:
        return unknown_request(context, request)
    with context.work.read() as unit:
        demand = elevation.demand(unit, visitor.user.id, operation)
    hidden = {"for": operation, "next": local_path(fields.get("next"))}
    if "kept" in fields:
        hidden["kept"] = fields["kept"]
    if visitor.hold is not None:
        return _held(visitor.hold, None, hidden)
    return _Aim(demand, None, operation, hidden)


def _held(hold: Hold, pending: Pending | None, hidden: dict[str, str]) -> _Aim:
    """What ends a hold comes before anything else that is asked for."""
    demand = hold.demand if hold.demand is not None else Demand(assurance.LADDER[-1])
    return _Aim(demand, pending, hold.why, hidden, hold)


def _aim_of_pairing(
    context: WebContext, request: PageRequest, visitor: Visitor, pairing_id: str
) -> _Aim | Response:
    """Letting another device in, which this session opened the code of."""
    with context.work.read() as unit:
        asked = pairing.of_approver(unit, pairing_id, visitor.session)
        if asked is None:
            return unknown_request(context, request)
        demand = elevation.for_pairing(unit, asked, visitor.session, visitor.user)
    hidden = {"pairing": asked.id, "next": f"/device/{asked.id}"}
    return _Aim(demand, None, "let_in", hidden)


def _next(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    aim: _Aim,
    *,
    wanted: str | None,
    problem: Rejected | None = None,
) -> Response:
    """What comes next: another proof, or where this was for."""
    is_met = elevation.is_met(visitor.session, aim.demand)
    if is_met or (aim.hold and is_over(visitor.session, aim.hold)):
        return _done(context, request, visitor, aim)
    proofs = assurance.proofs(visitor.session.authentications)
    with context.work.read() as unit:
        able = step_up.able(unit, visitor.session)
    methods = assurance.offered(proofs, aim.demand, able)
    if not methods:
        return _nothing_will_do(context, request, visitor, aim)
    asked = Asked(
        action=STEP_UP,
        hidden={**aim.hidden, csrf.FIELD: csrf.for_session(context.work.vault, visitor.session)},
        methods=methods,
        method=factor_page.chosen(wanted, methods),
        username=visitor.user.username,
        why=aim.why,
        app=aim.pending.client.name if aim.pending is not None else None,
        ceremony=ceremonies.begin(
            context.work.clock.now(),
            purpose="step_up",
            browser_hash=request.browser_hash,
            user_id=visitor.user.id,
            session_id=visitor.session.id,
        ),
        form_actions=leads_to(aim.pending) if aim.pending is not None else (),
        visitor=visitor,
    )
    return factor_page.show(context, request, asked, problem)


def _proved(
    context: WebContext, request: PageRequest, visitor: Visitor, aim: _Aim, method: str
) -> str | Rejected:
    def note(unit: UnitOfWork, session: Session) -> None:
        if aim.pending is not None:
            pushed.note_authentication(unit, aim.pending.id, session.id)

    if method == "password":
        return step_up.with_password(
            context.work,
            context.hasher,
            session=visitor.session,
            name=visitor.user.username,
            password=request.form.get("password", ""),
            visit=request.visit,
            note=note,
        )
    ceremony = factor_page.ceremony_in(context, request, purpose="step_up")
    # Made for this very session: whoever signed in since began with nothing.
    if ceremony is None or ceremony.session_id != visitor.session.id:
        return Rejected(prove.NO_LONGER_CURRENT, 403)
    if method == "passkey":
        return step_up.with_passkey(
            context.work,
            session=visitor.session,
            ceremony=ceremony,
            credential=request.form.get("credential", ""),
            visit=request.visit,
            note=note,
        )
    if method not in ("totp", "recovery_code"):
        return Rejected(prove.NO_LONGER_CURRENT, 400)
    return step_up.with_code(
        context.work,
        session=visitor.session,
        ceremony=ceremony,
        method=cast("prove.Code", method),
        code=request.form.get("code", ""),
        visit=request.visit,
        note=note,
    )


def _done(context: WebContext, request: PageRequest, visitor: Visitor, aim: _Aim) -> Response:
    if aim.pending is not None:
        return back_to_authorize(context, request, aim.pending)
    kept = elevation.opened(context.work.vault, visitor.session.id, aim.hidden.get("kept", ""))
    if kept is None:
        return RedirectResponse(local_path(aim.hidden["next"]), 303)
    fields = {**kept.form, csrf.FIELD: csrf.for_session(context.work.vault, visitor.session)}
    return context.renderer.page(
        "step_up_done.html",
        language=request.language,
        action=local_path(kept.path),
        hidden=fields,
        operation=aim.why,
    )


def _nothing_will_do(
    context: WebContext, request: PageRequest, visitor: Visitor, aim: _Aim
) -> Response:
    """The page for somebody who has not enrolled what is demanded: how to, and the way back."""
    back = f"{STEP_UP}?{urlencode(aim.hidden)}" if "kept" not in aim.hidden else STEP_UP
    return context.renderer.page(
        "step_up_unable.html",
        language=request.language,
        status=403,
        action=STEP_UP,
        hidden={**aim.hidden, csrf.FIELD: csrf.for_session(context.work.vault, visitor.session)},
        app=aim.pending.client.name if aim.pending is not None else None,
        acr=aim.demand.acr,
        is_held=aim.hold is not None,
        back=back,
        form_actions=leads_to(aim.pending) if aim.pending is not None else (),
    )


def _cancelled(context: WebContext, request: PageRequest, aim: _Aim) -> Response:
    if aim.pending is None:
        return RedirectResponse("/logout" if aim.hold is not None else "/account", 303)
    with context.work.begin() as unit:
        pushed.note_denial(unit, aim.pending.id)
    return back_to_authorize(context, request, aim.pending)

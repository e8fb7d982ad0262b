"""/account/security/password: changing one's password, and what becomes of one's other sessions.

The present password is asked for although the page needs a fresh proof already (ASVS 6.2.3), and a
wrong one is counted like any other. Three steps, because a hash must neither hold a transaction open
nor come before its attempt is counted: the present password, the new one's hash, the change.
Somebody without a password sets their first one: that proves nothing, so it counts as no proof.
"""

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import MINUTE, Duration
from idp.errors import Refused
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.sessions import expiry, lifecycle, prove
from idp.sessions.model import Session
from idp.sessions.prove import Rejected
from idp.storage.unit_of_work import UnitOfWork
from idp.users import passwords, queries
from idp.users.passwords import SecondFactor
from idp.users.person import Account
from idp.web import cookies, new_password
from idp.web.factor_changes import changing
from idp.web.http import PageRequest, WebContext
from idp.web.new_password import Problem
from idp.web.visitor import SIGN_IN, Visitor, visitor_route

PATH = "/account/security/password"
AFTERWARDS = "/account/security?changed=password"
# What the other sessions get to finish what they are at.
GRACE: Duration = 10 * MINUTE
WRONG = "Your present password is wrong. Nothing was changed."


def routes(context: WebContext) -> list[Route]:
    """/account/security/password."""
    return [
        visitor_route(context, PATH, {"GET": show, "POST": submit}, operation="change_password")
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/password"""
    with context.work.read() as unit:
        second_factor = new_password.second_factor_of(unit, visitor.user)
    return _page(context, request, visitor, second_factor, None)


def submit(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/password: `others` says what becomes of the other sessions."""
    others = request.form.get("others", "")
    if others not in _OTHERS:
        raise Refused("malformed_request", "This request cannot be understood.", 400)
    with context.work.read() as unit:
        second_factor = new_password.second_factor_of(unit, visitor.user)
    outcome = _change(context, request, visitor, second_factor)
    if isinstance(outcome, Problem):
        return _page(context, request, visitor, second_factor, outcome)
    if others == "end_all":
        # With the cookie of the ended session, by which that page says why it is over.
        return RedirectResponse(SIGN_IN, 303)
    response = RedirectResponse(AFTERWARDS, 303)
    if outcome is not None:
        cookies.keep_session(response, context.settings, outcome)
    return response


def _change(
    context: WebContext, request: PageRequest, visitor: Visitor, second_factor: SecondFactor
) -> str | Problem | None:
    """Changes it; gives the session's new secret, None when it keeps the one it has."""
    user = visitor.user
    before: str | None = None
    if user.password_hash is not None:
        present = request.form.get("current_password", "")
        proved = prove.password(
            context.work,
            context.hasher,
            name=user.username,
            password=present,
            visit=request.visit,
            then=_hash_behind,
        )
        if isinstance(proved, Rejected):
            sentence = WRONG if proved.status == 403 else proved.sentence
            return Problem(sentence, proved.status, proved.retry_after)
        if present == request.form.get(new_password.FIELD):
            return Problem("This is the password you have now; please choose another.")
        before = proved
    chosen = new_password.chosen(
        context, request, words=new_password.words_of(user), second_factor=second_factor
    )
    if isinstance(chosen, Problem):
        return chosen
    with context.work.begin() as unit:
        return _carry_out(unit, request, visitor, before=before, after=chosen.encoded)


def _hash_behind(unit: UnitOfWork, user: Account, proof: Authentication) -> str:
    """What the change must find again: the stored hash that the present password matched."""
    del unit, proof
    return user.password_hash or ""


def _carry_out(
    unit: UnitOfWork, request: PageRequest, visitor: Visitor, *, before: str | None, after: str
) -> str | None:
    user = changing(unit, visitor, "change_password")
    if user.password_hash != before:
        raise Refused("changed_meanwhile", "Something changed meanwhile. Please look again.", 409)
    session = unit.orm.get_one(Session, visitor.session.id)
    queries.set_password(unit, user, after, Actor("user", session.id))
    secret = None
    if before is not None and request.form["others"] != "end_all":
        secret = lifecycle.reauthenticate(unit, session, [prove.PASSWORD], request.visit)
    _OTHERS[request.form["others"]](unit, session)
    return secret


def _end_others(unit: UnitOfWork, session: Session) -> None:
    _end(unit, session, keeping=session.id)


def _end_all(unit: UnitOfWork, session: Session) -> None:
    _end(unit, session, keeping=None)


def _end(unit: UnitOfWork, session: Session, *, keeping: str | None) -> None:
    actor = Actor("user", session.id)
    lifecycle.end_all_of(
        unit, session.user_id, reason="password_changed", actor=actor, keeping=keeping
    )


def _end_soon(unit: UnitOfWork, session: Session) -> None:
    expiry.end_soon(
        unit,
        session.user_id,
        keeping=session.id,
        at=unit.now + GRACE,
        actor=Actor("user", session.id),
    )


def _keep_all(unit: UnitOfWork, session: Session) -> None:
    del unit, session


# What may be asked for; anything else is refused (AR-10).
_OTHERS: dict[str, Callable[[UnitOfWork, Session], None]] = {
    "keep_this": _end_others,
    "keep_all": _keep_all,
    "end_soon": _end_soon,
    "end_all": _end_all,
}


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    second_factor: SecondFactor,
    problem: Problem | None,
) -> Response:
    others = request.form.get("others", "")
    response = context.renderer.page(
        "password.html",
        language=request.language,
        status=problem.status if problem else 200,
        action=PATH,
        visitor=visitor,
        csrf=visitor.csrf,
        username=visitor.user.username,
        has_password=visitor.user.password_hash is not None,
        minimum=passwords.minimum_length(context.settings, second_factor),
        others=others if others in _OTHERS else "keep_this",
        grace=GRACE,
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response

"""/account/security/passkeys: adding a passkey, naming and removing one.

Adding is a ceremony bound to the session and the browser that saw the form, and spent by the first
answer, right or wrong. What is checked of the answer is `idp.users.passkeys`.
"""

import logging

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import Instant
from idp.errors import Refused
from idp.sessions import ceremony as ceremonies
from idp.sessions import prove
from idp.sessions.ceremony import Ceremony
from idp.sessions.device import describe
from idp.users import factors, passkeys
from idp.users.credentials import NAME_MAXIMUM
from idp.web import factor_page, recovery_codes
from idp.web.factor_changes import (
    SECURITY,
    Kind,
    Problem,
    address,
    back_of,
    by,
    changing,
    first_codes,
    routes_of,
)
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor, visitor_route

PATH = f"{SECURITY}/passkeys"
NEW = f"{PATH}/new"
_PURPOSE = "enrol"
_KIND = Kind("passkey", PATH, passkeys.one_of, passkeys.rename, passkeys.remove)

_log = logging.getLogger("idp.web")


def routes(context: WebContext) -> list[Route]:
    """Everything under /account/security/passkeys."""
    return [
        visitor_route(context, PATH, {"POST": add}, operation="change_factors"),
        visitor_route(context, NEW, {"GET": show}, operation="change_factors"),
        *routes_of(context, _KIND),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/passkeys/new"""
    return _page(context, request, visitor, back_of(request.query), None)


def add(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/passkeys"""
    back = back_of(request.form)
    if not request.form.get("credential"):
        # What a step-up has kept of the form is all but the answer: that begins again.
        return RedirectResponse(address(NEW, back=back), 303)
    ceremony = _ceremony(context, request, visitor)
    if ceremony is None:
        return _page(context, request, visitor, back, Problem(prove.NO_LONGER_CURRENT))
    try:
        at, codes = _added(context, request, visitor, ceremony)
    except Refused as refused:
        _log.info("a passkey was not added: %s", refused.detail or refused.code)
        return _page(context, request, visitor, back, Problem(refused.sentence, refused.status))
    if codes:
        return recovery_codes.shown_once(context, request, visitor, codes, at=at, back=back)
    return RedirectResponse(address(SECURITY, back=back, done=at), 303)


def _ceremony(context: WebContext, request: PageRequest, visitor: Visitor) -> Ceremony | None:
    """The ceremony of this form, spent; None when it is not of this session, or was answered."""
    ceremony = factor_page.ceremony_in(context, request, purpose=_PURPOSE)
    if ceremony is None or ceremony.session_id != visitor.session.id:
        return None
    with context.work.begin() as unit:
        return ceremony if ceremonies.spend(unit, ceremony) else None


def _added(
    context: WebContext, request: PageRequest, visitor: Visitor, ceremony: Ceremony
) -> tuple[Instant, list[str]]:
    with context.work.begin() as unit:
        user = changing(unit, visitor, "change_factors")
        had = factors.enrolled(unit, user.id)
        passkeys.register(
            unit,
            user,
            credential=request.form["credential"],
            challenge=ceremonies.challenge(ceremony, unit.vault),
            name=request.form.get("name", ""),
            actor=by(visitor),
        )
        return unit.now, first_codes(unit, user, by(visitor), had=had)


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    back: str | None,
    problem: Problem | None,
) -> Response:
    ceremony = ceremonies.begin(
        context.work.clock.now(),
        purpose=_PURPOSE,
        browser_hash=request.browser_hash,
        user_id=visitor.user.id,
        session_id=visitor.session.id,
    )
    with context.work.read() as unit:
        options = passkeys.registration_options(
            unit, visitor.user, challenge=ceremonies.challenge(ceremony, unit.vault)
        )
    default = describe(request.visit).label[:NAME_MAXIMUM].strip()
    return context.renderer.page(
        "passkey_new.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        visitor=visitor,
        action=PATH,
        sealed=ceremonies.seal(ceremony, context.work.vault),
        options=options,
        name=request.form.get("name", "")[:NAME_MAXIMUM] or default,
        name_maximum=NAME_MAXIMUM,
        back=back,
        cancel=address(SECURITY, back=back),
        problem=problem,
    )

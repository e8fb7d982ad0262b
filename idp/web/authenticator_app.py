"""/account/security/totp: adding an authenticator app, naming and removing one.

The proposed secret is kept nowhere until a right code shows that the app has it: it travels sealed
in the form, for this session alone. A wrong code shows the same secret again, because the app has
scanned it already.
Specs: RFC 6238, OWASP ASVS 5.0 section 6.5.
"""

import orjson
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import MINUTE, Duration, Instant
from idp.errors import Refused
from idp.sessions import prove
from idp.storage.vault import Unreadable
from idp.users import factors, totp
from idp.users.credentials import NAME_MAXIMUM
from idp.users.totp import Proposal
from idp.web import recovery_codes
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

PATH = f"{SECURITY}/totp"
NEW = f"{PATH}/new"
FIELD = "proposal"
LIFETIME: Duration = 30 * MINUTE
_GROUP = 4
_SEALED_MAXIMUM = 2_048
_KIND = Kind("totp", PATH, totp.one_of, totp.rename, totp.remove)


def routes(context: WebContext) -> list[Route]:
    """Everything under /account/security/totp."""
    return [
        visitor_route(context, PATH, {"POST": add}, operation="change_factors"),
        visitor_route(context, NEW, {"GET": show}, operation="change_factors"),
        *routes_of(context, _KIND),
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/totp/new"""
    proposal = totp.propose(context.settings, visitor.user)
    return _page(context, request, visitor, proposal, back_of(request.query), None)


def add(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/totp"""
    back = back_of(request.form)
    proposal = _opened(context, request, visitor)
    if proposal is None:
        fresh = totp.propose(context.settings, visitor.user)
        problem = Problem(prove.NO_LONGER_CURRENT)
        return _page(context, request, visitor, fresh, back, problem)
    if not request.form.get("code"):
        # What a step-up has kept of the form is all but the code: the same page once more.
        return _page(context, request, visitor, proposal, back, None)
    try:
        at, codes = _added(context, request, visitor, proposal)
    except Refused as refused:
        problem = Problem(refused.sentence, refused.status)
        return _page(context, request, visitor, proposal, back, problem)
    if codes:
        return recovery_codes.shown_once(context, request, visitor, codes, at=at, back=back)
    return RedirectResponse(address(SECURITY, back=back, done=at), 303)


def _added(
    context: WebContext, request: PageRequest, visitor: Visitor, proposal: Proposal
) -> tuple[Instant, list[str]]:
    with context.work.begin() as unit:
        user = changing(unit, visitor, "change_factors")
        had = factors.enrolled(unit, user.id)
        totp.enrol(
            unit,
            user,
            secret=proposal.secret,
            code=request.form["code"],
            name=request.form.get("name", ""),
            actor=by(visitor),
        )
        return unit.now, first_codes(unit, user, by(visitor), had=had)


def _sealed(context: WebContext, visitor: Visitor, proposal: Proposal) -> str:
    values = {
        "secret": proposal.secret,
        "uri": proposal.uri,
        "expires": context.work.clock.now() + LIFETIME,
    }
    return context.work.vault.seal_text(orjson.dumps(values).decode(), _context(visitor))


def _opened(context: WebContext, request: PageRequest, visitor: Visitor) -> Proposal | None:
    """The proposal that this session was shown; None for any other, or one that has run out."""
    sealed = request.form.get(FIELD, "")
    if len(sealed) > _SEALED_MAXIMUM:
        return None
    try:
        values = orjson.loads(context.work.vault.open_text(sealed, _context(visitor)))
    except Unreadable:
        return None
    if values["expires"] <= context.work.clock.now():
        return None
    return totp.proposal(values["secret"], values["uri"])


def _context(visitor: Visitor) -> str:
    return f"totp.proposal:{visitor.session.id}"


def _page(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    proposal: Proposal,
    back: str | None,
    problem: Problem | None,
) -> Response:
    secret = proposal.secret
    return context.renderer.page(
        "totp_new.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        visitor=visitor,
        action=PATH,
        sealed=_sealed(context, visitor, proposal),
        qr=proposal.qr,
        uri=proposal.uri,
        groups=[secret[at : at + _GROUP] for at in range(0, len(secret), _GROUP)],
        name=request.form.get("name", "")[:NAME_MAXIMUM],
        default_name=totp.DEFAULT_NAME,
        name_maximum=NAME_MAXIMUM,
        back=back,
        cancel=address(SECURITY, back=back),
        problem=problem,
    )

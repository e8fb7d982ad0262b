"""Signing in, for an app's request and for the account pages.

Owns when the first page is shown (`sign_in_page` is how it looks), handing what was typed to
`sign_in`, and the browser's new cookie. What happens with the app's request afterwards is decided
again by /authorize: here it is only noted that somebody proved who they are, and gone back there. A
browser that stays signed in gets a greeting in place of the form (`idp.web.welcome`), unless more is
asked for or somebody else wants to sign in.
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth.pushed import Pending
from idp.policy.timeouts import is_in_last_minutes
from idp.sessions import prove, sign_in
from idp.sessions.endings import EXPIRY
from idp.sessions.sign_in import AtLimit, Rejected, SecondFactor, SignedIn
from idp.web import (
    choose_session,
    entry,
    errors,
    factor_page,
    second_factor,
    session_over,
    sign_in_page,
    visitor,
    welcome,
)
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import local_path
from idp.web.pending import find_pending, speaking, unknown_request
from idp.web.session_over import Over
from idp.web.sign_in_page import LONGEST_NAME, Form


def routes(context: WebContext) -> list[Route]:
    """/login (for an app's request) and /account/sign-in (without an app)."""
    return [
        route(context, "/login", errors.PUBLIC, {"GET": show_for_app, "POST": submit_for_app}),
        route(
            context, visitor.SIGN_IN, errors.PUBLIC, {"GET": show_for_account, "POST": submit_here}
        ),
    ]


def show_for_app(context: WebContext, request: PageRequest) -> Response:
    """GET /login?request=…"""
    if "request" not in request.query:
        return RedirectResponse(visitor.SIGN_IN, 303)
    pending = find_pending(context, request, request.query)
    if pending is None:
        return unknown_request(context, request)
    request = speaking(request, pending)
    present = visitor.recognised(context, request)
    if present is not None:
        form = Form(present.user.username)
        return sign_in_page.for_app(context, request, pending, form, present, None)
    over = _over(context, request)
    found = welcome.look(context, request)
    hinted = pending.parameters.get("login_hint", "")[:LONGEST_NAME]
    if found.shown is None or welcome.OTHER in request.query:
        return sign_in_page.for_app(context, request, pending, Form(hinted), None, over, found)
    if welcome.is_enough(context, request, pending, found.shown):
        return welcome.page(context, request, found, pending, over=over)
    form = Form(hinted or found.shown.user.username)
    return sign_in_page.for_app(context, request, pending, form, None, over, found)


def submit_for_app(context: WebContext, request: PageRequest) -> Response:
    """POST /login: "Sign in", a passkey, or "Cancel"."""
    pending = find_pending(context, request, request.form)
    if pending is None:
        return unknown_request(context, request)
    request = speaking(request, pending)
    if request.form.get("action") == "cancel":
        return entry.cancelled(context, request, pending)
    answered = welcome.answer(context, request, pending)
    if answered is not None:
        return answered
    outcome = _sign_in(context, request, pending)
    if isinstance(outcome, SecondFactor):
        return second_factor.ask(context, request, outcome, pending)
    if isinstance(outcome, Form):
        present = visitor.recognised(context, request)
        return sign_in_page.for_app(context, request, pending, outcome, present, None)
    return choose_session.onward(context, request, outcome, pending)


def show_for_account(context: WebContext, request: PageRequest) -> Response:
    """GET /account/sign-in: straight on for those who are signed in, and will be for a while."""
    wanted = local_path(request.query.get("next"))
    present = visitor.recognised(context, request)
    if present is None:
        over = _over(context, request)
        found = welcome.look(context, request)
        if found.shown is not None and welcome.OTHER not in request.query:
            return welcome.page(context, request, found, None, over=over)
        # Whoever ended it elsewhere may have done so because of who sits here now.
        name = over.username if over is not None and over.reason in EXPIRY else ""
        return sign_in_page.for_account(context, request, wanted, Form(name), over, found)
    if not is_in_last_minutes(present.session.expires_at, context.work.clock.now()):
        return RedirectResponse(wanted, 303)
    form = Form(present.user.username)
    ends_at = present.session.expires_at
    return sign_in_page.for_account(context, request, wanted, form, None, ends_at=ends_at)


def submit_here(context: WebContext, request: PageRequest) -> Response:
    """POST /account/sign-in."""
    wanted = local_path(request.form.get("next"))
    answered = welcome.answer(context, request, None)
    if answered is not None:
        return answered
    outcome = _sign_in(context, request, None)
    if isinstance(outcome, SecondFactor):
        return second_factor.ask(context, request, outcome, None)
    if isinstance(outcome, Form):
        return sign_in_page.for_account(context, request, wanted, outcome, None)
    return choose_session.onward(context, request, outcome, None)


def _over(context: WebContext, request: PageRequest) -> Over | None:
    """The session that this browser was in, if it is over."""
    if request.session_secret is None:
        return None
    with context.work.read() as unit:
        return session_over.by_secret(unit, request.session_secret)


def _sign_in(
    context: WebContext, request: PageRequest, pending: Pending | None
) -> SignedIn | SecondFactor | AtLimit | Form:
    # Nothing is refused here for how it looks: whatever is typed costs one hash (BF-11).
    name = request.form.get("username", "")
    stays = request.form.get(entry.STAY) == "yes"
    outcome: SignedIn | SecondFactor | AtLimit | Rejected
    try:
        if request.form.get("action") == "passkey":
            outcome = _with_passkey(context, request, pending)
        else:
            outcome = sign_in.with_password(
                context.work,
                context.hasher,
                name=name,
                password=request.form.get("password", ""),
                entry=entry.at(request, pending),
            )
    except Refused as refused:
        # Busy, or disabled this very moment: what was typed stays in the form.
        name = name[:LONGEST_NAME]
        return Form(name, refused.sentence, refused.status, refused.retry_after, stays)
    if isinstance(outcome, Rejected):
        name = name[:LONGEST_NAME]
        return Form(name, outcome.sentence, outcome.status, outcome.retry_after, stays)
    return outcome


def _with_passkey(
    context: WebContext, request: PageRequest, pending: Pending | None
) -> SignedIn | AtLimit | Rejected:
    ceremony = factor_page.ceremony_in(context, request, purpose="sign_in")
    # One that holds proofs belongs to the second page.
    if ceremony is None or ceremony.user_id is not None:
        return Rejected(prove.NO_LONGER_CURRENT, 400)
    return sign_in.with_passkey(
        context.work,
        ceremony=ceremony,
        credential=request.form.get("credential", ""),
        entry=entry.at(request, pending),
        trust=None,
    )

"""The sign-in page, for an app's request and for the account pages.

Owns showing the form, handing what was typed to `sign_in`, and the browser's new cookie. What
happens with the app's request afterwards is decided again by /authorize: this page only notes that
somebody proved who they are, and goes back there. A browser that stays signed in gets a greeting in
place of the form (`idp.web.welcome`), unless more is asked for or somebody else wants to sign in.
"""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.clock import DAY, Instant
from idp.errors import Refused
from idp.oauth.pushed import Pending
from idp.policy.timeouts import is_in_last_minutes
from idp.sessions import ceremony as ceremonies
from idp.sessions import prove, remember, sign_in
from idp.sessions.lifecycle import EXPIRY
from idp.sessions.sign_in import Rejected, SecondFactor, SignedIn
from idp.users import passkeys
from idp.web import (
    cookies,
    csrf,
    entry,
    errors,
    factor_page,
    kept_form,
    second_factor,
    session_over,
    visitor,
    welcome,
)
from idp.web.http import PageRequest, WebContext, route
from idp.web.language import choose
from idp.web.local_path import local_path
from idp.web.pending import back_to_authorize, find_pending, leads_to, unknown_request
from idp.web.session_over import Over
from idp.web.visitor import Visitor
from idp.web.welcome import Look

LONGEST_NAME = 320


def routes(context: WebContext) -> list[Route]:
    """/login (for an app's request) and /account/sign-in (without an app)."""
    return [
        route(context, "/login", errors.PUBLIC, {"GET": show_for_app, "POST": submit_for_app}),
        route(
            context, visitor.SIGN_IN, errors.PUBLIC, {"GET": show_for_account, "POST": submit_here}
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Form:
    """What the page shows besides its fields."""

    name: str
    problem: str | None = None
    status: int = 200
    retry_after: int | None = None
    stays: bool = False


def show_for_app(context: WebContext, request: PageRequest) -> Response:
    """GET /login?request=…"""
    if "request" not in request.query:
        return RedirectResponse(visitor.SIGN_IN, 303)
    pending = find_pending(context, request, request.query)
    if pending is None:
        return unknown_request(context, request)
    present = visitor.find(context, request)
    if present is not None:
        form = _Form(present.user.username)
        return _page_for_app(context, request, pending, form, present, None)
    over = _over(context, request)
    found = welcome.look(context, request)
    hinted = pending.parameters.get("login_hint", "")[:LONGEST_NAME]
    if found.shown is None or welcome.OTHER in request.query:
        return _page_for_app(context, request, pending, _Form(hinted), None, over, found)
    if welcome.is_enough(context, request, pending, found.shown):
        return welcome.page(context, request, found, pending, over=over)
    form = _Form(hinted or found.shown.user.username)
    return _page_for_app(context, request, pending, form, None, over, found)


def submit_for_app(context: WebContext, request: PageRequest) -> Response:
    """POST /login: "Sign in", a passkey, or "Cancel"."""
    pending = find_pending(context, request, request.form)
    if pending is None:
        return unknown_request(context, request)
    if request.form.get("action") == "cancel":
        return entry.cancelled(context, request, pending)
    answered = welcome.answer(context, request, pending)
    if answered is not None:
        return answered
    outcome = _sign_in(context, request, pending)
    if isinstance(outcome, SecondFactor):
        return second_factor.ask(context, request, outcome, pending)
    if isinstance(outcome, _Form):
        present = visitor.find(context, request)
        return _page_for_app(context, request, pending, outcome, present, None)
    response = back_to_authorize(context, request, pending)
    return entry.keeping(context, request, outcome, response)


def show_for_account(context: WebContext, request: PageRequest) -> Response:
    """GET /account/sign-in: straight on for those who are signed in, and will be for a while."""
    wanted = local_path(request.query.get("next"))
    present = visitor.find(context, request)
    if present is None:
        over = _over(context, request)
        found = welcome.look(context, request)
        if found.shown is not None and welcome.OTHER not in request.query:
            return welcome.page(context, request, found, None, over=over)
        # Whoever ended it elsewhere may have done so because of who sits here now.
        name = over.username if over is not None and over.reason in EXPIRY else ""
        return _page_for_account(context, request, wanted, _Form(name), over, found)
    if not is_in_last_minutes(present.session.expires_at, context.work.clock.now()):
        return RedirectResponse(wanted, 303)
    form = _Form(present.user.username)
    ends_at = present.session.expires_at
    return _page_for_account(context, request, wanted, form, None, ends_at=ends_at)


def submit_here(context: WebContext, request: PageRequest) -> Response:
    """POST /account/sign-in."""
    wanted = local_path(request.form.get("next"))
    answered = welcome.answer(context, request, None)
    if answered is not None:
        return answered
    outcome = _sign_in(context, request, None)
    if isinstance(outcome, SecondFactor):
        return second_factor.ask(context, request, outcome, None)
    if isinstance(outcome, _Form):
        return _page_for_account(context, request, wanted, outcome, None)
    return entry.keeping(context, request, outcome, RedirectResponse(wanted, 303))


def _over(context: WebContext, request: PageRequest) -> Over | None:
    """The session that this browser was in, if it is over."""
    with context.work.read() as unit:
        return session_over.by_secret(unit, request.session_secret)


def _sign_in(
    context: WebContext, request: PageRequest, pending: Pending | None
) -> SignedIn | SecondFactor | _Form:
    # Nothing is refused here for how it looks: whatever is typed costs one hash (BF-11).
    name = request.form.get("username", "")
    stays = request.form.get(entry.STAY) == "yes"
    outcome: SignedIn | SecondFactor | Rejected
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
        return _Form(name, refused.sentence, refused.status, refused.retry_after, stays)
    if isinstance(outcome, Rejected):
        name = name[:LONGEST_NAME]
        return _Form(name, outcome.sentence, outcome.status, outcome.retry_after, stays)
    return outcome


def _with_passkey(
    context: WebContext, request: PageRequest, pending: Pending | None
) -> SignedIn | Rejected:
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


def _page_for_app(
    context: WebContext,
    request: PageRequest,
    pending: Pending,
    form: _Form,
    present: Visitor | None,
    over: Over | None,
    found: Look = welcome.NOTHING,
) -> Response:
    return _page(
        context,
        request,
        form,
        language=choose(
            pending.parameters.get("ui_locales"), request.headers.get("accept-language")
        ),
        action="/login",
        hidden={"request": pending.id},
        app=pending.client.name,
        present=present.user.username if present is not None else None,
        over=over,
        ends_at=None,
        found=found,
        form_actions=leads_to(pending),
    )


def _page_for_account(
    context: WebContext,
    request: PageRequest,
    wanted: str,
    form: _Form,
    over: Over | None,
    found: Look = welcome.NOTHING,
    *,
    ends_at: Instant | None = None,
) -> Response:
    return _page(
        context,
        request,
        form,
        language=request.language,
        action=visitor.SIGN_IN,
        hidden={"next": wanted},
        app=None,
        present=None,
        over=over,
        ends_at=ends_at,
        found=found,
        form_actions=(),
    )


def _page(
    context: WebContext,
    request: PageRequest,
    form: _Form,
    *,
    language: str,
    action: str,
    hidden: dict[str, str],
    app: str | None,
    present: str | None,
    over: Over | None,
    ends_at: Instant | None,
    found: Look,
    form_actions: tuple[str, ...],
) -> Response:
    # Bound to the browser, whose number a first visit is given with this very answer.
    ceremony = ceremonies.begin(
        context.work.clock.now(), purpose="sign_in", browser_hash=request.browser_hash
    )
    with context.work.read() as unit:
        options = passkeys.request_options(
            unit, challenge=ceremonies.challenge(ceremony, context.work.vault), user_id=None
        )
        # Whoever only proves again who they are has said already whether they stay.
        days = remember.allowed(unit, request.visit) // DAY if present is None else 0
    response = context.renderer.page(
        "login.html",
        language=language,
        status=form.status,
        form_actions=form_actions,
        action=action,
        hidden={
            **hidden,
            csrf.FIELD: csrf.for_browser(context.work.vault, request.browser),
            factor_page.FIELD: ceremonies.seal(ceremony, context.work.vault),
        },
        options=options,
        app=app,
        present=present,
        over=over,
        words=session_over.in_words(over, language) if over is not None else None,
        ends_at=ends_at,
        is_kept=hidden.get("next", "").startswith(kept_form.PATH),
        is_copied=found.is_copied,
        username=form.name,
        is_shared=entry.ownership(request) == "shared",
        problem=form.problem,
        stay_days=days,
        stays=form.stays,
    )
    if found.is_worthless:
        cookies.forget_remembered(response, context.settings)
    if form.retry_after is not None:
        response.headers["Retry-After"] = str(form.retry_after)
    return response

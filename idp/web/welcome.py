"""“Welcome back”: the page of a browser that stays signed in, and what its buttons do.

Owns whose such a browser is (`look`), whether that is enough for what an app asks, and the answers
"Continue" and "Forget this device". A session begins by the button and by nothing else (ASVS 7.6.2),
and the app's request learns of no proof: /authorize decides again what this session is good for.
"""

from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from authlib.oauth2.rfc6749 import OAuth2Error
from starlette.responses import RedirectResponse, Response

from idp.oauth import demands
from idp.oauth.authorization_request import named_people
from idp.oauth.pushed import Pending
from idp.policy.assurance import LADDER
from idp.policy.limits import Blocked, MustChoose
from idp.sessions import remember, sign_in
from idp.sessions.prove import Rejected
from idp.sessions.remember import Shown
from idp.sessions.subject import visiting
from idp.users import queries
from idp.web import cookies, csrf, entry, kept_form, session_over, visitor
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import local_path
from idp.web.pending import back_to_authorize, leads_to
from idp.web.session_over import Over

# The way past this page, for somebody else.
OTHER = "account"
AT_LIMIT = (
    "You are signed in on as many devices as you may be. With your password or passkey you can "
    "see them here, or sign out on one of them."
)


@dataclass(frozen=True, slots=True)
class Look:
    """What the browser's cookie for staying signed in amounts to; `shown` only while it is good."""

    shown: Shown | None
    name: str
    # The browser showed one that is worth nothing, and should not keep it.
    is_worthless: bool
    # There is a copy of it, so that it is worth nothing any more.
    is_copied: bool


NOTHING = Look(None, "", is_worthless=False, is_copied=False)


def look(context: WebContext, request: PageRequest) -> Look:
    """Whose browser this is, for pages that somebody without a session sees."""
    if request.remembered is None:
        return NOTHING
    shown = remember.recognise(context.work, request.remembered, request.visit)
    if shown is None or not shown.is_good:
        is_copied = shown is not None and (
            shown.state in remember.COPIES or shown.series.revoke_reason == "copied"
        )
        return replace(NOTHING, is_worthless=True, is_copied=is_copied)
    with context.work.read() as unit:
        name = queries.claims_of(unit, shown.user).get("name")
    called = name if isinstance(name, str) and name else shown.user.username
    return Look(shown, called, is_worthless=False, is_copied=False)


def take_back(context: WebContext, request: PageRequest, response: Response) -> None:
    """Takes the cookie back from a browser for which it is worth nothing, as after signing out."""
    if look(context, request).is_worthless:
        cookies.forget_remembered(response, context.settings)


def is_enough(context: WebContext, request: PageRequest, pending: Pending, shown: Shown) -> bool:
    """Whether an app's request could be answered by this person, without any proof."""
    values, user = pending.parameters, shown.user
    demand = demands.of_newcomer(
        pending,
        replace(visiting(request.visit, user.roles), client_id=pending.client.id),
        context.provider.rules.current(),
        context.work.clock.now(),
    )
    if demand.acr != LADDER[0]:
        return False
    try:
        people = named_people(values, context.provider)
    except OAuth2Error:
        return False
    if people is not None:
        return user.id in people
    if not values.get("login_hint"):
        return True
    with context.work.read() as unit:
        hinted = queries.by_identifier(unit, values["login_hint"])
    return hinted is not None and hinted.id == user.id


def page(
    context: WebContext,
    request: PageRequest,
    found: Look,
    pending: Pending | None,
    *,
    over: Over | None = None,
    problem: Rejected | None = None,
    other: Literal["account", "proof"] = "account",
) -> Response:
    """The greeting, for an app's request or for the account page that was wanted.

    `other` is what else may help: another account, or the same one with a proof.
    """
    if pending is not None:
        action, hidden = "/login", {"request": pending.id}
    else:
        fields = request.form if request.method == "POST" else request.query
        action, hidden = visitor.SIGN_IN, {"next": local_path(fields.get("next"))}
    elsewhere = urlencode({**hidden, OTHER: "other"})
    return context.renderer.page(
        "welcome_back.html",
        language=request.language,
        status=problem.status if problem is not None else 200,
        form_actions=leads_to(pending) if pending is not None else (),
        action=action,
        hidden={**hidden, csrf.FIELD: csrf.for_browser(context.work.vault, request.browser)},
        name=found.name,
        username=found.shown.user.username if found.shown is not None else "",
        app=pending.client.name if pending is not None else None,
        other=f"{action}?{elsewhere}",
        needs_proof=other == "proof",
        over=over,
        words=session_over.in_words(over, request.language) if over is not None else None,
        is_kept=hidden.get("next", "").startswith(kept_form.PATH),
        problem=problem,
    )


def answer(context: WebContext, request: PageRequest, pending: Pending | None) -> Response | None:
    """What the buttons of this page do; None for a form that is not of this page."""
    match request.form.get("action"):
        case "remembered":
            return _go_on(context, request, pending)
        case "forget":
            return _forget(context, request, pending)
        case _:
            return None


def _go_on(context: WebContext, request: PageRequest, pending: Pending | None) -> Response:
    """ "Continue": begins a session, unless another tab has."""
    if visitor.recognised(context, request) is not None:
        return _onward(context, request, pending)
    signed_in = sign_in.with_cookie(
        context.work, cookie=request.remembered or "", visit=request.visit
    )
    if signed_in is None:
        # The page that comes then knows why.
        return entry.begin_again(request, pending)
    found = look(context, request)
    if isinstance(signed_in, MustChoose | Blocked):
        problem = Rejected(AT_LIMIT, 403)
        return page(context, request, found, pending, problem=problem, other="proof")
    if isinstance(signed_in, Rejected):
        return page(context, request, found, pending, problem=signed_in)
    return entry.keeping(context, request, signed_in, _onward(context, request, pending))


def _forget(context: WebContext, request: PageRequest, pending: Pending | None) -> Response:
    """ "Forget this device"."""
    with context.work.begin() as unit:
        remember.forget(unit, request.remembered, request.visit)
    response = entry.begin_again(request, pending)
    cookies.forget_remembered(response, context.settings)
    return response


def _onward(context: WebContext, request: PageRequest, pending: Pending | None) -> Response:
    if pending is not None:
        return back_to_authorize(context, request, pending)
    return RedirectResponse(local_path(request.form.get("next")), 303)

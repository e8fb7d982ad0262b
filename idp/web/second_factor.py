"""The second page of a sign-in: a factor after the password, or a passkey instead of one.

Owns /login/second for an app's request and for the account pages. Nobody is signed in here until
the last proof is good; what was proved so far travels in the form (`idp.sessions.ceremony`).
"""

from typing import cast

from starlette.responses import Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth.pushed import Pending
from idp.sessions import ceremony as ceremonies
from idp.sessions import prove, sign_in
from idp.sessions.ceremony import Ceremony
from idp.sessions.sign_in import AtLimit, Entry, Rejected, SecondFactor, SignedIn
from idp.users import factors
from idp.users import queries as users
from idp.web import choose_session, csrf, entry, errors, factor_page, sign_in_page
from idp.web.factor_page import Asked
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import local_path
from idp.web.pending import find_pending, leads_to, speaking, unknown_request

PATH = "/login/second"


def routes(context: WebContext) -> list[Route]:
    """/login/second"""
    return [route(context, PATH, errors.PUBLIC, {"GET": entry.start_again, "POST": submit})]


def ask(
    context: WebContext, request: PageRequest, second: SecondFactor, pending: Pending | None
) -> Response:
    """The page after a right password; the answer to the form that carried it."""
    if not second.methods:
        return _no_way(context, request)
    method = factor_page.chosen(None, second.methods)
    return _page(context, request, second.ceremony, pending, second.methods, method)


def submit(context: WebContext, request: PageRequest) -> Response:
    """POST /login/second: a code, a passkey, another method, or "Cancel"."""
    pending = None
    if "request" in request.form:
        pending = find_pending(context, request, request.form)
        if pending is None:
            return unknown_request(context, request)
        request = speaking(request, pending)
    if request.form.get("action") == "cancel":
        return entry.cancelled(context, request, pending)
    ceremony = factor_page.ceremony_in(context, request, purpose="sign_in")
    if ceremony is None or ceremony.user_id is None:
        return sign_in_page.lost(context, request, pending)
    with context.work.read() as unit:
        methods = sign_in.methods_for(factors.enrolled(unit, ceremony.user_id))
    if not methods:
        return _no_way(context, request)
    method = factor_page.chosen(request.form.get("method"), methods)
    if request.form.get("action", "").startswith("use-"):
        other = factor_page.chosen(request.form["action"].removeprefix("use-"), methods)
        return _page(context, request, ceremony, pending, methods, other)
    outcome = _proved(context, request, ceremony, method, entry.at(request, pending))
    if isinstance(outcome, Rejected) and outcome.is_over:
        return sign_in_page.lost(context, request, pending)
    if isinstance(outcome, Rejected):
        fresh = ceremonies.again(ceremony) if method == "passkey" else ceremony
        return _page(context, request, fresh, pending, methods, method, outcome)
    return choose_session.onward(context, request, outcome, pending)


def _no_way(context: WebContext, request: PageRequest) -> Response:
    """The page for somebody whose only second factor is suspended, and whose codes are used up."""
    refused = Refused(
        "no_second_factor",
        "Your passkey is not taken any more, because there may be a copy of it, and you have no "
        "recovery codes left. Please ask an administrator to reset how you sign in.",
        403,
    )
    return errors.refuse(context, request, refused)


def _proved(
    context: WebContext, request: PageRequest, ceremony: Ceremony, method: str, at: Entry
) -> SignedIn | AtLimit | Rejected:
    trust = "device" if request.form.get("trust") == "yes" else None
    if method == "passkey":
        return sign_in.with_passkey(
            context.work,
            ceremony=ceremony,
            credential=request.form.get("credential", ""),
            entry=at,
            trust=trust,
        )
    return sign_in.with_code(
        context.work,
        ceremony=ceremony,
        method=cast("prove.Code", method),
        code=request.form.get("code", ""),
        entry=at,
        trust=trust,
    )


def _page(
    context: WebContext,
    request: PageRequest,
    ceremony: Ceremony,
    pending: Pending | None,
    methods: tuple[str, ...],
    method: str,
    problem: Rejected | None = None,
) -> Response:
    with context.work.read() as unit:
        user = users.by_id(unit, ceremony.user_id or "")
    hidden = {csrf.FIELD: csrf.for_browser(context.work.vault, request.browser)}
    if pending is not None:
        hidden["request"] = pending.id
    else:
        hidden["next"] = local_path(request.form.get("next"))
    ownership = entry.ownership(request)
    hidden[entry.DEVICE] = ownership
    if request.form.get(entry.STAY) == "yes":
        hidden[entry.STAY] = "yes"
    hidden[sign_in_page.NAME] = request.form.get(sign_in_page.NAME, "")[: sign_in_page.LONGEST_NAME]
    asked = Asked(
        action=PATH,
        hidden=hidden,
        methods=methods,
        method=method,
        username=user.username if user is not None else "",
        why="second_factor",
        app=pending.client.name if pending is not None else None,
        ceremony=ceremony,
        # Whoever comes after would be spared the factor too.
        trust="offered" if ownership == "own" else "not_offered",
        form_actions=leads_to(pending) if pending is not None else (),
    )
    return factor_page.show(context, request, asked, problem)

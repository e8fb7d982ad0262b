"""A sign-in that meets a limit of sessions: choosing which of them ends, or learning why not.

Owns /login/sessions, whose GET has nothing to show, and where a sign-in leads once everything is
proved: every way in ends with `onward`, so that none forgets the limit. Nobody is signed in on this
page; what was proved travels in the form (`idp.sessions.ceremony`), and what is chosen is decided
anew when it is sent.
"""

from collections.abc import Collection

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth.pushed import Pending
from idp.policy.limits import Blocked, MustChoose
from idp.sessions import ceremony as ceremonies
from idp.sessions import sign_in
from idp.sessions.ceremony import Ceremony
from idp.sessions.sign_in import AtLimit, Rejected, SignedIn
from idp.web import csrf, entry, errors, factor_page, session_view, sign_in_page
from idp.web.http import PageRequest, WebContext, route
from idp.web.local_path import local_path
from idp.web.pending import (
    back_to_authorize,
    find_pending,
    leads_to,
    speaking,
    unknown_request,
)
from idp.web.session_view import SessionRow

PATH = "/login/sessions"
# A radio button where one must go, a checkbox for each where several must.
ONE = "end"
SEVERAL = "end."


def routes(context: WebContext) -> list[Route]:
    """/login/sessions"""
    return [route(context, PATH, errors.PUBLIC, {"GET": entry.start_again, "POST": submit})]


def onward(
    context: WebContext, request: PageRequest, outcome: SignedIn | AtLimit, pending: Pending | None
) -> Response:
    """Where everything proved leads: on to the app or page that was wanted, or to this page."""
    if isinstance(outcome, AtLimit):
        return _page(context, request, outcome, pending)
    if pending is not None:
        response = back_to_authorize(context, request, pending)
    else:
        response = RedirectResponse(local_path(request.form.get("next")), 303)
    return entry.keeping(context, request, outcome, response)


def submit(context: WebContext, request: PageRequest) -> Response:
    """POST /login/sessions: "Sign out selected and continue", or "Cancel"."""
    pending = None
    if "request" in request.form:
        pending = find_pending(context, request, request.form)
        if pending is None:
            return unknown_request(context, request)
        request = speaking(request, pending)
    if request.form.get("action") == "cancel":
        return entry.cancelled(context, request, pending)
    ceremony = factor_page.ceremony_in(context, request, purpose="choose")
    if ceremony is None:
        return sign_in_page.lost(context, request, pending)
    outcome = sign_in.with_choice(
        context.work,
        ceremony=ceremony,
        giving_way=_chosen(request),
        entry=entry.at(request, pending),
        trust="device" if request.form.get("trust") == "yes" else None,
    )
    if isinstance(outcome, Rejected) and outcome.is_over:
        return sign_in_page.lost(context, request, pending)
    if isinstance(outcome, Rejected):
        refused = Refused("not_now", outcome.sentence, outcome.status)
        return errors.refuse(context, request, refused)
    if isinstance(outcome, AtLimit):
        return _page(context, request, outcome, pending, chosen=_chosen(request))
    return onward(context, request, outcome, pending)


def _chosen(request: PageRequest) -> set[str]:
    several = {name.removeprefix(SEVERAL) for name in request.form if name.startswith(SEVERAL)}
    return several | {request.form.get(ONE, "")}


def _page(
    context: WebContext,
    request: PageRequest,
    at_limit: AtLimit,
    pending: Pending | None,
    *,
    chosen: Collection[str] | None = None,
) -> Response:
    """The page; `chosen` are those that were not enough, None where nothing was chosen yet."""
    full, ceremony = at_limit.full, at_limit.ceremony
    shown = full.candidates if isinstance(full, MustChoose) else full.counted
    with context.work.read() as unit:
        running = session_view.running(unit, ceremony.user_id or "", current_id=None)
    by_id = {row.id: row for row in running}
    rows = [by_id[one] for one in shown if one in by_id]
    if isinstance(full, Blocked):
        return _refused(context, request, full, rows, pending)
    return _choice(context, request, full, ceremony, rows, pending, chosen)


def _choice(
    context: WebContext,
    request: PageRequest,
    full: MustChoose,
    ceremony: Ceremony,
    rows: list[SessionRow],
    pending: Pending | None,
    chosen: Collection[str] | None,
) -> Response:
    hidden = _hidden(context, request, pending)
    hidden[sign_in_page.NAME] = request.form.get(sign_in_page.NAME, "")[: sign_in_page.LONGEST_NAME]
    hidden[factor_page.FIELD] = ceremonies.seal(ceremony, context.work.vault)
    if request.form.get("trust") == "yes":
        hidden["trust"] = "yes"
    return context.renderer.page(
        "choose_session.html",
        language=request.language,
        status=200 if chosen is None else 409,
        form_actions=leads_to(pending) if pending is not None else (),
        action=PATH,
        hidden=hidden,
        limit=full.limit,
        rows=rows,
        sources=context.provider.atlas.attributions(),
        count=len(full.suggested),
        checked=[one for one in full.candidates if one in (chosen or ())] or full.suggested,
        app=pending.client.name if pending is not None else None,
        is_not_enough=chosen is not None,
    )


def _refused(
    context: WebContext,
    request: PageRequest,
    full: Blocked,
    rows: list[SessionRow],
    pending: Pending | None,
) -> Response:
    return context.renderer.page(
        "sessions_full.html",
        language=request.language,
        status=403,
        form_actions=leads_to(pending) if pending is not None else (),
        action=PATH,
        hidden=_hidden(context, request, pending),
        limit=full.limit,
        rows=rows,
        sources=context.provider.atlas.attributions(),
        again=entry.begin_again(request, pending).headers["location"],
        app=pending.client.name if pending is not None else None,
    )


def _hidden(context: WebContext, request: PageRequest, pending: Pending | None) -> dict[str, str]:
    hidden = {csrf.FIELD: csrf.for_browser(context.work.vault, request.browser)}
    if pending is not None:
        hidden["request"] = pending.id
    else:
        hidden["next"] = local_path(request.form.get("next"))
    hidden[entry.DEVICE] = entry.ownership(request)
    if request.form.get(entry.STAY) == "yes":
        hidden[entry.STAY] = "yes"
    return hidden

"""The sign-in page as it looks, and where a sign-in that was lost begins again.

Owns the form and its ceremony. What was typed is handed on by `idp.web.login`; the second page is
`idp.web.second_factor`.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from idp.clock import DAY, MINUTE, SECOND, Instant
from idp.oauth.pushed import Pending
from idp.sessions import ceremony as ceremonies
from idp.sessions import remember
from idp.users import passkeys
from idp.web import cookies, csrf, entry, factor_page, kept_form, session_over, visitor, welcome
from idp.web.http import PageRequest, WebContext
from idp.web.local_path import local_path
from idp.web.pending import asks_anew, back_to_authorize, leads_to
from idp.web.session_over import Over
from idp.web.visitor import Visitor
from idp.web.welcome import Look

LONGEST_NAME = 320
# The name that was typed; the second page carries it for whoever must begin again.
NAME = "username"
# One sentence whatever became of it: nothing is said of an account (BF-10).
LOST = (
    "This sign-in took longer than ten minutes, was finished already, or was begun in another "
    "browser. Please sign in again."
)


@dataclass(frozen=True, slots=True)
class Form:
    """What the page shows besides its fields."""

    name: str
    problem: str | None = None
    status: int = 200
    retry_after: int | None = None
    stays: bool = False


def lost(context: WebContext, request: PageRequest, pending: Pending | None) -> Response:
    """The answer to a form whose sign-in cannot go on: the first page, and why.

    Whoever is signed in by now, as by the same form in another tab, goes on where they wanted.
    """
    wanted = local_path(request.form.get("next"))
    if visitor.recognised(context, request) is not None:
        if pending is not None:
            return back_to_authorize(context, request, pending)
        return RedirectResponse(wanted, 303)
    name = request.form.get(NAME, "")[:LONGEST_NAME]
    form = Form(name, LOST, 400, stays=request.form.get(entry.STAY) == "yes")
    if pending is not None:
        return for_app(context, request, pending, form, None, None)
    return for_account(context, request, wanted, form, None)


def for_app(
    context: WebContext,
    request: PageRequest,
    pending: Pending,
    form: Form,
    present: Visitor | None,
    over: Over | None,
    found: Look = welcome.NOTHING,
) -> Response:
    """The page for an app's request; `present` is who is signed in and must prove it again."""
    return _page(
        context,
        request,
        form,
        action="/login",
        hidden={"request": pending.id},
        app=pending.client.name,
        present=present.user.username if present is not None else None,
        over=over,
        ends_at=None,
        found=found,
        form_actions=leads_to(pending),
        # Whoever must prove themselves anew is not let in by what was proved elsewhere before.
        offers_handoff=present is None and not asks_anew(pending),
    )


def for_account(
    context: WebContext,
    request: PageRequest,
    wanted: str,
    form: Form,
    over: Over | None,
    found: Look = welcome.NOTHING,
    *,
    ends_at: Instant | None = None,
) -> Response:
    """The page for our own ones; `wanted` is where it leads, `ends_at` the end of a last minute."""
    return _page(
        context,
        request,
        form,
        action=visitor.SIGN_IN,
        hidden={"next": wanted},
        app=None,
        present=None,
        over=over,
        ends_at=ends_at,
        found=found,
        form_actions=(),
        offers_handoff=ends_at is None,
    )


def _page(
    context: WebContext,
    request: PageRequest,
    form: Form,
    *,
    action: str,
    hidden: dict[str, str],
    app: str | None,
    present: str | None,
    over: Over | None,
    ends_at: Instant | None,
    found: Look,
    form_actions: tuple[str, ...],
    offers_handoff: bool,
) -> Response:
    # Bound to the browser, whose number a first visit is given with this very answer.
    ceremony = ceremonies.begin(
        context.work.clock.now(), purpose="sign_in", browser_hash=request.browser_hash
    )
    # Only an offer, by the rules as this process knows them: they are read again when it is taken.
    lasts = remember.allowed_by(context.provider.rules.current(), request.visit)
    response = context.renderer.page(
        "login.html",
        language=request.language,
        status=form.status,
        form_actions=form_actions,
        action=action,
        hidden={
            **hidden,
            csrf.FIELD: csrf.for_browser(context.work.vault, request.browser),
            factor_page.FIELD: ceremonies.seal(ceremony, context.work.vault),
        },
        options=passkeys.options_for_anybody(
            context.settings, challenge=ceremonies.challenge(ceremony, context.work.vault)
        ),
        # Where a page that stays open gets its next ceremony, and after how many seconds.
        renewed_at=f"{action}?{urlencode({**hidden, welcome.OTHER: 'other'})}",
        renewed_after=(ceremonies.LIFETIME - MINUTE) // SECOND,
        app=app,
        present=present,
        over=over,
        words=session_over.in_words(over, request.language) if over is not None else None,
        ends_at=ends_at,
        is_kept=hidden.get("next", "").startswith(kept_form.PATH),
        is_copied=found.is_copied,
        username=form.name,
        is_shared=entry.ownership(request) == "shared",
        problem=form.problem,
        # Whoever only proves again who they are has said already whether they stay.
        stay_days=lasts // DAY if present is None else 0,
        stays=form.stays,
        offers_handoff=offers_handoff,
    )
    if found.is_worthless:
        cookies.forget_remembered(response, context.settings)
    if form.retry_after is not None:
        response.headers["Retry-After"] = str(form.retry_after)
    return response

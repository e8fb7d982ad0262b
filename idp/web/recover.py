"""Forgotten password: asking for a link (/recover) and setting a new one with it (/recover/reset).

Owns the two pages. Whoever asks gets one answer for every name, after the same work: the question
is noted, and answered by the worker (`idp.notify.recovery`). A reset opens no session and proves
nothing: the person signs in afterwards, with their second factor if they have one (ASVS 6.4.3).
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.events.actor import Actor
from idp.notify import mailed_links, recovery
from idp.sessions import lifecycle
from idp.storage.unit_of_work import UnitOfWork
from idp.users import passwords, queries, throttle, trusted_devices
from idp.users.model import User
from idp.users.passwords import SecondFactor
from idp.users.throttle import Refusal
from idp.web import csrf, errors, links, new_password, visitor
from idp.web.http import PageRequest, WebContext, route
from idp.web.links import Opened
from idp.web.new_password import Problem


def routes(context: WebContext) -> list[Route]:
    """/recover and /recover/reset."""
    return [
        route(context, links.RECOVER, errors.PUBLIC, {"GET": show_question, "POST": ask}),
        route(context, mailed_links.RESET, errors.PUBLIC, {"GET": show_reset, "POST": reset}),
    ]


def show_question(context: WebContext, request: PageRequest) -> Response:
    """GET /recover"""
    return _question(context, request, None)


def ask(context: WebContext, request: PageRequest) -> Response:
    """POST /recover: the same for everybody."""
    with context.work.begin() as unit:
        counted = throttle.reserve_address(unit, ip=request.visit.ip)
        if not isinstance(counted, Refusal):
            name = request.form.get("identifier", "")
            recovery.ask(unit, name, language=request.language)
    if isinstance(counted, Refusal):
        sentence = "Too many requests came from your network. Please wait a while and try again."
        return _question(context, request, Problem(sentence, 429, counted.retry_after))
    return context.renderer.page(
        "recover_asked.html",
        language=request.language,
        status=202,
        minutes=context.settings.links.reset // 60,
    )


def show_reset(context: WebContext, request: PageRequest) -> Response:
    """GET /recover/reset?token=…: shows who it is for, and changes nothing."""
    with context.work.read() as unit:
        opened = links.find(unit, request.query, "reset_password")
        if opened is None:
            return links.dead(context, request, "reset_password")
        second_factor = new_password.second_factor_of(unit, opened.user)
    return _reset_page(context, request, opened, second_factor, None)


def reset(context: WebContext, request: PageRequest) -> Response:
    """POST /recover/reset: uses the link up, or shows why the password is refused."""
    with context.work.read() as unit:
        opened = links.find(unit, request.form, "reset_password")
        if opened is None:
            return links.dead(context, request, "reset_password")
        second_factor = new_password.second_factor_of(unit, opened.user)
    chosen = new_password.chosen(
        context, request, words=new_password.words_of(opened.user), second_factor=second_factor
    )
    if isinstance(chosen, Problem):
        return _reset_page(context, request, opened, second_factor, chosen)
    with context.work.begin() as unit:
        user = links.use(unit, opened, "reset_password")
        if user is not None:
            _carry_out(unit, user, chosen.encoded, request)
    if user is None:
        return links.dead(context, request, "reset_password")
    return RedirectResponse(visitor.SIGN_IN, 303)


def _carry_out(unit: UnitOfWork, user: User, encoded: str, request: PageRequest) -> None:
    actor = Actor("user", user.id)
    queries.set_password(unit, user, encoded, actor, ip=request.visit.ip)
    if user.email is not None and not user.email_verified:
        # The link went to this address: a change of it would have voided the link.
        queries.mark_email_verified(unit, user, actor)
    # A mailbox and a borrowed computer must not be enough: the second factor is asked for everywhere.
    trusted_devices.forget_all(unit, user.id, actor)
    # Whoever guessed at the old password has spent nothing of the new one.
    throttle.forgive(unit, user_id=user.id)
    if request.form.get("end_others") == "yes":
        here = lifecycle.resume(unit, request.session_secret)
        keeping = here.id if here is not None and here.user_id == user.id else None
        lifecycle.end_all_of(unit, user.id, reason="password_changed", actor=actor, keeping=keeping)


def _question(context: WebContext, request: PageRequest, problem: Problem | None) -> Response:
    response = context.renderer.page(
        "recover.html",
        language=request.language,
        status=problem.status if problem else 200,
        csrf=csrf.for_browser(context.work.vault, request.browser),
        identifier=request.form.get("identifier", "")[: recovery.LONGEST_NAME],
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response


def _reset_page(
    context: WebContext,
    request: PageRequest,
    opened: Opened,
    second_factor: SecondFactor,
    problem: Problem | None,
) -> Response:
    response = context.renderer.page(
        "reset.html",
        language=request.language,
        status=problem.status if problem else 200,
        csrf=csrf.for_browser(context.work.vault, request.browser),
        token=opened.token,
        username=opened.user.username,
        minimum=passwords.minimum_length(context.settings, second_factor),
        end_others=request.method != "POST" or request.form.get("end_others") == "yes",
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response

"""/setup: the first administrator makes their account, once, by a link the server printed.

There are no default accounts (ASVS 6.3.2): whoever reads the server's terminal is the administrator.
As soon as there is a user, every such link is dead, however many were printed.
"""

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.events.actor import Actor
from idp.notify import mailed_links
from idp.policy import management
from idp.sessions import beginning
from idp.sessions.prove import PASSWORD
from idp.storage.unit_of_work import UnitOfWork
from idp.users import links as action_links
from idp.users import passwords, queries, roles
from idp.users.model import User
from idp.web import cookies, csrf, errors, links, new_password
from idp.web.http import PageRequest, WebContext, route
from idp.web.new_password import Problem

# Where they see themselves signed in, and what to do next.
AFTERWARDS = "/admin"
LONGEST_NAME = 320
_ACTOR = Actor("admin", "setup")


def routes(context: WebContext) -> list[Route]:
    """/setup."""
    return [route(context, mailed_links.SET_UP, errors.PUBLIC, {"GET": show, "POST": set_up})]


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /setup?token=…"""
    with context.work.read() as unit:
        is_open = _is_open(unit, request.query.get(links.FIELD, ""))
    return _page(context, request, None) if is_open else links.dead(context, request, "set_up")


def set_up(context: WebContext, request: PageRequest) -> Response:
    """POST /setup: makes the account, signs in, and goes on to the administrators' pages."""
    token = request.form.get(links.FIELD, "")
    with context.work.read() as unit:
        is_open = _is_open(unit, token)
    if not is_open:
        return links.dead(context, request, "set_up")
    words = [request.form.get("username", ""), request.form.get("email", "")]
    chosen = new_password.chosen(context, request, words=[word[:LONGEST_NAME] for word in words])
    if isinstance(chosen, Problem):
        return _page(context, request, chosen)
    try:
        with context.work.begin() as unit:
            secret = _carry_out(unit, request, token, chosen.encoded)
    except Refused as refused:
        return _page(context, request, Problem(refused.sentence, refused.status))
    if secret is None:
        return links.dead(context, request, "set_up")
    response = RedirectResponse(AFTERWARDS, 303)
    cookies.keep_session(response, context.settings, secret)
    return response


def _is_open(unit: UnitOfWork, token: str) -> bool:
    link = action_links.look(unit, token, "set_up")
    return link is not None and not queries.listed(unit, limit=1)


def _carry_out(unit: UnitOfWork, request: PageRequest, token: str, encoded: str) -> str | None:
    """Makes the account and its first session; gives the session's secret."""
    if not unit.is_sqlite:
        # Of two that set up at one moment the second must see the first one's user. On SQLite there
        # is one writer.
        unit.connection.exec_driver_sql("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    if not _is_open(unit, token) or action_links.use(unit, token, "set_up") is None:
        return None
    email = request.form.get("email", "")
    if not email.strip():
        raise Refused("invalid_email", "An e-mail address is needed to recover the account by.")
    roles.ensure(unit)
    user = queries.create_user(
        unit,
        username=request.form.get("username", ""),
        email=email,
        password_hash=encoded,
        roles=[management.ADMINISTRATOR],
        actor=_ACTOR,
    )
    _verify(unit, user, request.language)
    started = beginning.start(unit, user, [PASSWORD], request.visit)
    if isinstance(started, beginning.Started):
        return started.secret
    raise RuntimeError("somebody who was made just now is at no limit")


def _verify(unit: UnitOfWork, user: User, language: str) -> None:
    if user.email is not None:
        actor = Actor("user", user.id)
        mailed_links.mail_verification(unit, user, user.email, language=language, actor=actor)


def _page(context: WebContext, request: PageRequest, problem: Problem | None) -> Response:
    given = request.form if request.method == "POST" else request.query
    response = context.renderer.page(
        "setup.html",
        language=request.language,
        status=problem.status if problem else 200,
        csrf=csrf.for_browser(context.work.vault, request.browser),
        token=given.get(links.FIELD, ""),
        username=request.form.get("username", "")[:LONGEST_NAME],
        email=request.form.get("email", "")[:LONGEST_NAME],
        minimum=passwords.minimum_length(context.settings, "none"),
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response

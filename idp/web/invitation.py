"""/invitation: somebody an administrator invited chooses their first password.

The link came by mail, so the address is theirs. It opens no session: the person signs in, and is led
to where they can add a passkey.
"""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.events.actor import Actor
from idp.notify import mailed_links
from idp.users import passwords, queries
from idp.web import csrf, errors, links, new_password, visitor
from idp.web.http import PageRequest, WebContext, route
from idp.web.links import Opened
from idp.web.new_password import Problem

AFTERWARDS = "/account/security"


def routes(context: WebContext) -> list[Route]:
    """/invitation."""
    return [route(context, mailed_links.INVITATION, errors.PUBLIC, {"GET": show, "POST": accept})]


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /invitation?token=…"""
    with context.work.read() as unit:
        opened = links.find(unit, request.query, "invitation")
    if opened is None:
        return links.dead(context, request, "invitation")
    return _page(context, request, opened, None)


def accept(context: WebContext, request: PageRequest) -> Response:
    """POST /invitation"""
    with context.work.read() as unit:
        opened = links.find(unit, request.form, "invitation")
    if opened is None:
        return links.dead(context, request, "invitation")
    chosen = new_password.chosen(context, request, words=new_password.words_of(opened.user))
    if isinstance(chosen, Problem):
        return _page(context, request, opened, chosen)
    with context.work.begin() as unit:
        user = links.use(unit, opened, "invitation")
        if user is not None:
            actor = Actor("user", user.id)
            queries.set_password(unit, user, chosen.encoded, actor, ip=request.visit.ip)
            if not user.email_verified:
                queries.mark_email_verified(unit, user, actor)
    if user is None:
        return links.dead(context, request, "invitation")
    return RedirectResponse(f"{visitor.SIGN_IN}?{urlencode({'next': AFTERWARDS})}", 303)


def _page(
    context: WebContext, request: PageRequest, opened: Opened, problem: Problem | None
) -> Response:
    response = context.renderer.page(
        "invitation.html",
        language=request.language,
        status=problem.status if problem else 200,
        csrf=csrf.for_browser(context.work.vault, request.browser),
        token=opened.token,
        username=opened.user.username,
        minimum=passwords.minimum_length(context.settings, "none"),
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response

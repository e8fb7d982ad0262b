"""/verify-email: a person shows that they read mail at an address, and it becomes theirs.

The page names the account, because a link may have been asked for by somebody else: whoever confirms
an address for a stranger's account gives it away.
"""

from starlette.responses import Response
from starlette.routing import Route

from idp.events.actor import Actor
from idp.notify import mailed_links
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries
from idp.users.model import User
from idp.web import csrf, errors, links
from idp.web.http import PageRequest, WebContext, route


def routes(context: WebContext) -> list[Route]:
    """/verify-email."""
    return [route(context, mailed_links.VERIFY, errors.PUBLIC, {"GET": show, "POST": confirm})]


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /verify-email?token=…"""
    with context.work.read() as unit:
        opened = links.find(unit, request.query, "verify_email")
    if opened is None:
        return links.dead(context, request, "verify_email")
    return context.renderer.page(
        "verify_email.html",
        language=request.language,
        csrf=csrf.for_browser(context.work.vault, request.browser),
        token=opened.token,
        username=opened.user.username,
        email=opened.link.data["email"],
    )


def confirm(context: WebContext, request: PageRequest) -> Response:
    """POST /verify-email; raises `Refused` when the address became somebody else's meanwhile."""
    with context.work.begin() as unit:
        opened = links.find(unit, request.form, "verify_email")
        user = links.use(unit, opened, "verify_email") if opened is not None else None
        if opened is not None and user is not None:
            _make_theirs(unit, user, opened.link.data["email"], request.visit.ip)
    if opened is None or user is None:
        return links.dead(context, request, "verify_email")
    return context.renderer.page(
        "email_verified.html", language=request.language, email=opened.link.data["email"]
    )


def _make_theirs(unit: UnitOfWork, user: User, email: str, ip: str | None) -> None:
    actor = Actor("user", user.id)
    if user.email != email:
        queries.set_email(unit, user, email, actor, ip=ip)
    if not user.email_verified:
        queries.mark_email_verified(unit, user, actor)

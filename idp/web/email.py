"""/account/security/email: asking for another e-mail address, or for the present one to be verified.

Nothing changes here: a link goes to the new address, and using it is the change (`verify_email`). A
taken address gets the same answer and the same mail as a free one, so that nobody can try out who
has an account; its link then fails.
"""

from starlette.responses import Response
from starlette.routing import Route

from idp.errors import Refused
from idp.events.catalogue import EmailChangeAsked
from idp.notify import mailed_links
from idp.notify.recovery import LONGEST_NAME
from idp.users import links, names
from idp.users.model import User
from idp.web.factor_changes import by, changing
from idp.web.http import PageRequest, WebContext
from idp.web.new_password import Problem
from idp.web.visitor import Visitor, visitor_route

PATH = "/account/security/email"
AN_HOUR = 3_600
IS_USERNAME = "Your present address is also your user name, which must be changed first."


def routes(context: WebContext) -> list[Route]:
    """/account/security/email."""
    return [visitor_route(context, PATH, {"GET": show, "POST": submit}, operation="change_email")]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /account/security/email"""
    return _page(context, request, visitor, None)


def submit(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /account/security/email"""
    try:
        email = names.email(request.form.get("email", ""))
    except Refused as refused:
        return _page(context, request, visitor, Problem(refused.sentence, refused.status))
    with context.work.begin() as unit:
        user = changing(unit, visitor, "change_email")
        if _is_theirs(user, email):
            return _page(context, request, visitor, Problem("This is your address already."))
        name = names.canonical(user.username)
        if "@" in name and name != names.canonical(email):
            return _page(context, request, visitor, Problem(IS_USERNAME, 409))
        sent = links.made_within(unit, user.id, "verify_email")
        if sent < mailed_links.MOST_AN_HOUR:
            actor = by(visitor)
            if user.email is not None and names.canonical(user.email) != names.canonical(email):
                unit.record(
                    EmailChangeAsked(
                        actor=actor.kind,
                        actor_id=actor.id,
                        user_id=user.id,
                        session_id=visitor.session.id,
                        ip=request.visit.ip,
                    )
                )
            mailed_links.mail_verification(
                unit, user, email, language=request.language, actor=actor
            )
    if sent >= mailed_links.MOST_AN_HOUR:
        sentence = "We sent you several mails already. Please wait an hour and try again."
        return _page(context, request, visitor, Problem(sentence, 429, AN_HOUR))
    return context.renderer.page(
        "email_asked.html",
        language=request.language,
        status=202,
        email=email,
        hours=max(1, context.settings.links.verify // AN_HOUR),
    )


def _is_theirs(user: User, email: str) -> bool:
    return (
        user.email is not None
        and bool(user.email_verified)
        and names.canonical(user.email) == names.canonical(email)
    )


def _page(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Problem | None
) -> Response:
    response = context.renderer.page(
        "email.html",
        language=request.language,
        status=problem.status if problem else 200,
        action=PATH,
        visitor=visitor,
        csrf=visitor.csrf,
        present=visitor.user.email,
        is_verified=bool(visitor.user.email_verified),
        email=request.form.get("email", "")[:LONGEST_NAME],
        problem=problem.sentence if problem else None,
    )
    return problem.said_in(response) if problem else response

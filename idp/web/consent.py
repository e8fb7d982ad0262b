"""The page that asks whether an app may have what it asks for.

Owns showing the question and recording the answer for the one request it belongs to. Which scopes
need asking, and what becomes of the answer, /authorize decides.
"""

from starlette.responses import Response
from starlette.routing import Route

from idp.oauth import claims, consent, pushed
from idp.oauth.pushed import Pending
from idp.web import elevation
from idp.web.http import PageRequest, WebContext
from idp.web.pending import (
    back_to_authorize,
    find_pending,
    leads_to,
    speaking,
    unknown_request,
)
from idp.web.session_view import hue
from idp.web.visitor import Visitor, visitor_route


def routes(context: WebContext) -> list[Route]:
    """/consent."""
    return [
        visitor_route(
            context, "/consent", {"GET": show, "POST": answer}, otherwise=nobody_signed_in
        )
    ]


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /consent?request=…"""
    pending = find_pending(context, request, request.query)
    if pending is None:
        return unknown_request(context, request)
    request = speaking(request, pending)
    if not elevation.is_proved(visitor.session):
        # /authorize leads to a proof first; whoever comes here past it goes back there.
        return back_to_authorize(context, request, pending)
    return context.renderer.page(
        "consent.html",
        language=request.language,
        form_actions=leads_to(pending),
        pending=pending,
        app=pending.client,
        username=visitor.user.username,
        hue=hue(pending.client.id),
        scopes=asked_for(pending),
        csrf=visitor.csrf,
        theme=visitor.session.theme,
    )


def answer(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /consent: the buttons "Allow" and "Deny"; whatever is not "allow" denies."""
    pending = find_pending(context, request, request.form)
    if pending is None:
        return unknown_request(context, request)
    request = speaking(request, pending)
    session = visitor.session
    if request.form.get("action") == "allow" and not elevation.is_proved(session):
        return back_to_authorize(context, request, pending)
    with context.work.begin() as unit:
        if request.form.get("action") == "allow":
            consent.grant(
                unit,
                user_id=session.user_id,
                session_id=session.id,
                client_id=pending.client.id,
                scope=" ".join(asked_for(pending)),
            )
            pushed.note_consent(unit, pending.id, session.id)
        else:
            consent.deny(
                unit,
                user_id=session.user_id,
                session_id=session.id,
                client_id=pending.client.id,
            )
            pushed.note_denial(unit, pending.id)
    return back_to_authorize(context, request, pending)


def nobody_signed_in(context: WebContext, request: PageRequest) -> Response:
    """Nobody is signed in (any more): /authorize knows what to do about that."""
    fields = request.query if request.method in ("GET", "HEAD") else request.form
    pending = find_pending(context, request, fields)
    if pending is None:
        return unknown_request(context, request)
    request = speaking(request, pending)
    return back_to_authorize(context, request, pending)


def asked_for(pending: Pending) -> list[str]:
    """The scopes of the request that its app may ask for at all, in the order it asked."""
    client = pending.client
    allowed = set(client.scope.split())
    if "refresh_token" not in client.grant_types:
        allowed.discard("offline_access")
    singly = claims.parse_parameter(pending.parameters.get("claims", "{}")) or {}
    asked = [*pending.parameters.get("scope", "openid").split(), *claims.behind(singly)]
    return list(dict.fromkeys(scope for scope in asked if scope in allowed))

"""RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).

An ID token of ours that names the session is the app's proof that it was party to it: the session
ends at once, and the browser goes back where the app has registered. Without that proof, or when
the browser belongs to somebody else by now, a person is asked first, and nobody is sent anywhere
that a hint does not vouch for (LO-07, LO-08). This GET changes state only for whoever holds the
hint: the specification has apps come by GET.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.errors import Refused
from idp.events.actor import Actor
from idp.oauth import clients, id_token
from idp.oauth.authorize import add_to_query
from idp.oauth.model import Client
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.web import cookies, csrf, errors, signed_out, visitor, welcome
from idp.web.http import FORM, Kind, PageRequest, WebContext, route
from idp.web.onward import lead_on
from idp.web.visitor import Visitor

PARAMETERS = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales")
STATE_MAXIMUM = 4_096


def routes(context: WebContext) -> list[Route]:
    """/logout, the `end_session_endpoint`."""
    kind = Kind(FORM, _no_guard, errors.refuse)
    return [route(context, "/logout", kind, {"GET": logout, "POST": submit})]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A logout request that was read and holds together."""

    values: dict[str, str]
    client: Client | None
    hint: dict[str, Any] | None
    # Where to go afterwards; only with a hint, only to a registered address, byte for byte.
    onward: str | None


def logout(context: WebContext, request: PageRequest) -> Response:
    """GET /logout: ends what the hint proves, asks about anything else."""
    if request.method == "HEAD":
        # Who only looks at a link, as scanners of mail do, signs nobody out.
        return Response(status_code=405, headers={"Allow": "GET, POST"})
    present = visitor.recognised(context, request)
    with context.work.begin() as unit:
        asked = _read(context, unit, dict(request.query))
        session = present.session if present is not None else None
        if asked.hint is not None and session is None:
            # The cookie is gone, the session may not be: the hint names it and its person.
            session = unit.orm.get(Session, asked.hint["sid"])
            if session is None or session.user_id != asked.hint["sub"]:
                return _finish(context, request, asked)
        if session is None:
            return _finish(context, request, asked)
        if not _proves(asked, session):
            return _confirm(context, asked, present)
        by = Actor("client", asked.client.id if asked.client else None)
        lifecycle.end(unit, [session.id], reason="client_logout", actor=by)
    return _finish(context, request, asked)


def submit(context: WebContext, request: PageRequest) -> Response:
    """POST /logout: an app's request by POST, or the answer to our own question."""
    if csrf.FIELD not in request.form:
        # From another site the session's cookie does not come with a POST; with a GET it does.
        values = {name: request.form[name] for name in PARAMETERS if name in request.form}
        return RedirectResponse(f"/logout?{urlencode(values)}", 303)
    csrf.require_same_origin(request.headers, context.settings)
    present = visitor.recognised(context, request)
    with context.work.begin() as unit:
        asked = _read(context, unit, dict(request.form))
        if present is not None:
            csrf.require_session(context.work.vault, request.form, present.session)
            actor = Actor("user", present.user.id)
            lifecycle.end(unit, [present.session.id], reason="signed_out", actor=actor)
    return _finish(context, request, asked)


def _read(context: WebContext, unit: UnitOfWork, values: dict[str, str]) -> _Asked:
    hint = None
    if values.get("id_token_hint"):
        hint = id_token.read_hint(
            values["id_token_hint"],
            issuer=context.settings.issuer,
            keyring=context.provider.keyring,
        )
        if hint is None:
            raise Refused(
                "invalid_id_token_hint",
                "The app sent a sign-out request that this provider did not issue. "
                "You are still signed in.",
            )
    client_id = values.get("client_id") or (hint or {}).get("aud")
    if hint is not None and client_id != hint["aud"]:
        raise Refused(
            "invalid_request", "The app sent a sign-out request that belongs to another app."
        )
    client = clients.by_id(unit, client_id) if client_id else None
    return _Asked(values, client, hint, _onward(values, client, hint))


def _onward(
    values: dict[str, str], client: Client | None, hint: dict[str, Any] | None
) -> str | None:
    wanted = values.get("post_logout_redirect_uri")
    if not wanted or client is None or client.disabled_at is not None:
        return None
    if wanted not in client.post_logout_redirect_uris:
        raise Refused(
            "invalid_post_logout_redirect_uri",
            "The app asked to send you to an address it has not registered. "
            "You are still signed in.",
        )
    if hint is None:
        return None
    state = values.get("state")
    if state and len(state) <= STATE_MAXIMUM:
        return add_to_query(wanted, [("state", state)])
    return wanted


def _proves(asked: _Asked, session: Session) -> bool:
    """Whether the hint was issued in this very session."""
    hint = asked.hint
    return hint is not None and hint["sid"] == session.id and hint["sub"] == session.user_id


def _confirm(context: WebContext, asked: _Asked, present: Visitor | None) -> Response:
    if present is None:
        raise RuntimeError("only a signed-in person is asked")
    kept = {name: value for name, value in asked.values.items() if name in PARAMETERS}
    return context.renderer.page(
        "logout_confirm.html",
        language=present.language,
        theme=present.session.theme,
        form_actions=[asked.onward] if asked.onward else [],
        action="/logout",
        hidden={**kept, csrf.FIELD: present.csrf},
        app=asked.client.name if asked.client else None,
        username=present.user.username,
    )


def _finish(context: WebContext, request: PageRequest, asked: _Asked) -> Response:
    response: Response
    if asked.onward is not None and asked.client is not None:
        response = lead_on(context, request, asked.onward, app=asked.client.name)
    else:
        response = RedirectResponse(signed_out.PATH, 303)
    cookies.forget_session(response, context.settings)
    welcome.take_back(context, request, response)
    return response


def _no_guard(context: WebContext, request: PageRequest) -> None:
    """POST is guarded in `submit`: apps may post here too, and are answered with a GET."""

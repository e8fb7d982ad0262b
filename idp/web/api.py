"""The self-service API (row K5): a person's sessions, for apps they allowed that.

A bearer token with the scope `sessions` speaks for one person and one session. Of that very session
every app may know the deadlines and may extend it (`current`, scope `openid`): its refresh token does
as much. The rules are those
of the account page: only one's own, the truth about what ended, nothing without a name for it.
Errors are problems (RFC 9457); what is unknown is refused, not ignored. Ending the own session, or
all the others at once, needs a fresh proof, asked for as RFC 9470 section 3 says.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from idp.clock import Instant, to_rfc3339
from idp.errors import Refused
from idp.events.actor import Actor
from idp.oauth import protected
from idp.oauth.protected import Caller
from idp.oauth.userinfo import bearer_token
from idp.policy import assurance
from idp.policy.assurance import Demand
from idp.sessions import endings, epoch, life, lifecycle, marks, naming, queries
from idp.sessions.model import Session
from idp.sessions.place import Place
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User
from idp.web import elevation, json_api, own_rules, receipts, session_view
from idp.web.http import Handler, PageRequest, WebContext
from idp.web.own_rules import OwnLimit
from idp.web.session_view import SessionRow

PATH = "/api/v1/users/sessions"
SCOPE = "sessions"
_SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")

ApiHandler = Callable[[WebContext, PageRequest, Caller], Response]


def routes(context: WebContext) -> list[Route]:
    """Everything under /api/v1/users/sessions."""
    return [
        _api_route(context, PATH, {"GET": list_sessions}),
        _api_route(context, f"{PATH}/revoke-all", {"POST": revoke_all}),
        _api_route(context, f"{PATH}/current", {"GET": show_current}, scope="openid"),
        _api_route(context, f"{PATH}/current/extend", {"POST": extend_current}, scope="openid"),
        _api_route(context, f"{PATH}/{{id}}/extend", {"POST": extend}),
        _api_route(context, f"{PATH}/{{id}}", {"PATCH": change, "DELETE": end}),
    ]


def list_sessions(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """GET: the running sessions, the present one first."""
    _takes_no_body(request)
    book = context.provider.rules.current()
    with context.work.read() as unit:
        rows = session_view.running(unit, caller.user_id, current_id=caller.session_id)
        own = own_rules.of(
            unit,
            book,
            unit.orm.get_one(Session, caller.session_id),
            roles=unit.orm.get_one(User, caller.user_id).roles,
        )
    return json_api.answer(
        {
            "sessions": [_shown(row) for row in rows],
            "limits": [_limit(one) for one in own.limits],
        }
    )


def show_current(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """GET: when the session of the token ends. No activity: asking keeps nobody signed in."""
    _takes_no_body(request)
    with context.work.read() as unit:
        session = unit.orm.get_one(Session, caller.session_id)
        if not life.is_alive(unit, session.id):  # of a grant that has outlived it
            raise _over(unit, session)
        return json_api.answer(_deadlines(session, unit.now))


def extend_current(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """POST: "stay signed in", for an app that warns its person before the idle deadline."""
    if request.body and json_api.object_of(request.body):
        raise Refused("invalid_field", "This request takes no members.", 400)
    with context.work.begin() as unit:
        session = unit.orm.get_one(Session, caller.session_id)
        if not lifecycle.extend(unit, session, _actor(caller)):
            raise _over(unit, session)
        return json_api.answer(_deadlines(session, unit.now))


def change(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """PATCH {"name": …, "kept": …}: either or both; needs a proof of any age.

    A name that is null or "" brings the default back.
    """
    body = json_api.object_of(request.body)
    if not body or not set(body) <= {"name", "kept"}:
        raise Refused("invalid_field", "The body must have “name” or “kept”, or both.", 400)
    name, kept = body.get("name"), body.get("kept", False)
    if name is not None and not isinstance(name, str):
        raise Refused("invalid_field", "“name” must be a text or null.", 400)
    if not isinstance(kept, bool):
        raise Refused("invalid_field", "“kept” must be true or false.", 400)
    with context.work.begin() as unit:
        session = _own(unit, caller, request.params["id"])
        _require_any_proof(caller)
        if not life.is_alive(unit, session.id):
            raise _over(unit, session)
        if "name" in body:
            naming.rename(unit, session, name or "", _actor(caller))
        if "kept" in body:
            mark = marks.keep if kept else marks.let_go
            mark(unit, session, _actor(caller))
    with context.work.read() as unit:
        for row in session_view.running(unit, caller.user_id, current_id=caller.session_id):
            if row.id == session.id:
                return json_api.answer(_shown(row))
        raise _over(unit, unit.orm.get_one(Session, session.id))


def extend(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """POST: "stay signed in", for apps that warn before the idle deadline."""
    if request.body and json_api.object_of(request.body):
        raise Refused("invalid_field", "This request takes no members.", 400)
    with context.work.begin() as unit:
        session = _own(unit, caller, request.params["id"])
        if session.id != caller.session_id:
            _require_any_proof(caller)
        if not lifecycle.extend(unit, session, _actor(caller)):
            raise _over(unit, session)
        deadline = session.idle_at
    return json_api.answer({"id": session.id, "idle_expires_at": to_rfc3339(deadline)})


def end(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """DELETE: ends one session; its tokens are dead when the answer is sent.

    The own one needs a fresh proof; for another one any will do, because a lost device cannot wait.
    """
    _takes_no_body(request)
    with context.work.begin() as unit:
        session = _own(unit, caller, request.params["id"])
        if session.id == caller.session_id:
            _require_fresh_proof(unit, caller)
        else:
            _require_any_proof(caller)
        ended = lifecycle.end(unit, [session.id], reason="signed_out", actor=_actor(caller))
    return _result(context, ended)


def revoke_all(context: WebContext, request: PageRequest, caller: Caller) -> Response:
    """POST: ends every session but the one the token belongs to, and stray offline grants.

    Needs a fresh proof.
    """
    if request.body and json_api.object_of(request.body):
        raise Refused("invalid_field", "This request takes no members.", 400)
    with context.work.begin() as unit:
        _require_fresh_proof(unit, caller)
        ended = lifecycle.end_all_of(
            unit,
            caller.user_id,
            reason="signed_out_everywhere",
            actor=_actor(caller),
            keeping=caller.session_id,
        )
    return _result(context, ended)


def _api_route(
    context: WebContext, path: str, handlers: Mapping[str, ApiHandler], *, scope: str = SCOPE
) -> Route:
    return json_api.api_route(
        context, path, {method: _for_caller(one, scope) for method, one in handlers.items()}
    )


def _for_caller(handler: ApiHandler, scope: str) -> Handler:
    def answer(context: WebContext, request: PageRequest) -> Response:
        token = bearer_token(request.headers)
        caller = protected.authenticate(context.provider, token, scope=scope)
        if request.query:
            raise Refused("invalid_parameter", "This address takes no parameters.", 400)
        return handler(context, request, caller)

    return answer


def _require_fresh_proof(unit: UnitOfWork, caller: Caller) -> None:
    demand = elevation.demand(unit, caller.user_id, "end_everything")
    protected.require_proof(caller, demand, max_age=unit.settings.assurance.elevation)


def _require_any_proof(caller: Caller) -> None:
    protected.require_proof(caller, Demand(assurance.PROVED), max_age=None)


def _deadlines(session: Session, now: Instant) -> dict[str, str]:
    return {
        "id": session.id,
        "now": to_rfc3339(now),
        "idle_expires_at": to_rfc3339(min(session.idle_at, session.expires_at)),
        "expires_at": to_rfc3339(session.expires_at),
    }


def _shown(row: SessionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "default_name": row.default_name,
        "device": {"type": row.device_type, "browser": row.browser, "os": row.os},
        "current": row.is_current,
        "kept": row.is_kept,
        "on_trusted_device": row.is_on_trusted_device,
        "origin": row.origin,
        "ip": row.ip,
        "place": _place(row.place),
        "created_at": to_rfc3339(row.created_at),
        "last_active_at": to_rfc3339(row.last_active_at),
        "idle_expires_at": to_rfc3339(min(row.idle_at, row.expires_at)),
        "expires_at": to_rfc3339(row.expires_at),
        "method": row.method,
        "acr": row.acr,
        "remembered": row.is_remembered,
        "apps": [
            {
                "client_id": app.client_id,
                "name": app.name,
                "state": "active" if app.is_active else "ended",
            }
            for app in row.apps
        ],
    }


def _limit(own: OwnLimit) -> dict[str, Any]:
    """A limit; the selectors it counts by are left out where it counts all sessions."""
    limit = own.limit
    return {
        "maximum": limit.maximum,
        "used": own.used,
        "at_limit": limit.at_limit,
        "per": limit.per,
        **limit.kind,
    }


def _place(place: Place) -> dict[str, str | None] | None:
    """Where the address is, as far as it is known; approximate by nature."""
    shown = ("country", "region", "city", "network")
    if not place.gives.intersection(shown):
        return None
    return {name: getattr(place, name) for name in shown}


def _result(context: WebContext, ended: list[str]) -> Response:
    with context.work.read() as unit:
        apps = receipts.apps_told(unit, ended)
    return json_api.answer(
        {
            "ended": ended,
            "apps": [
                {"client_id": app.client_id, "name": app.name, "state": app.state} for app in apps
            ],
        }
    )


def _own(unit: UnitOfWork, caller: Caller, session_id: str) -> Session:
    session = (
        queries.one_of(unit, caller.user_id, session_id)
        if _SESSION_ID.fullmatch(session_id)
        else None
    )
    if session is None:
        raise Refused("session_not_found", "There is no such session of yours.", 404)
    return session


def _over(unit: UnitOfWork, session: Session) -> Refused:
    unit.orm.refresh(session)
    end = life.end_of(session, epoch.present(unit), unit.now)
    if end is None:
        # A node whose clock is a little behind had it go on since the caller looked.
        return Refused(
            "session_changed", "This session was changed meanwhile. Please ask again.", 409
        )
    return Refused(
        "session_ended",
        endings.told_to_app(end.reason),
        409,
        members={"reason": end.reason, "ended_at": to_rfc3339(life.met_at(session, end))},
    )


def _actor(caller: Caller) -> Actor:
    return Actor("user", caller.session_id)


def _takes_no_body(request: PageRequest) -> None:
    if request.body:
        raise Refused("invalid_field", "This request takes no body.", 400)

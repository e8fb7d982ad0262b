"""/register: where apps register themselves, and each manages what it registered.

Owns the wire: bearer token, JSON in and out, errors as RFC 7591 section 3.2.2 spells them. There is no
such address unless the deployment wants it (`IDP_REGISTRATION`). What may be said is decided by
`idp.oauth.registration`. Specs: RFC 7591 section 3, RFC 7592 section 2, RFC 6750.
"""

from collections.abc import Callable, Mapping

import orjson
from starlette.responses import Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth import registration, registration_token
from idp.oauth.registration import Registration
from idp.oauth.userinfo import BearerError, bearer_token
from idp.web import json_api
from idp.web.http import Handler, Kind, PageRequest, WebContext, route

PATH = "/register"
# The longest error_description; names in it may be an app's own.
_LONGEST = 300


def routes(context: WebContext) -> list[Route]:
    """/register and /register/{id}, if apps may register themselves"""
    if not context.settings.registration:
        return []
    kind = Kind(json_api.MEDIA_TYPE, json_api.no_guard, _refuse, is_public=True)
    manage = {"GET": _answering(show), "PUT": _answering(change), "DELETE": _answering(remove)}
    return [
        route(context, PATH, kind, {"POST": _answering(create)}),
        route(context, f"{PATH}/{{id}}", kind, manage),
    ]


def create(context: WebContext, request: PageRequest) -> Response:
    """POST /register"""
    token = bearer_token(request.headers)
    # Looked at first, because whoever writes keeps others waiting, and a stranger must not.
    with context.work.read() as unit:
        registration.require_initial(unit, token)
    said = json_api.object_of(request.body)
    with context.work.begin() as unit:
        made = registration.register(unit, said, initial_token=token)
        unit.flush()
        answer = registration.answer(made, context.settings.issuer)
    return _json(answer, 201)


def show(context: WebContext, request: PageRequest) -> Response:
    """GET /register/{id}"""
    token = _token(context, request)
    # It changes nothing but which of two tokens are good, as every page may change the session cookie.
    with context.work.begin() as unit:
        found = registration.read(unit, request.params["id"], token)
    return _managed(context, found)


def change(context: WebContext, request: PageRequest) -> Response:
    """PUT /register/{id}"""
    token = _token(context, request)
    said = json_api.object_of(request.body)
    with context.work.begin() as unit:
        made = registration.replace(unit, request.params["id"], token, said)
    return _managed(context, made)


def remove(context: WebContext, request: PageRequest) -> Response:
    """DELETE /register/{id}"""
    token = _token(context, request)
    with context.work.begin() as unit:
        is_removed = registration.remove(unit, request.params["id"], token)
    if not is_removed:
        raise registration_token.invalid()
    return Response(b"", 204)


def _managed(context: WebContext, found: Registration | None) -> Response:
    """The registration; a copy is refused once it is written down that it is one."""
    if found is None:
        raise registration_token.invalid()
    return _json(registration.answer(found, context.settings.issuer))


def _token(context: WebContext, request: PageRequest) -> str:
    """The token of a request that manages this app, looked at first as above."""
    token = bearer_token(request.headers)
    with context.work.read() as unit:
        registration.require(unit, request.params["id"], token)
    return token


def _answering(handler: Callable[[WebContext, PageRequest], Response]) -> Handler:
    def answer(context: WebContext, request: PageRequest) -> Response:
        try:
            return handler(context, request)
        except BearerError as error:
            code = error.code or "invalid_token"
            told = _json({"error": code, "error_description": error.description}, error.status)
            told.headers["WWW-Authenticate"] = error.challenge()
            return told

    return answer


def _refuse(context: WebContext, request: PageRequest, refused: Refused) -> Response:
    """A refusal as RFC 7591 section 3.2.2 spells it."""
    del context, request
    code = "invalid_client_metadata" if refused.code == "malformed_json" else refused.code
    told = {"error": code, "error_description": refused.sentence[:_LONGEST]}
    response = _json(told, refused.status)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type=json_api.MEDIA_TYPE)

"""Carrying out a call: token, right, what was sent, one transaction, an answer.

In this order, so that nothing is said to whoever has no right to ask, and nothing is read from the
database for what was sent wrongly. A handler sees only calls that have been let in.
Specs: RFC 9110 (ETag, If-Match), RFC 6585 (428), RFC 8288 (Link), RFC 9457.
"""

from contextlib import AbstractContextManager
from functools import partial
from hashlib import sha256
from urllib.parse import urlencode

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from idp.admin import access, repeats
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model, Page, first_mistake
from idp.errors import Refused
from idp.oauth import protected
from idp.oauth.protected import Manager
from idp.oauth.userinfo import bearer_token
from idp.storage.unit_of_work import UnitOfWork
from idp.web import json_api
from idp.web.http import PageRequest, WebContext
from idp.web.lines import Lines, LinesResponse, Reader


def carry_out(operation: Operation, context: WebContext, request: PageRequest) -> Response:
    """Answers one request; raises `BearerError` or `Refused`, and then nothing was changed."""
    token = bearer_token(request.headers)
    manager = protected.authenticate_manager(context.provider, token, scope=operation.scope)
    sent = _sent(operation, request)
    repeat = _repeatable(operation, manager, request)
    return repeats.answered(
        partial(_once, operation, context, request, manager, sent, repeat), repeat
    )


def dumped(model: Model) -> bytes:
    """The representation that is sent."""
    return orjson.dumps(model.model_dump(mode="json"))


def tag_of(body: bytes) -> str:
    """The strong `ETag` of a representation."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def require_match(call: Call, current: Model | None) -> None:
    """Lets a change pass that is meant for what is there now; `current` is None when nothing is.

    `If-Match` names the representation that the change was made from, `If-None-Match: *` says that
    there is none yet. Raises `Refused`: `precondition_required` (428), `precondition_failed` (412).
    """
    match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
    if match is None and none_match is None:
        raise Refused(
            "precondition_required",
            "Say by If-Match (or If-None-Match: *) what this change was made from.",
            428,
        )
    tag = tag_of(dumped(current)) if current is not None else None
    named = [one.strip() for one in (match or "").split(",")]
    if match is not None and (tag is None or not ({tag, "*"} & set(named))):
        raise _changed_meanwhile()
    if none_match is not None and (none_match.strip() != "*" or tag is not None):
        raise _changed_meanwhile()


def _once(
    operation: Operation,
    context: WebContext,
    request: PageRequest,
    manager: Manager,
    sent: Model | None,
    repeat: repeats.Repeatable | None,
) -> Response:
    work = context.work
    # What only looks cannot change anything, and neither can a dry run: nothing of it is kept.
    is_looking = operation.reads or getattr(sent, "dry_run", False)
    if is_looking:
        repeat = None
    opened: AbstractContextManager[UnitOfWork] = work.read() if is_looking else work.begin()
    with opened as unit:
        call = Call(unit, manager, context.provider, operation, request.params, request.headers)
        if operation.proof == "fresh":
            access.require_fresh_proof(call)
        before = repeats.kept(unit, repeat) if repeat is not None else None
        if before is not None:
            return _response(operation, *before)
        unit.because = getattr(sent, "reason", None)
        found = operation.carry_out(call, sent)
        if isinstance(found, Lines):
            return LinesResponse(found, _reader(call, bearer_token(request.headers)))
        body = dumped(found) if found is not None else b""
        if repeat is not None:
            unit.flush()
            repeats.keep(unit, repeat, operation.status, body)
    response = _response(operation, operation.status, body)
    if isinstance(found, Page) and found.next_page_token is not None:
        query = {**request.query, "page_token": found.next_page_token}
        address = f"{context.settings.issuer}{request.path}?{urlencode(query)}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return response


def _reader(call: Call, token: str) -> Reader:
    """Whoever calls, for an answer that goes on: as long as the token would be let in."""
    person = call.manager.person
    may_read = partial(
        protected.is_still_manager,
        call.provider,
        token,
        scope=call.operation.scope,
        since=call.unit.now,
    )
    return Reader(person.user_id if person else call.manager.client_id, may_read)


def _sent(operation: Operation, request: PageRequest) -> Model | None:
    """The query or the body as the operation takes it; what it does not name is refused."""
    if request.query and (operation.has_body or operation.takes is None):
        raise Refused("invalid_parameter", "This address takes no parameters.", 400)
    if request.body and not (operation.has_body and operation.takes is not None):
        raise Refused("invalid_field", "This request takes no body.", 400)
    if operation.takes is None:
        return None
    try:
        if not operation.has_body:
            return operation.takes.model_validate_strings(dict(request.query))
        # Read twice: first for what a JSON text may mean, then for what this operation takes.
        json_api.object_of(request.body)
        return operation.takes.model_validate_json(request.body)
    except ValidationError as error:
        code = "invalid_field" if operation.has_body else "invalid_parameter"
        raise Refused(code, _first_problem(error), 400) from None


def _first_problem(error: ValidationError) -> str:
    where, _, said = first_mistake(error)
    return f"“{where}”: {said}." if where else f"{said}."


def _repeatable(
    operation: Operation, manager: Manager, request: PageRequest
) -> repeats.Repeatable | None:
    if operation.repeat == "harmless":
        return None
    return repeats.repeatable(
        request.headers.get(repeats.HEADER),
        caller=manager.person.user_id if manager.person else manager.client_id,
        asked=b"\n".join([request.method.encode(), request.path.encode(), request.body]),
    )


def _response(operation: Operation, status: int, body: bytes) -> Response:
    response = Response(body, status, media_type=json_api.MEDIA_TYPE if body else None)
    if operation.tag != "none" and body:
        response.headers["ETag"] = tag_of(body)
    return response


def _changed_meanwhile() -> Refused:
    return Refused(
        "precondition_failed", "This was changed by somebody else. Please look again.", 412
    )

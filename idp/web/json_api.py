"""What our JSON APIs share: strict bodies, bearer tokens, and refusals as problems (RFC 9457).

A body is one JSON object in which no member comes twice (RFC 8259 section 4 leaves open what that
would mean) and no number is NaN. Does not know any operation.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from idp.errors import Refused
from idp.oauth.userinfo import BearerError
from idp.web import problems
from idp.web.http import Handler, Kind, PageRequest, WebContext, route

MEDIA_TYPE = "application/json"


def api_route(context: WebContext, path: str, handlers: Mapping[str, Handler]) -> Route:
    """A route of an API, by method; whatever is refused there is answered as a problem."""
    kind = Kind(MEDIA_TYPE, no_guard, refuse)
    return route(context, path, kind, {name: _challenging(one) for name, one in handlers.items()})


def refuse(context: WebContext, request: PageRequest, refused: Refused) -> Response:
    """A refusal as a problem."""
    del context, request
    return problems.answer(refused)


def object_of(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; raises `Refused` (`malformed_json`) when it is none."""
    try:
        found = json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused("malformed_json", "The body must be a JSON object.", 400) from None
    if not isinstance(found, dict):
        raise Refused("malformed_json", "The body must be a JSON object.", 400)
    if not _is_storable(found):
        raise Refused("malformed_json", "The body has a text or number that cannot be kept.", 400)
    return found


def answer(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type=MEDIA_TYPE)


def _challenging(handler: Handler) -> Handler:
    def answer(context: WebContext, request: PageRequest) -> Response:
        try:
            return handler(context, request)
        except BearerError as error:
            refused = Refused(
                error.code or "token_required",
                error.description,
                error.status,
                members=error.members,
            )
            return problems.answer(refused, challenge=error.challenge())

    return answer


def no_guard(context: WebContext, request: PageRequest) -> None:
    """The guard of what takes bearer tokens: no browser sends one on its own, so nothing is forged."""
    del context, request


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member came twice")
    return found


def _is_storable(value: Any) -> bool:
    """Whether all of it can be kept: PostgreSQL takes no NUL, UTF-8 no half a character, our JSON
    columns no number of more than 64 bits.
    """
    if isinstance(value, str):
        return not any(one == "\x00" or "\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, int | float):
        return -(2**63) <= value < 2**63
    if isinstance(value, dict):
        return all(_is_storable(one) for pair in value.items() for one in pair)
    return not isinstance(value, list) or all(map(_is_storable, value))


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")

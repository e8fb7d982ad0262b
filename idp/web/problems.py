"""Errors of our JSON API as RFC 9457 says them: `application/problem+json`.

`type` is "about:blank", because the stable name of a problem is its `code`; `detail` is the sentence
that people may be shown. Some have further members: where a session is over, `reason` and
`ended_at`.
"""

from http import HTTPStatus

import orjson
from starlette.responses import Response

from idp.errors import Refused

MEDIA_TYPE = "application/problem+json"


def answer(refused: Refused, *, challenge: str | None = None) -> Response:
    """The refusal as a problem; `challenge` is the value of `WWW-Authenticate` (RFC 6750)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.sentence,
        "code": refused.code,
        **refused.members,
    }
    response = Response(orjson.dumps(body), refused.status, media_type=MEDIA_TYPE)
    if challenge is not None:
        response.headers["WWW-Authenticate"] = challenge
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response

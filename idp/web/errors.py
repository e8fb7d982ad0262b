"""Pages that say no: one look for every refusal, with a code to ask about and no details.

Owns the error page and what the app answers to paths and methods that do not exist.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.errors import Refused
from idp.languages import Sentence
from idp.web import problems
from idp.web.http import (
    FORM,
    Kind,
    PageRequest,
    WebContext,
    guard_browser,
    page_request,
    unexpected,
)
from idp.web.local_path import ACCOUNT

_log = logging.getLogger("idp.web")

_TITLES = {
    400: Sentence("This request cannot be understood"),
    403: Sentence("That was not done"),
    404: Sentence("There is nothing here"),
    405: Sentence("That is not possible here"),
    409: Sentence("Something changed meanwhile"),
    410: Sentence("This is no longer possible"),
    413: Sentence("That is too much at once"),
    415: Sentence("That form cannot be read"),
    429: Sentence("Too many attempts"),
    500: Sentence("Something went wrong"),
    503: Sentence("Just a moment"),
}


def page(
    context: WebContext,
    refused: Refused,
    *,
    language: str,
    theme: str | None = None,
    title: str | None = None,
    links: Iterable[tuple[str, str]] = (),
) -> Response:
    """The error page for a refusal; `links` are (text, address) to go on with."""
    response = context.renderer.page(
        "error.html",
        language=language,
        theme=theme,
        status=refused.status,
        title=title or _TITLES.get(refused.status, _TITLES[403]),
        sentence=refused.sentence,
        code=refused.code,
        # There is always a way on.
        links=list(links) or [(Sentence("Go to your account"), ACCOUNT)],
    )
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


def refuse(context: WebContext, request: PageRequest, refused: Refused) -> Response:
    """A refusal of a page request as a page."""
    return page(context, refused, language=request.language, theme=request.theme)


# Pages that need nobody signed in: forms carry a token bound to the browser.
PUBLIC = Kind(FORM, guard_browser, refuse, is_public=True)
# What scripts of the account pages read: nobody's activity, and none of the strangers' threads.
OWN = Kind(FORM, guard_browser, refuse)


def handlers(
    context: WebContext,
) -> dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """Exception handlers for the app: no such path, no such method, and whatever nobody caught."""

    async def answer(request: Request, error: Exception) -> Response:
        return _outside(context, request, error)

    return {HTTPException: answer, Refused: answer, Exception: answer}


def _outside(context: WebContext, raw: Request, error: Exception) -> Response:
    allowed = None
    if isinstance(error, Refused):
        refused = error
    elif isinstance(error, HTTPException):
        refused = _of_status(error.status_code)
        allowed = (error.headers or {}).get("Allow")
    else:
        refused = unexpected()
    if raw.scope["path"].startswith("/api/"):
        response = problems.answer(refused)
    else:
        response = page(context, refused, language=page_request(context, raw).language)
    if allowed is not None:
        response.headers["Allow"] = allowed
    return response


def _of_status(status: int) -> Refused:
    sentences = {
        404: "The address may be mistyped, or what was here is gone.",
        405: "This address does not take that kind of request.",
    }
    code = "_".join(HTTPStatus(status).phrase.lower().replace("-", " ").split())
    # Of others there is no more to say than what their page is called.
    title = _TITLES.get(status, _TITLES[403])
    return Refused(code, sentences.get(status, title), status)

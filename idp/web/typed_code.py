"""A code of another device that somebody types: counted before it is looked for (XD-05).

Owns the counts and what is said of a code that was not taken. Which pages take codes, and what opening
one means, they say themselves (`idp.web.device`, `idp.web.move`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response

from idp.errors import Refused
from idp.events.catalogue import CodesGuessed
from idp.languages import Sentence
from idp.sessions import pairing, pairing_room, user_code
from idp.sessions.model import Pairing
from idp.sessions.pairing import Kind
from idp.storage.unit_of_work import UnitOfWork
from idp.users import throttle
from idp.users.throttle import Refusal
from idp.web.http import PageRequest, WebContext

FIELD = "user_code"
# Wrong codes of everybody in one window, from which on somebody may be guessing: with as many codes
# waiting as there may be, one in a hundred such windows would hit one.
ALARM = user_code.SPACE // (100 * pairing_room.WAITING_MAXIMUM)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a code was not taken."""

    sentence: str
    status: int
    retry_after: int | None = None


def sent(request: PageRequest) -> str:
    """What was typed, or came with the address to be shown."""
    fields = request.query if request.method in ("GET", "HEAD") else request.form
    return fields.get(FIELD, "")[: user_code.TYPED_MAXIMUM]


def opened(
    context: WebContext,
    request: PageRequest,
    *,
    user_id: str | None,
    kinds: tuple[Kind, ...],
    tie: Callable[[UnitOfWork, Pairing], bool],
) -> str | Problem:
    """The pairing whose code was typed, once `tie` gave it to who is here; or why there is none.

    Counted for the address, and for the person where somebody is signed in.
    """
    try:
        return _opened(context, request, user_id, kinds, tie)
    except Refused as refused:
        return Problem(refused.sentence, refused.status)


def _opened(
    context: WebContext,
    request: PageRequest,
    user_id: str | None,
    kinds: tuple[Kind, ...],
    tie: Callable[[UnitOfWork, Pairing], bool],
) -> str | Problem:
    with context.work.begin() as unit:
        counted = throttle.reserve_pairing_code(unit, user_id=user_id, ip=request.visit.ip)
        if isinstance(counted, Refusal):
            return _too_many(counted)
    with context.work.begin() as unit:
        found = pairing.by_typed(unit, sent(request), kinds)
        if found is not None and tie(unit, found):
            throttle.pairing_code_was_right(unit, counted)
            return found.id
        standing = throttle.pairing_code_was_wrong(unit, alarm=ALARM)
        if standing is not None and standing.is_noteworthy:
            unit.record(CodesGuessed(count=standing.attempts))
    return Problem(pairing.NOT_THIS_CODE, 404)


def with_problem(response: Response, problem: Problem | None) -> Response:
    """The page of a field for a code, which says when to come back."""
    if problem is not None and problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def _too_many(refusal: Refusal) -> Problem:
    sentence = Sentence(
        "Too many wrong codes. Please wait %(count)s minute and try again.",
        "Too many wrong codes. Please wait %(count)s minutes and try again.",
        count=-(-refusal.retry_after // 60),
    )
    return Problem(sentence, 429, refusal.retry_after)

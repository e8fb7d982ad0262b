"""Choosing a new password: what every page that sets one shares.

Owns the field `new_password` and what becomes of it: refused with a sentence, or hashed, outside any
transaction. Which rules hold is `idp.users.passwords`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from idp.errors import Unavailable
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, passwords
from idp.users.model import User
from idp.users.passwords import SecondFactor
from idp.web.http import PageRequest, WebContext

FIELD = "new_password"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a form is shown again: the sentence, the HTTP status, and the seconds to wait if any."""

    sentence: str
    status: int = 400
    retry_after: int | None = None

    def said_in(self, response: Response) -> Response:
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        return response


@dataclass(frozen=True, slots=True)
class Hashed:
    """A new password that was good, ready to be kept."""

    encoded: str


def words_of(user: User) -> list[str]:
    """What anybody would try for this person."""
    return [user.username, user.email or ""]


def second_factor_of(unit: UnitOfWork, user: User) -> SecondFactor:
    """Whether a password of this person stands alone, which is what its least length hangs on."""
    return "enrolled" if factors.has_second(factors.enrolled(unit, user.id)) else "none"


def chosen(
    context: WebContext,
    request: PageRequest,
    *,
    words: Sequence[str],
    second_factor: SecondFactor = "none",
) -> Hashed | Problem:
    """What was typed as the new password, hashed; or why not. Never inside a transaction."""
    typed = request.form.get(FIELD, "")
    problem = passwords.problem_with(typed, context.settings, words, second_factor=second_factor)
    if problem is not None:
        return Problem(problem)
    try:
        return Hashed(context.hasher.hash(typed))
    except Unavailable as busy:
        return Problem(busy.sentence, busy.status, busy.retry_after)

"""Requests that are sent again: `Idempotency-Key`, and what its first use was answered.

The answer is kept in the transaction of what was done, so that neither exists without the other:
whoever did not get an answer sends the request again and learns what became of it, and nothing
happens twice. Kept for a day; a caller may have so many at once.
Spec: draft-ietf-httpapi-idempotency-key-header.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from idp import ids
from idp.admin.model import KeptAnswer
from idp.clock import DAY, Duration
from idp.errors import Refused
from idp.storage.unit_of_work import UnitOfWork

HEADER = "idempotency-key"
KEPT: Duration = DAY
MOST_KEPT = 5_000
BATCH = 1_000
CONFLICT = 409
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request with a key: whose, and the digests of key and request."""

    caller: str
    key: str
    request: str


def repeatable(given: str | None, *, caller: str, asked: bytes) -> Repeatable | None:
    """The key of a request; None when it has none. `asked` is everything that was asked for."""
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise Refused(
            "invalid_idempotency_key", "An Idempotency-Key has 1 to 128 visible characters.", 400
        )
    return Repeatable(
        caller, ids.digest(f"{caller} {given}"), ids.digest(asked.decode("utf-8", "replace"))
    )


def kept(unit: UnitOfWork, repeat: Repeatable) -> tuple[int, bytes] | None:
    """The status and body that the first request with this key was answered; None for the first.

    Raises `Refused`: `idempotency_key_reused` (422) when it asked for something else.
    """
    row = unit.connection.execute(
        select(KeptAnswer.request, KeptAnswer.status, KeptAnswer.body).where(
            KeptAnswer.key == repeat.key, KeptAnswer.expires_at > unit.now
        )
    ).one_or_none()
    if row is None:
        return None
    if row.request != repeat.request:
        raise Refused(
            "idempotency_key_reused", "This Idempotency-Key was used for another request.", 422
        )
    return row.status, unit.vault.open_text(row.body, _context(repeat)).encode()


def keep(unit: UnitOfWork, repeat: Repeatable, status: int, body: bytes) -> None:
    """Keeps an answer; of two first requests with one key the later raises `IntegrityError`."""
    many = select(KeptAnswer.key).where(KeptAnswer.caller == repeat.caller).limit(MOST_KEPT)
    if unit.connection.scalar(select(func.count()).select_from(many.subquery())) == MOST_KEPT:
        raise Refused(
            "too_many_keys", "Too many Idempotency-Keys within a day.", 429, retry_after=3_600
        )
    unit.connection.execute(
        delete(KeptAnswer).where(KeptAnswer.key == repeat.key, KeptAnswer.expires_at <= unit.now)
    )
    unit.connection.execute(
        insert(KeptAnswer).values(
            key=repeat.key,
            caller=repeat.caller,
            request=repeat.request,
            status=status,
            body=unit.vault.seal_text(body.decode(), _context(repeat)),
            expires_at=unit.now + KEPT,
        )
    )


def answered(attempt: Callable[[], Answer], repeat: Repeatable | None) -> Answer:
    """What a request is answered: by `attempt`, or, when it was sent twice at one moment, by what the
    quicker one was.

    The slower one looked for an answer before there was any, and then met what the quicker one made:
    its key, or the very name it asks for. It looks again.
    """
    try:
        return attempt()
    except IntegrityError:
        if repeat is None:
            raise
    except Refused as refused:
        if repeat is None or refused.status != CONFLICT:
            raise
    return attempt()


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what need not be kept any more; gives how many. The worker calls it."""
    past = select(KeptAnswer.key).where(KeptAnswer.expires_at <= unit.now).limit(BATCH)
    return unit.connection.execute(delete(KeptAnswer).where(KeptAnswer.key.in_(past))).rowcount


def _context(repeat: Repeatable) -> str:
    return f"kept_answer:{repeat.key}"

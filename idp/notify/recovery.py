"""Forgotten passwords: what was asked for is noted, and answered a moment later by the worker.

The page that takes the question does the same for every name: it notes it. Whether there is such an
account, whether it may have a mail, and the making of the link come afterwards and elsewhere, so
that neither the answer nor the time it takes says who has an account (BF-10, BF-13).

The questions are rows of `action_tokens` with a purpose that `idp.users.links` does not know: a row
that is no link and cannot be used as one.
"""

from typing import Any

import orjson
from sqlalchemy import delete, select

from idp import ids
from idp.clock import MINUTE, Duration
from idp.events.actor import Actor
from idp.notify import mailed_links
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Unreadable
from idp.users import links, queries
from idp.users.model import ACTIVE, ActionToken

LONGEST_NAME = 320
# A question that could not be answered for so long is forgotten: the person has asked again.
LIFETIME: Duration = 10 * MINUTE
BATCH = 100
_PURPOSE = "recovery_request"


def ask(unit: UnitOfWork, name: str, *, language: str) -> None:
    """Notes that somebody wants a link for the account of this user name or e-mail address."""
    key = ids.digest(ids.new_secret())
    question = orjson.dumps({"name": name[:LONGEST_NAME], "language": language}).decode()
    unit.orm.add(
        ActionToken(
            token_hash=key,
            purpose=_PURPOSE,
            data=unit.vault.seal_text(question, _context(key)),
            created_at=unit.now,
            expires_at=unit.now + LIFETIME,
        )
    )


def answer(work: Work) -> bool:
    """Answers what was asked; gives whether more is waiting. The worker calls it."""
    waiting = select(ActionToken.token_hash).where(ActionToken.purpose == _PURPOSE).limit(BATCH)
    with work.read() as unit:
        if unit.connection.scalar(waiting) is None:
            return False
    with work.begin() as unit:
        asked = (
            unit.connection.execute(
                delete(ActionToken)
                .where(ActionToken.token_hash.in_(waiting.with_for_update(skip_locked=True)))
                .returning(ActionToken.token_hash, ActionToken.data, ActionToken.expires_at)
            )
        ).all()
        for row in asked:
            question = _opened(unit, row.token_hash, row.data)
            if question is not None and row.expires_at > unit.now:
                _answer_one(unit, question)
    return len(asked) == BATCH


def _answer_one(unit: UnitOfWork, question: dict[str, Any]) -> None:
    user = queries.by_identifier(unit, question["name"])
    if user is None or user.status != ACTIVE or user.email is None:
        return
    # Silently: the person has mails already, and a stranger learns nothing. But whoever asks in
    # somebody's name must not keep them without a link that works.
    made = links.made_within(unit, user.id, "reset_password")
    if made >= mailed_links.MOST_AN_HOUR and links.has_good(unit, user.id, "reset_password"):
        return
    mailed_links.mail_reset(unit, user, language=question["language"], actor=Actor("user", user.id))


def _opened(unit: UnitOfWork, key: str, sealed: str) -> dict[str, Any] | None:
    """A question; None for one that a key we no longer have had sealed."""
    try:
        question: dict[str, Any] = orjson.loads(unit.vault.open_text(sealed, _context(key)))
    except Unreadable:
        return None
    return question


def _context(key: str) -> str:
    return f"action_token:{key}"

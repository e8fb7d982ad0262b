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
            if row.expires_at > unit.now:
                question = orjson.loads(unit.vault.open_text(row.data, _context(row.token_hash)))
                _answer_one(unit, question)
    return len(asked) == BATCH


def _answer_one(unit: UnitOfWork, question: dict[str, Any]) -> None:
    user = queries.by_identifier(unit, question["name"])
    if user is None or user.status != ACTIVE or user.email is None:
        return
    # Silently: the person has three mails already, and a stranger learns nothing.
    if links.made_within(unit, user.id, "reset_password") >= mailed_links.MOST_AN_HOUR:
        return
    mailed_links.mail_reset(unit, user, language=question["language"], actor=Actor("user", user.id))


def _context(key: str) -> str:
    return f"action_token:{key}"

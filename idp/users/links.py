"""Links that are sent to people: made, looked at, and used once.

Owns `action_tokens`. A link is 256 random bits of which only a digest is kept. It says for what and
for whom it is, and is worth nothing for anything or anybody else (AR-02). Looking at it changes
nothing, because mail scanners open what people are sent; using it is one conditional update, which
also looks at its deadline, so that no clean-up need have run (AR-05). A newer one, and whatever
secures an account, make older ones worthless (AR-04).

Does not know which page a link leads to, nor how it travels (`idp.notify.mailed_links`).
Spec: NIST SP 800-63B-4 section 3.1.3.2 (issued recovery codes).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, bindparam, delete, func, null, select, update

from idp import ids
from idp.clock import HOUR, SECOND, Duration, Instant
from idp.events.actor import Actor
from idp.events.catalogue import Event, LinkSent, LinkUsed, SignedOutEverywhere, UserChanged
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import ActionToken, User

Purpose = Literal["reset_password", "verify_email", "invitation", "set_up"]
# Those by which an account could be taken over.
_OF_ADDRESS: tuple[Purpose, ...] = ("reset_password", "invitation", "verify_email")
LONGEST_TOKEN = 128
# Rows stay this much longer than their links are good, so that links can be counted by the hour.
KEPT: Duration = HOUR
BATCH = 1_000

# The person's row is the lock under which their links are counted and replaced.
_LOCK_PERSON = HotStatement(
    select(User.id).where(User.id == bindparam("person")).with_for_update(key_share=True)
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link that may be used: for what, for whom (None: nobody yet), and what it carries."""

    purpose: str
    user_id: str | None
    data: dict[str, Any]
    created_at: Instant
    expires_at: Instant


def make(
    unit: UnitOfWork,
    *,
    purpose: Purpose,
    user_id: str | None,
    lifetime_seconds: int,
    data: dict[str, Any] | None = None,
    actor: Actor,
) -> str:
    """Makes a link and voids those of its kind before it; gives its token, which is not stored."""
    if user_id is not None:
        unit.run(_LOCK_PERSON, {"person": user_id})
    _void(unit, user_id, (purpose,))
    token = ids.new_secret()
    digest = ids.digest(token)
    sealed = None
    if data is not None:
        sealed = unit.vault.seal_text(orjson.dumps(data).decode(), _context(digest))
    unit.orm.add(
        ActionToken(
            token_hash=digest,
            purpose=purpose,
            user_id=user_id,
            data=sealed,
            created_at=unit.now,
            expires_at=unit.now + lifetime_seconds * SECOND,
        )
    )
    unit.record(LinkSent(actor=actor.kind, actor_id=actor.id, user_id=user_id, purpose=purpose))
    return token


def look(unit: UnitOfWork, token: str, purpose: Purpose) -> Link | None:
    """The link of this token, if it may be used for this purpose now; changes nothing."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    row = unit.orm.execute(
        select(
            ActionToken.token_hash,
            ActionToken.user_id,
            ActionToken.data,
            ActionToken.created_at,
            ActionToken.expires_at,
        ).where(*_is_good(unit, token, purpose))
    ).one_or_none()
    return None if row is None else _opened(unit, purpose, *row)


def use(unit: UnitOfWork, token: str, purpose: Purpose) -> Link | None:
    """Uses a link up; None when it cannot be used. Of those who try together one gets it."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    row = unit.orm.execute(
        update(ActionToken)
        .where(*_is_good(unit, token, purpose))
        .values(used_at=unit.now)
        .returning(
            ActionToken.token_hash,
            ActionToken.user_id,
            ActionToken.data,
            ActionToken.created_at,
            ActionToken.expires_at,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    link = _opened(unit, purpose, *row)
    unit.record(
        LinkUsed(actor="user", actor_id=link.user_id, user_id=link.user_id, purpose=purpose)
    )
    return link


def void_all(unit: UnitOfWork, user_id: str, purposes: Iterable[Purpose]) -> int:
    """Makes a person's links of these purposes worthless; gives how many were good."""
    return _void(unit, user_id, tuple(purposes))


def made_within(
    unit: UnitOfWork, user_id: str, purpose: Purpose, *, duration: Duration = KEPT
) -> int:
    """How many links were made for a person lately, used, void or not; at most `KEPT` back.

    Locks the person until the end of the transaction, so that counting and making are one step.
    """
    unit.run(_LOCK_PERSON, {"person": user_id})
    return int(
        unit.orm.scalar(
            select(func.count())
            .select_from(ActionToken)
            .where(
                ActionToken.user_id == user_id,
                ActionToken.purpose == purpose,
                ActionToken.created_at > unit.now - duration,
            )
        )
        or 0
    )


def has_good(unit: UnitOfWork, user_id: str, purpose: Purpose) -> bool:
    """Whether a person has a link of this purpose that can still be used."""
    good = select(ActionToken.token_hash).where(
        ActionToken.user_id == user_id,
        ActionToken.purpose == purpose,
        ActionToken.used_at.is_(None),
        ActionToken.expires_at > unit.now,
    )
    return unit.orm.scalar(good.limit(1)) is not None


def void_after(unit: UnitOfWork, event: Event) -> None:
    """Subscriber to whatever secures an account: no link that was sent before is worth anything.

    A new password, another address, signing out everywhere, "this wasn't me", another status. Also
    one that would change the address: whoever asked for it may have been the thief. Of everybody's end
    the moment counts by the clocks of the nodes: a link of the very second may outlive it, and leads to
    no session that was.
    """
    if isinstance(event, UserChanged) and "status" not in event.changed:
        return
    until = event.begun_until if isinstance(event, SignedOutEverywhere) else None
    _void(unit, event.user_id, _OF_ADDRESS, made_until=until)


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what ran out a while ago; gives how many. The worker calls it."""
    past = (
        select(ActionToken.token_hash).where(ActionToken.expires_at <= unit.now - KEPT).limit(BATCH)
    )
    return unit.connection.execute(
        delete(ActionToken).where(ActionToken.token_hash.in_(past))
    ).rowcount


def _void(
    unit: UnitOfWork,
    user_id: str | None,
    purposes: tuple[Purpose, ...],
    *,
    made_until: Instant | None = None,
) -> int:
    unit.flush()
    sent = update(ActionToken).where(
        # One of two ways, because "= NULL" is never true.
        ActionToken.user_id == user_id if user_id else ActionToken.user_id == null(),
        ActionToken.purpose.in_(purposes),
        ActionToken.used_at.is_(None),
    )
    if made_until is not None:
        sent = sent.where(ActionToken.created_at <= made_until)
    return unit.connection.execute(sent.values(used_at=unit.now)).rowcount


def _is_good(unit: UnitOfWork, token: str, purpose: Purpose) -> list[ColumnElement[bool]]:
    return [
        ActionToken.token_hash == ids.digest(token),
        ActionToken.purpose == purpose,
        ActionToken.used_at.is_(None),
        ActionToken.expires_at > unit.now,
    ]


def _opened(
    unit: UnitOfWork,
    purpose: str,
    digest: str,
    user_id: str | None,
    sealed: str | None,
    created_at: Instant,
    expires_at: Instant,
) -> Link:
    data: dict[str, Any] = {}
    if sealed is not None:
        data = orjson.loads(unit.vault.open_text(sealed, _context(digest)))
    return Link(purpose, user_id, data, created_at, expires_at)


def _context(digest: str) -> str:
    return f"action_token:{digest}"

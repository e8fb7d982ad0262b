"""A person as whoever lets them in needs them: found by a name, and held while that is decided.

Every sign-in and step-up asks these questions, so they are hot statements: through the ORM each costs
ten times as much. Pages and administration work with `User`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from sqlalchemy import bindparam, select, update

from idp.clock import Instant
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User, UserIdentifier


class Person(Protocol):
    """Whose a session is: what rules ask about them. A `User` is one, and an `Account`."""

    @property
    def id(self) -> str: ...
    @property
    def roles(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who is on their way in, as they are while their row is locked."""

    id: str
    status: str
    roles: tuple[str, ...]
    password_hash: str | None
    password_changed_at: Instant | None


_NAMED = HotStatement(
    select(User.id, User.password_hash)
    .join(UserIdentifier, UserIdentifier.user_id == User.id)
    .where(UserIdentifier.key == bindparam("key"))
)
_LOCKED = HotStatement(
    select(User.id, User.status, User.roles, User.password_hash, User.password_changed_at)
    .where(User.id == bindparam("person"))
    .with_for_update(key_share=True)
)
_REHASH = HotStatement(
    update(User).where(User.id == bindparam("person")).values(password_hash=bindparam("made"))
)


def named(unit: UnitOfWork, key: str | None) -> tuple[str | None, str | None]:
    """Id and stored password hash of whom a name leads to, in its canonical form (`names.key`).

    None twice where it leads nowhere; the same is asked for what can be nobody's name.
    """
    rows = unit.run(_NAMED, {"key": key or ""})
    return (rows[0][0], rows[0][1]) if rows else (None, None)


def locked(unit: UnitOfWork, user_id: str | None) -> Account | None:
    """The account, so that a disabling that commits meanwhile is seen or waits for us."""
    rows = unit.run(_LOCKED, {"person": user_id or ""})
    if not rows:
        return None
    found, status, roles, password_hash, changed_at = rows[0]
    return Account(found, status, tuple(orjson.loads(roles)), password_hash, changed_at)


def rehash(unit: UnitOfWork, account: Account, password_hash: str) -> None:
    """Keeps a hash of today's cost of the same password; the caller has locked the account."""
    unit.run(_REHASH, {"person": account.id, "made": password_hash})

"""What may be used once and is no row of its own: ceremonies and their challenges.

They travel sealed with the page they are for, so that nothing is stored until they are used; then
the key of each is kept until it would have run out anyway (invariant 2).
"""

from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from idp.clock import Instant
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import Spent

BATCH = 1_000


def _insert(dialect: Any) -> HotStatement:
    first = dialect.insert(Spent).values(key=bindparam("spent"), expires_at=bindparam("until"))
    return HotStatement(first.on_conflict_do_nothing().returning(Spent.key))


_INSERT = {True: _insert(sqlite), False: _insert(postgresql)}


def spend(unit: UnitOfWork, key: str, *, expires_at: Instant) -> bool:
    """Whether this is the first use, of all that commit; `key` has at most 64 characters."""
    return bool(unit.run(_INSERT[unit.is_sqlite], {"spent": key, "until": expires_at}))


_DELETE = HotStatement(delete(Spent).where(Spent.key == bindparam("spent")))


def take_back(unit: UnitOfWork, key: str) -> None:
    """Undoes a `spend` of this transaction."""
    unit.run(_DELETE, {"spent": key})


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what has run out; gives how many. The worker calls it."""
    past = select(Spent.key).where(Spent.expires_at <= unit.now).limit(BATCH)
    return unit.connection.execute(delete(Spent).where(Spent.key.in_(past))).rowcount

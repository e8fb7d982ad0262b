"""Indexes that a revision needs, made before its transaction (PostgreSQL).

Inside of it everybody who writes to the table would wait until the index is made. A revision names them
as `AHEAD`, and makes in its transaction what is not there by then: on SQLite, and in an empty database.
An index over a new column belongs into the revision after the one that adds it. An index that changes
gets a new name, so that the old one serves until the new one is there.

What dies in the middle leaves an index that PostgreSQL does not use: it is dropped and made anew.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, text

from idp.storage import postgresql
from idp.storage.database import Database, refusing_when_busy
from idp.storage.exclusive import try_alone

# Name, table, columns, and which rows ("" for all).
Ahead = tuple[str, str, Sequence[str], str]
SECONDS_BETWEEN = 0.2

_IS_BROKEN = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def make(
    database: Database, indexes: Iterable[Ahead], *, is_wanted: Callable[[Connection], bool]
) -> None:
    """Makes these indexes, while everybody reads and writes; those that are there stay.

    Whether they are wanted is asked when nobody else makes any: who did may have gone on to a revision
    that takes them away again.

    Raises `Unavailable` where the database does not answer.
    """
    engine = database.writing.execution_options(isolation_level="AUTOCOMMIT")
    with refusing_when_busy(), engine.connect() as connection:
        try:
            postgresql.take_time(connection)
            # Asked for again and again: who waits in the database is waited for by the index.
            while not try_alone(connection, "indexes"):
                time.sleep(SECONDS_BETWEEN)
            if is_wanted(connection):
                for one in indexes:
                    _make(connection, *one)
        finally:
            # With it go the lock and what it was told of time.
            connection.invalidate()


def _make(
    connection: Connection, name: str, table: str, columns: Sequence[str], where: str
) -> None:
    if connection.scalar(_IS_BROKEN, {"name": name}):
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
    rows = f" WHERE {where}" if where else ""
    connection.exec_driver_sql(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({', '.join(columns)}){rows}"
    )

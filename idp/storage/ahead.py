"""Indexes that a revision needs, made before its transaction (PostgreSQL).

Inside of it everybody who writes to the table would wait until the index is made. A revision names them
as `AHEAD`, and makes in its transaction what is not there by then: on SQLite, and where an earlier
revision of the same upgrade makes the columns; whoever leaves out versions pays with a lock.

What dies in the middle leaves an index that PostgreSQL does not use: it is dropped and made anew.
"""

import time
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, inspect, text

from idp.storage import postgresql
from idp.storage.database import Database, refusing_when_busy
from idp.storage.exclusive import try_alone

# Name, table, columns, and which rows ("" for all).
Ahead = tuple[str, str, Sequence[str], str]
SECONDS_BETWEEN = 0.2

_IS_BROKEN = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def make(database: Database, wanted: Iterable[Ahead]) -> None:
    """Makes these indexes, while everybody reads and writes; those that are there stay.

    Raises `Unavailable` where the database does not answer.
    """
    engine = database.writing.execution_options(isolation_level="AUTOCOMMIT")
    with refusing_when_busy(), engine.connect() as connection:
        try:
            postgresql.take_time(connection)
            # Asked for again and again: who waits in the database is waited for by the index.
            while not try_alone(connection, "indexes"):
                time.sleep(SECONDS_BETWEEN)
            for one in wanted:
                _make(connection, *one)
        finally:
            # With it go the lock and what it was told of time.
            connection.invalidate()


def _make(
    connection: Connection, name: str, table: str, columns: Sequence[str], where: str
) -> None:
    known = inspect(connection)
    if not known.has_table(table):
        return
    if not {one["name"] for one in known.get_columns(table)}.issuperset(columns):
        return
    if connection.scalar(_IS_BROKEN, {"name": name}):
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
    rows = f" WHERE {where}" if where else ""
    connection.exec_driver_sql(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({', '.join(columns)}){rows}"
    )

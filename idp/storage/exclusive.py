"""What happens once at a time in a whole deployment, however many nodes it has.

For what no row stands for that could be locked: a schema, the first key, how many of something there
are. Costs PostgreSQL one statement, and whoever waits a connection; so nothing that is done often.
"""

from typing import Literal

from sqlalchemy import Connection, text

# Each is a number that the database knows; they only have to differ.
_LOCKS = {
    "schema": 0x1D9_5E55,
    "webhooks": 0x1D9_5E56,
    "indexes": 0x1D9_5E57,
    "queries": 0x1D9_5E58,
}


def one_at_a_time(connection: Connection, what: Literal["schema", "webhooks", "queries"]) -> None:
    """Waits until nobody else is at it, and keeps others waiting until the end of this transaction."""
    # SQLite has one writer anyway.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCKS[what]})


def try_alone(connection: Connection, what: Literal["indexes"]) -> bool:
    """Whether nobody else is at it, and nobody will be while this connection of PostgreSQL stands."""
    taken = text("SELECT pg_try_advisory_lock(:lock)")
    return bool(connection.scalar(taken, {"lock": _LOCKS[what]}))

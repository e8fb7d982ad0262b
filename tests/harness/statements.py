"""How many statements a provider on SQLite carries out, as SQLite itself is told of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from tests.harness.provider import Idp

# What only frames a transaction, or sets a connection up.
_FRAMES = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA")


@contextmanager
def counted(idp: Idp) -> Iterator[list[str]]:
    """The statements of this block, in order, but for the frames of transactions."""
    said: list[str] = []

    def hear(statement: str) -> None:
        if not statement.startswith(_FRAMES):
            said.append(statement)

    def listen(connection: Any, record: Any) -> None:
        connection.set_trace_callback(hear)

    engines = {idp.work.database.reading, idp.work.database.writing}
    # So that every connection is a new one, which is listened to.
    idp.work.database.close()
    for engine in engines:
        event.listen(engine, "connect", listen)
    try:
        yield said
    finally:
        for engine in engines:
            event.remove(engine, "connect", listen)
        idp.work.database.close()

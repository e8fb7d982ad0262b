"""`python -m tests.bench.schema_changes --sessions 1000000`: how long a revision keeps people waiting.

Upgrades a PostgreSQL with so many sessions revision by revision. A revision is one transaction, so what
it locks is locked until its end: the time from its first change to its commit is the longest anybody
waits (FT-22 wants 200 ms at most). Nothing else uses the database meanwhile.
"""

import argparse
import sys
import time

from sqlalchemy import Connection, event, text

from idp import app as application
from idp.storage import migrations
from idp.storage.database import Database
from tests.harness import crowd
from tests.harness.deployment import prepare
from tests.harness.postgres_outage import own_postgres
from tests.harness.provider import settings_for
from tests.harness.server_process import unwind_when_told_to_end

WANTED_MS = 200
_CHANGES = ("ALTER", "CREATE", "DROP", "INSERT")
_LOCKED = text(
    "SELECT DISTINCT relation::regclass::text, mode FROM pg_locks JOIN pg_class ON oid = relation"
    " WHERE pid = pg_backend_pid() AND relkind = 'r' AND relnamespace = 'public'::regnamespace"
    " AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.schema_changes", description=__doc__
    )
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--since", default="0010", help="the revision to begin at")
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    with own_postgres() as postgres:
        prepare(postgres.url)
        work = application.assemble(settings_for(postgres.url))
        crowd.gather(work, chosen.sessions)
        migrations.downgrade(work.database, chosen.since)
        say(f"{chosen.sessions} sessions, from {chosen.since}; locked against writing, or any use")
        for revision in migrations.revisions():
            if revision > chosen.since:
                milliseconds, locked = _upgraded(work.database, revision)
                mark = "  !" if locked and milliseconds > WANTED_MS else ""
                say(
                    f"{revision}: {milliseconds:.0f} ms, locked: {', '.join(locked) or 'nothing'}{mark}"
                )
        work.database.close()


def _upgraded(database: Database, revision: str) -> tuple[float, list[str]]:
    """Milliseconds in which the transaction held locks, and the tables that were locked in it."""
    locked: set[str] = set()
    begun = ended = 0.0

    def change(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal begun
        if statement.lstrip().startswith(_CHANGES) and "CONCURRENTLY" not in statement:
            begun = begun or time.monotonic()

    def commit(connection: Connection) -> None:
        nonlocal ended
        ended = time.monotonic()
        rows = connection.execute(_LOCKED).all()
        locked.update(f"{table} ({mode.removesuffix('Lock')})" for table, mode in rows)

    event.listen(database.writing, "before_cursor_execute", change)
    event.listen(database.writing, "commit", commit)
    try:
        migrations.upgrade(database, revision)
    finally:
        event.remove(database.writing, "before_cursor_execute", change)
        event.remove(database.writing, "commit", commit)
    return (ended - begun) * 1_000, sorted(locked)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

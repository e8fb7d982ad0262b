"""Schema versions: upgrade, downgrade, and whether the database is at the newest one.

The scripts stand at the top of the repository (`migrations/`) and inside the installed package,
numbered: the highest number is the newest revision. An upgrade is one transaction, and on a PostgreSQL
that is in use one for each revision, so that no lock outlives the revision that takes it, and the next
one's indexes are made before its own (`ahead`). Killed anywhere, it leaves a whole revision, and is run
again. Two processes that start at once do not both migrate: SQLite has one writer, and on PostgreSQL
each transaction holds an advisory lock. Alembic is imported only where a schema is changed: a server
that finds its schema current does without it (a second of start-up, 13 MB).
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from idp.errors import Unavailable
from idp.storage import ahead, postgresql
from idp.storage.database import Database
from idp.storage.exclusive import one_at_a_time

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script

# How often a change of the schema that meets a table in use is tried, and the seconds in between.
ATTEMPTS = 150
BETWEEN_ATTEMPTS = 0.2
# A table that is there while a backup is put back and not everything in it was ended yet.
UNFINISHED = "restore_unfinished"


def folder(name: str) -> Path:
    """Where `migrations` or `templates` stand: beside the package, or in it when installed."""
    package = Path(__file__).resolve().parent.parent
    inside = package / f"_{name}"
    return inside if inside.is_dir() else package.parent / name


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Brings the schema to `revision`; gives the revision before."""
    from alembic import command

    with database.read() as connection:
        before = current(connection)
    if database.is_sqlite or before not in revisions():
        _restructured(database, lambda config: command.upgrade(config, revision))
        return before
    for step in _steps(before, revision):
        if indexes := getattr(step.module, "AHEAD", ()):
            ahead.make(database, indexes, is_wanted=partial(_is_before, step.revision))
        _restructured(database, partial(command.upgrade, revision=step.revision))
    return before


def downgrade(database: Database, revision: str) -> None:
    """Takes the schema back to `revision`."""
    from alembic import command

    _restructured(database, lambda config: command.downgrade(config, revision))


def difference(database: Database) -> str | None:
    """How the tables differ from what the models say; None when they do not."""
    import io

    from alembic import command
    from alembic.util import CommandError

    with database.write() as connection:
        config = _config(connection)
        config.stdout = io.StringIO()
        try:
            command.check(config)
        except CommandError as error:
            return str(error)
    return None


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def revisions() -> list[str]:
    """The revisions this code knows, oldest first."""
    scripts = (folder("migrations") / "versions").glob("[0-9]*.py")
    return sorted(script.name.partition("_")[0] for script in scripts)


def head() -> str:
    """The newest revision this code knows."""
    return revisions()[-1]


def is_current(database: Database) -> bool:
    """Whether the database has the schema this code was written for, and may be served."""
    with database.read() as connection:
        return current(connection) == head() and not inspect(connection).has_table(UNFINISHED)


def may_go_on(database: Database) -> bool:
    """Whether a node that is running may: the schema is its own, or what a newer version made of it.

    Of nodes that are upgraded one after the other the first changes the schema under the others, and
    they serve until it is their turn: a revision leaves what the one before needs.
    """
    with database.read() as connection:
        revision = current(connection)
        is_older = revision is None or revision in revisions()[:-1]
        return not is_older and not inspect(connection).has_table(UNFINISHED)


def is_unfinished(database: Database) -> bool:
    """Whether a backup was put back and that was not finished."""
    with database.read() as connection:
        return inspect(connection).has_table(UNFINISHED)


def finish(database: Database) -> None:
    """A backup was put back, and all that lived in it has ended."""
    with database.write() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {UNFINISHED}"))


def _steps(before: str, revision: str) -> "list[Script]":
    """The revisions that lead from the one before to `revision`, which may be "head" or "+1"."""
    from alembic.script import ScriptDirectory

    if revision in revisions() and revision <= before:
        return []
    scripts = ScriptDirectory(str(folder("migrations"))).iterate_revisions(revision, before)
    return list(scripts)[::-1]


def _is_before(revision: str, connection: Connection) -> bool:
    """Whether nobody else has brought the schema to `revision` by now."""
    at = current(connection)
    return at is not None and at < revision


def _restructured(database: Database, change: "Callable[[Config], None]") -> None:
    """Carries out a change of the schema, wholly or not at all.

    On PostgreSQL it waits for nobody who uses the tables (`queue_for_nothing`): it takes itself back
    and tries again. Raises `Unavailable` when they are in use for a minute on end.
    """
    left = ATTEMPTS
    while True:
        left -= 1
        try:
            return _change(database, change)
        except Unavailable as refused:
            if not left or not postgresql.was_in_use(refused):
                raise
        time.sleep(BETWEEN_ATTEMPTS)


def _change(database: Database, change: "Callable[[Config], None]") -> None:
    with database.restructure() as connection:
        one_at_a_time(connection, "schema")
        if not database.is_sqlite:
            postgresql.queue_for_nothing(connection)
        change(_config(connection))


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder("migrations")))
    config.attributes["connection"] = connection
    return config

"""Schema versions: upgrade, downgrade, and whether the database is at the newest one.

The scripts stand at the top of the repository (`migrations/`) and inside the installed package,
numbered: the highest number is the newest revision. Two processes that start at once do not both
migrate: the whole upgrade is one write transaction on SQLite, and holds an advisory lock on
PostgreSQL. Alembic is imported only where a schema is changed: a server that finds its schema
current does without it (a second of start-up, 13 MB).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from idp.storage.database import Database
from idp.storage.exclusive import one_at_a_time

if TYPE_CHECKING:
    from alembic.config import Config

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

    with database.restructure() as connection:
        one_at_a_time(connection, "schema")
        before = current(connection)
        command.upgrade(_config(connection), revision)
    return before


def downgrade(database: Database, revision: str) -> None:
    """Takes the schema back to `revision`."""
    from alembic import command

    with database.restructure() as connection:
        one_at_a_time(connection, "schema")
        command.downgrade(_config(connection), revision)


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


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder("migrations")))
    config.attributes["connection"] = connection
    return config

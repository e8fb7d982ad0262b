"""Schema versions: upgrade, downgrade, and whether the database is at the newest one.

The scripts stand at the top of the repository (`migrations/`) and inside the installed package.
Two processes that start at once do not both migrate: the whole upgrade is one write transaction on
SQLite, and holds an advisory lock on PostgreSQL.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from idp.storage.database import Database

_LOCK = 0x1D9_5E55


def folder(name: str) -> Path:
    """Where `migrations` or `templates` stand: beside the package, or in it when installed."""
    package = Path(__file__).resolve().parent.parent
    inside = package / f"_{name}"
    return inside if inside.is_dir() else package.parent / name


def upgrade(database: Database, revision: str = "head") -> str | None:
    """Brings the schema to `revision`; gives the revision before."""
    with database.write() as connection:
        _lock(connection)
        before = current(connection)
        command.upgrade(_config(connection), revision)
    return before


def downgrade(database: Database, revision: str) -> None:
    """Takes the schema back to `revision`."""
    with database.write() as connection:
        _lock(connection)
        command.downgrade(_config(connection), revision)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest revision this code knows."""
    found = ScriptDirectory(str(folder("migrations"))).get_current_head()
    if found is None:
        raise RuntimeError("there are no migrations")
    return found


def is_current(database: Database) -> bool:
    """Whether the database has the schema this code was written for."""
    with database.read() as connection:
        return current(connection) == head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder("migrations")))
    config.attributes["connection"] = connection
    return config


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

"""What is wrong with a database's schema, said so that an administrator knows what to do."""

import io

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from idp.storage import migrations
from idp.storage.database import Database


def present(database: Database) -> str | None:
    """The revision a database is at; None when it is empty."""
    with database.read() as connection:
        return migrations.current(connection)


def problem_with(database: Database) -> str | None:
    """Why this version cannot work with the database, as a sentence; None when it can."""
    revision, newest = present(database), migrations.head()
    if revision == newest:
        return None
    if revision is None:
        return "The database is empty. Prepare it with: idp db upgrade"
    scripts = ScriptDirectory(str(migrations.folder("migrations")))
    if revision in {one.revision for one in scripts.walk_revisions()}:
        return f"The database is at revision {revision}. Bring it up to date with: idp db upgrade"
    return (
        f"The database is at revision {revision}, which this version does not know, because a "
        "newer one upgraded it. Install that version, or go back with its: idp db downgrade"
    )


def difference(database: Database) -> str | None:
    """How the tables differ from what the models say; None when they do not."""
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(migrations.folder("migrations")))
    with database.write() as connection:
        config.attributes["connection"] = connection
        try:
            command.check(config)
        except CommandError as error:
            return str(error)
    return None

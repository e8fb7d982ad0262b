"""What is wrong with a database's schema, said so that an administrator knows what to do."""

from idp.storage import migrations
from idp.storage.database import Database


def present(database: Database) -> str | None:
    """The revision a database is at; None when it is empty."""
    with database.read() as connection:
        return migrations.current(connection)


def is_behind(database: Database) -> bool:
    """Whether an upgrade would bring it to this version: it is empty, or older."""
    revision = present(database)
    return revision is None or revision in migrations.revisions()[:-1]


def problem_with(database: Database) -> str | None:
    """Why this version cannot work with the database, as a sentence; None when it can."""
    if migrations.is_unfinished(database):
        return "A backup was put back and not finished. Run again: idp backup restore"
    revision, newest = present(database), migrations.head()
    if revision == newest:
        return None
    if revision is None:
        return "The database is empty. Prepare it with: idp db upgrade"
    if revision in migrations.revisions():
        return f"The database is at revision {revision}. Bring it up to date with: idp db upgrade"
    return (
        f"The database is at revision {revision}, which this version does not know, because a "
        "newer one upgraded it. Install that version, or go back with its: idp db downgrade"
    )

"""`idp db`: the schema of the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from idp import settings as deployment
from idp.cli import schema
from idp.cli.opened import product
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields
from idp.errors import Refused
from idp.storage import migrations
from idp.storage.database import Database

app = typer.Typer(no_args_is_help=True, help="The database: migrations up, down, and checks.")


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Where to go.")] = "head", as_json: AsJson = False
) -> None:
    """Bring the database up to date, with its first keys and roles; safe to repeat."""
    with _database() as database:
        before = migrations.upgrade(database, revision)
        data = {"before": before, "revision": schema.present(database)}
    if data["revision"] == migrations.head():
        from idp.app import prepare

        with product() as work:
            prepare(work)
    answer(data, fields(data), as_json=as_json)


@app.command()
def current(as_json: AsJson = False) -> None:
    """Show the revision the database is at, and the newest one."""
    with _database() as database:
        data = {"revision": schema.present(database), "newest": migrations.head()}
    answer(data, fields(data), as_json=as_json)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help='Where to go back to: "-1" is one step.')],
    yes: Confirmed = False,
    as_json: AsJson = False,
) -> None:
    """Take the database back; what only newer revisions hold is lost."""
    confirm(f"Go back to {revision}? What only newer revisions hold is lost.", confirmed=yes)
    with _database() as database:
        before = schema.present(database)
        migrations.downgrade(database, revision)
        data = {"before": before, "revision": schema.present(database)}
    answer(data, fields(data), as_json=as_json)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Check that the database is up to date and its tables are what the models say."""
    with _database() as database:
        problem = schema.problem_with(database) or migrations.difference(database)
    if problem is not None:
        raise Refused("schema", problem)
    data = {"revision": migrations.head(), "ok": True}
    answer(data, fields(data), as_json=as_json)


@contextmanager
def _database() -> Iterator[Database]:
    database = Database(deployment.load().database_url, pool_size=2)
    try:
        yield database
    finally:
        database.close()

"""`idp serve` and `idp demo`: running the product."""

import sys
from typing import Annotated

import typer

from idp import settings as deployment
from idp.cli import schema
from idp.cli.opened import ADMIN
from idp.cli.terminal import AsJson, answer
from idp.errors import Refused
from idp.notify import mailed_links
from idp.settings import Settings
from idp.storage import migrations
from idp.storage.database import Database
from idp.storage.unit_of_work import Work
from idp.users import queries


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Bring the database's schema up to date first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the provider until it is told to stop (SIGTERM, or Ctrl-C)."""
    from idp.app import create_app
    from idp.cli import logs, serving

    given = {"host": host, "port": port}
    settings = deployment.load(
        **{name: value for name, value in given.items() if value is not None}
    )
    logs.set_up(settings)
    _prepare(settings, upgrade=upgrade)
    serving.require_ports(settings)
    served = create_app(settings)
    address = {"issuer": settings.issuer, "host": settings.host, "port": settings.port}
    link = _set_up_link(served.work)
    if as_json:
        answer(address if link is None else {**address, "setup": link}, [], as_json=True)
    elif link is not None:
        minutes = settings.links.set_up // 60
        lines = [
            f"There is no user yet. Make the first administrator, within {minutes} minutes, at:",
            f"  {link}",
        ]
        answer(None, lines, as_json=False)
    # Before the server takes over: whoever started it may be waiting for these lines in a pipe.
    sys.stdout.flush()
    serving.run(served, settings)


def _set_up_link(work: Work) -> str | None:
    """A link for the first administrator, while there is nobody at all."""
    with work.begin() as unit:
        if queries.listed(unit, limit=1):
            return None
        return mailed_links.set_up_link(unit, actor=ADMIN)


def _prepare(settings: Settings, *, upgrade: bool) -> None:
    # Before the server starts, because it could only answer this with a traceback.
    database = Database(settings.database_url, pool_size=1)
    try:
        if upgrade and schema.is_behind(database):
            migrations.upgrade(database)
        problem = schema.problem_with(database)
    finally:
        database.close()
    if problem is not None:
        raise Refused("schema", problem, 503)


def demo() -> None:
    """Run the provider with two apps and an API on this machine, to try it out."""
    from idp import demo as demonstration

    demonstration.run()

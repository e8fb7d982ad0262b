"""The product's parts as a command needs them: settings, database, one unit of work."""

from collections.abc import Iterator
from contextlib import contextmanager

from idp import settings as deployment
from idp.cli import schema
from idp.errors import Refused
from idp.events.actor import Actor
from idp.storage.unit_of_work import UnitOfWork, Work

# Whoever runs commands on the server is an administrator; the audit log says they came this way.
ADMIN = Actor("admin", "cli")


@contextmanager
def product() -> Iterator[Work]:
    """The wired product over a database that is at the newest revision."""
    from idp.app import assemble

    work = assemble(deployment.load())
    try:
        problem = schema.problem_with(work.database)
        if problem is not None:
            raise Refused("schema", problem, 503)
        yield work
    finally:
        work.database.close()


@contextmanager
def change() -> Iterator[UnitOfWork]:
    """One unit of work that commits when the block ends."""
    with product() as work, work.begin() as unit:
        yield unit


@contextmanager
def look() -> Iterator[UnitOfWork]:
    """One unit of work for reading."""
    with product() as work, work.read() as unit:
        yield unit

"""Fixtures of the parts below the application; a folder's `conftest.py` imports what it uses."""

import functools
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from idp.storage.unit_of_work import Work
from idp.work.outbound import Outbound
from tests.harness import postgres
from tests.harness.postgres_copies import Copies
from tests.harness.receivers import Receivers, listening
from tests.harness.workbench import ManualClock, make_work

__all__ = ["clock", "database_url", "outbound", "receivers", "sqlite_work", "work"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with postgres_with_tables() as url:
            yield url


def postgres_with_tables() -> AbstractContextManager[str]:
    """The URL of a PostgreSQL database with all tables and no rows, until the block ends."""
    return _copies().one()


@functools.cache
def _copies() -> Copies:
    name = f"idp_tables_{secrets.token_hex(4)}"
    postgres.administer(f"CREATE DATABASE {name}")
    make_work(postgres.url_of(name), ManualClock()).database.close()
    return Copies(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def work(database_url: str, clock: ManualClock) -> Iterator[Work]:
    made = make_work(database_url, clock)
    yield made
    made.database.close()


@pytest.fixture
def sqlite_work(tmp_path: Path, clock: ManualClock) -> Iterator[Work]:
    """For what does not depend on the kind of database."""
    made = make_work(f"sqlite:///{tmp_path / 'test.db'}", clock)
    yield made
    made.database.close()


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with listening() as made:
        yield made


@pytest.fixture
def outbound(sqlite_work: Work) -> Iterator[Outbound]:
    made = Outbound(sqlite_work.settings.outbound)
    yield made
    made.close()

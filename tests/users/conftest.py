"""A product without its application, on an empty SQLite file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from idp.storage.unit_of_work import Work
from idp.users.passwords import PasswordHasher
from tests.harness.workbench import ManualClock, make_work

CHEAP = {"memory_kib": 8_192, "time_cost": 1, "workers": 2, "queue": 100}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def work(tmp_path: Path, clock: ManualClock) -> Iterator[Work]:
    made = make_work(f"sqlite:///{tmp_path / 'idp.db'}", clock, password=CHEAP)
    yield made
    made.database.close()


@pytest.fixture
def hasher(work: Work) -> PasswordHasher:
    return PasswordHasher(work.settings.password)

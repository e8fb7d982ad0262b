"""Servers under contention: one process on SQLite, two processes on one PostgreSQL database."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.deployment import Deployment, deployed
from tests.harness.provider import Templates
from tests.harness.receivers import Receivers, listening
from tests.harness.server_process import Forking

Deploy = Callable[..., Deployment]
# `RACE_ROUNDS=20` runs every race twenty times as often.
LONGER = int(os.environ.get("RACE_ROUNDS", "1"))


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    made = Forking()
    yield made
    made.close()


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with listening() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def deploy(
    request: pytest.FixtureRequest, tmp_path: Path, templates: Templates, forking: Forking
) -> Iterator[Deploy]:
    """Deploys on each database in turn, with the settings that are given."""
    with ExitStack() as stack:

        def begin(**settings: str) -> Deployment:
            if request.param == "sqlite":
                url, nodes = templates.sqlite(tmp_path / "idp.db"), 1
            else:
                url, nodes = stack.enter_context(templates.postgres()), 2
            return stack.enter_context(deployed(url, tmp_path, forking, nodes=nodes, **settings))

        yield begin


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    return deploy()

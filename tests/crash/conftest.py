"""Servers that are killed, and what they are killed on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.deployment import Deployment, deployment
from tests.harness.provider import Templates
from tests.harness.receivers import Receivers, listening
from tests.harness.server_process import Forking, Server, environment, reserved_port
from tests.races.conftest import forking

__all__ = ["forking"]

Say = Callable[[str], None]
# What a server is told that minds `X-Die`; the claim of a killed worker is soon free again.
MORTAL: dict[str, Any] = {"module": "tests.crash.failpoints", "lease_seconds": 1}


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with listening() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, templates: Templates
) -> Iterator[str]:
    """A prepared database of each kind in turn."""
    if request.param == "sqlite":
        yield templates.sqlite(tmp_path / "idp.db")
    else:
        with templates.postgres() as url:
            yield url


@pytest.fixture
def mortal(database_url: str, tmp_path: Path, forking: Forking) -> Iterator[Deployment]:
    """A deployment whose server dies where it is told to."""
    with started(database_url, tmp_path, forking, doom=MORTAL) as made:
        yield made


@contextmanager
def started(
    url: str, folder: Path, forking: Forking, *, doom: dict[str, Any] | None = None, **settings: str
) -> Iterator[Deployment]:
    """One server on a database, which may be killed and started again; ended with the block."""
    quick = {"IDP_OUTBOUND__TIMEOUT": "0.5"}
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        server = Server(forking, port, folder, environment(url, **(quick | settings)))
        made = deployment(url, [server])
        stack.callback(made.close)
        stack.callback(server.stop)
        server.start(doom=doom)
        yield made

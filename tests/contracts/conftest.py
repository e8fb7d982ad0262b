from collections.abc import Iterator

import pytest

from tests.harness.backends import (  # noqa: F401
    clock,
    database_url,
    outbound,
    receivers,
    sqlite_work,
    work,
)
from tests.harness.nodes import SETUPS, Nodes, nodes_on
from tests.harness.provider import Templates


@pytest.fixture(scope="module", params=SETUPS)
def setup(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    templates: Templates,
) -> Iterator[Nodes]:
    """Two nodes on each pair of database and Store; what stories leave behind stays there."""
    database, store = request.param
    folder = tmp_path_factory.mktemp("setup")
    with nodes_on(database, store, folder, templates, throttle={"per_account": 3}) as made:
        yield made


@pytest.fixture
def nodes(setup: Nodes) -> Nodes:
    """The same, at the beginning of a story."""
    setup.begin()
    return setup

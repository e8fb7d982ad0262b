"""Fixtures that many tests share."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness import compiled, event_loop
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

compiled.keep()
pytest_plugins = (
    "tests.harness.available",
    "tests.harness.figures",
    "tests.harness.names",
    "tests.harness.order",
)

# How long an example takes says how busy the machine is, and nothing about the code. The suite tries
# the same examples every time, so that a run says something about the change it was started for;
# `pytest --hypothesis-profile explore` looks for new ones.
hypothesis.settings.register_profile(
    "suite",
    hypothesis.settings.default,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "explore", hypothesis.settings.get_profile("suite"), derandomize=False, max_examples=500
)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def one_event_loop() -> Iterator[None]:
    """For every provider inside this process."""
    with event_loop.running():
        yield


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Prepared databases that tests copy."""
    return Templates(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider on SQLite."""
    made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db")), clock)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_idp(
    request: pytest.FixtureRequest, tmp_path: Path, templates: Templates, clock: ManualClock
) -> Iterator[Idp]:
    """A provider on SQLite, and again on PostgreSQL."""
    if request.param == "sqlite":
        made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db")), clock)
        yield made
        made.close()
    else:
        with templates.postgres() as url:
            made = Idp(settings_for(url), clock)
            yield made
            made.close()

"""The parts of a provider that sessions need."""

from collections.abc import Iterator

import pytest

from idp.storage.unit_of_work import Work
from idp.users.passwords import PasswordHasher
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock


@pytest.fixture
def work(
    request: pytest.FixtureRequest, templates: Templates, clock: ManualClock
) -> Iterator[Work]:
    """On SQLite, or on the kind of database a test asks for by parameter."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield request.getfixturevalue("idp").work
        return
    with templates.postgres() as url:
        made = Idp(settings_for(url), clock)
        yield made.work
        made.close()


@pytest.fixture
def hasher(work: Work) -> PasswordHasher:
    return PasswordHasher(work.settings.password)

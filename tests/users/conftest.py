"""The parts of a provider that users need."""

import pytest

from idp.storage.unit_of_work import Work
from idp.users.passwords import PasswordHasher
from tests.harness.provider import Idp


@pytest.fixture
def work(idp: Idp) -> Work:
    return idp.work


@pytest.fixture
def hasher(idp: Idp) -> PasswordHasher:
    return idp.hasher

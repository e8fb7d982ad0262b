"""Fixtures of the stories."""

import pytest

from tests.flows.pages import Person
from tests.harness.provider import Idp


@pytest.fixture
def somebody(idp: Idp) -> Person:
    """A person in front of a fresh browser."""
    return Person(idp)

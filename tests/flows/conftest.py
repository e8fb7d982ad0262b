"""Fixtures of the stories."""

import pytest

from tests.flows.pages import Person
from tests.harness.provider import Idp
from tests.harness.shared_keys import keys_are_read_once

__all__ = ["keys_are_read_once"]


@pytest.fixture
def somebody(idp: Idp) -> Person:
    """A person in front of a fresh browser."""
    return Person(idp)

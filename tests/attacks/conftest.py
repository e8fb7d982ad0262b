"""Fixtures of the attack tests."""

from collections.abc import Iterator

import pytest

from tests.attacks.readers import Target, make_target
from tests.attacks.scene import Scene, make_scene
from tests.attacks.wire import Wire, wired
from tests.harness.provider import Idp


@pytest.fixture
def wire(idp: Idp) -> Iterator[Wire]:
    """Raw requests to `idp`."""
    with wired(idp.app) as made:
        yield made


@pytest.fixture
def target(idp: Idp, wire: Wire) -> Target:
    """Everything of `idp` that reads tokens."""
    return make_target(idp, wire)


@pytest.fixture
def scene(idp: Idp) -> Scene:
    """A device that asks, and two people at their browsers."""
    return make_scene(idp)

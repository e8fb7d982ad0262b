"""Servers that are started and ended while they are in use."""

from collections.abc import Callable

from tests.races.conftest import forking

__all__ = ["Say", "forking"]

Say = Callable[[str], None]

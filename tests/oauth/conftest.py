"""Fixtures of the protocol tests."""

from tests.harness.shared_keys import keys_are_read_once

__all__ = ["keys_are_read_once"]

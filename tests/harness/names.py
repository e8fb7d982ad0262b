"""The names of tests are the same in every process that collects them.

A pytest plugin. The processes of pytest-xdist must find the same tests, else none is run at all. A
moment of the clock or the address of an object in a name is found here already, in a run of one file.
"""

import re
import time

import pytest

_NUMBER = re.compile(r"(?<!\d)\d{10,19}(?!\d)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
_DAY = 86_400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _ADDRESS.search(item.name) or any(map(_is_about_now, _NUMBER.findall(item.name))):
            raise pytest.UsageError(
                f"{item.nodeid} has another name in every process; give it an id of its own"
            )


def _is_about_now(digits: str) -> bool:
    """Whether this is a moment of these days, in seconds or a fraction of them."""
    now = time.time()
    return any(abs(int(digits) / unit - now) < 10 * _DAY for unit in (1, 1e3, 1e6, 1e9))

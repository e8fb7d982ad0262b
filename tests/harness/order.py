"""Which tests are run first: those that take long, so that no process is left with one at the end.

A pytest plugin. A file stays in one process (`--dist loadfile`), and a process takes the next file
when it is done with one.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Folders and files, the longest first; all others follow in their usual order.
LONG = (
    "tests/crash",
    "tests/test_rolling_upgrade.py",
    "tests/browser",
    "tests/races",
    "tests/interop",
    "tests/operation",
    "tests/test_migrations.py",
    "tests/attacks",
    "tests/flows",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    ranks = (number for number, one in enumerate(LONG) if path.is_relative_to(ROOT / one))
    return next(ranks, len(LONG))

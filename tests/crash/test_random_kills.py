"""SIGKILL at random moments under load (FT-01, FT-04, FT-05, FT-07): nothing acknowledged is undone
or lost.

By default twelve kills of one node on SQLite, and a few of two nodes on PostgreSQL, of their Redis and
of PostgreSQL itself; `CRASH_KILLS=200` for more, or `python -m tests.crash --kills 200`. A kill of the
process is not a loss of power: what the operating system had taken is written. That SQLite and
PostgreSQL also ask the disk is a setting, which is looked at here as well.
"""

import os
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.crash.conftest import MORTAL, Say
from tests.crash.forgetful_disk import forget_newest_commits
from tests.crash.storm import storm
from tests.harness import redis_server
from tests.harness.deployment import deployment, prepare
from tests.harness.history import shown
from tests.harness.postgres_outage import own_postgres
from tests.harness.provider import Templates
from tests.harness.server_process import Forking, Server, Spawning, environment, reserved_port

KILLS = int(os.environ.get("CRASH_KILLS", "12"))
KILLS_POSTGRES = max(4, KILLS // 5)


@pytest.mark.crash
@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_acknowledged_is_undone_or_lost_by_kills_on_sqlite(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    url = templates.sqlite(tmp_path / "idp.db")
    report = storm(url, tmp_path, forking, kills=KILLS, doom=MORTAL)
    for line in report.lines():
        say(line)
    assert not report.violations, shown(report.violations)
    assert report.sessions_ended > KILLS / 4, "too little was done to prove anything"


@pytest.mark.crash
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_acknowledged_is_undone_or_lost_by_kills_of_either_of_two_nodes(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    """No request sticks to a node: what one did the other knows at the next request."""
    with templates.postgres() as url, redis_server.running() as redis:
        kills = KILLS_POSTGRES + 2
        report = storm(url, tmp_path, forking, nodes=2, kills=kills, doom=MORTAL, redis=redis)
    for line in report.lines():
        say(line)
    assert not report.violations, shown(report.violations)


@pytest.mark.crash
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.timeout(60 + 10 * KILLS)
def test_nobody_notices_that_redis_is_killed_or_emptied_under_two_nodes(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    with templates.postgres() as url, redis_server.running() as redis:
        kills = KILLS_POSTGRES // 2
        report = storm(url, tmp_path, forking, nodes=2, kills=kills, victims=["redis"], redis=redis)
    for line in report.lines():
        say(line)
    assert not report.violations, shown(report.violations)
    unanswered = {"lost", "not sent", "500", "503"} & set(report.answers)
    assert not unanswered, report.answers


@pytest.mark.crash
@pytest.mark.postgres
@pytest.mark.timeout(120 + 10 * KILLS)
def test_nothing_acknowledged_is_undone_or_lost_by_crashes_of_postgresql_itself(
    tmp_path: Path, forking: Forking, say: Say
) -> None:
    with own_postgres() as postgres:
        prepare(postgres.url)
        kills = max(3, KILLS_POSTGRES // 2)
        report = storm(
            postgres.url,
            tmp_path,
            forking,
            nodes=2,
            kills=kills,
            doom=MORTAL,
            victims=["database"],
            postgres=postgres,
        )
    for line in report.lines():
        say(line)
    assert not report.violations, shown(report.violations)


@pytest.mark.crash
def test_a_disk_that_forgets_commits_is_noticed(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    """The control: the same storm, where a crash takes the newest commits with it."""
    file = tmp_path / "idp.db"
    report = storm(
        templates.sqlite(file),
        tmp_path,
        forking,
        kills=2,
        doom=MORTAL | {"no_checkpoints": True},
        after_kill=partial(forget_newest_commits, file, 40),
    )
    kinds = {line.partition(":")[0] for line in report.violations}
    say(f"control: 2 kills that lose 40 commits each, violations {len(report.violations)}")
    assert {"I1", "I6", "I11"} & kinds, shown(report.violations)


@pytest.mark.crash
def test_a_killed_server_that_people_would_start_is_ready_again_soon(
    tmp_path: Path, templates: Templates, say: Say
) -> None:
    """`python -m idp serve` itself. Its goal is two seconds on an idle machine; this one may be busy,
    so the processor time is shown beside it.
    """
    url = templates.sqlite(tmp_path / "idp.db")
    used = []
    with reserved_port() as port:
        server = Server(Spawning(), port, tmp_path, environment(url))
        try:
            for _ in range(2):
                server.start()
                times = psutil.Process(server.pid).cpu_times()
                used.append(times.user + times.system)
                server.kill()
        finally:
            server.stop()
    ready = ", ".join(f"{one:.2f}" for one in server.ready_after)
    say(f"python -m idp serve, ready after (s): {ready}; processor time {min(used):.2f}")
    assert min(server.ready_after) < 20


@pytest.mark.crash
def test_commits_are_made_durable_before_they_are_acknowledged(
    tmp_path: Path, templates: Templates
) -> None:
    """What no kill of a process can show: the disk is asked, too."""
    made = deployment(templates.sqlite(tmp_path / "idp.db"), [])
    try:
        for engine in (made.work.database.reading, made.work.database.writing):
            with engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    finally:
        made.close()

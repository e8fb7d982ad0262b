"""The database is locked, full, read-only or gone: 503 with Retry-After, never a false success (I9).

What needs no writing goes on where the database can still be read, and everything works again, in
the same process, when the outage is over (FT-07, FT-21, FT-26).
"""

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.crash.conftest import MORTAL, Say, started
from tests.crash.requests import READS, Requests, slowest_read, status_of
from tests.harness.deployment import Deployment, prepare
from tests.harness.postgres_outage import own_postgres
from tests.harness.provider import Templates
from tests.harness.server_process import Forking, until

# A log whose pages are all in the database begins anew in the room it has, on a full disk as well.
NO_CHECKPOINTS = MORTAL | {"no_checkpoints": True}


@pytest.mark.crash
def test_a_sqlite_that_another_process_keeps_locked_answers_503_and_goes_on_reading(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    """The event loop never waits for the other process: introspection does not slow down."""
    file = tmp_path / "idp.db"
    with started(templates.sqlite(file), tmp_path, forking) as on:
        requests = Requests(on)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with slowest_read(requests.on.port, requests.reads["introspect"]) as read:
                slowest = requests.all_refused(within=15)
            requests.reads_answered(READS)
            other.execute("ROLLBACK")
        assert read.count > 20
        assert read.slowest < 2
        requests.nothing_was_done()
        requests.all_done()
    say(f"locked: 503 after {slowest:.1f} s, slowest of {read.count} reads {read.slowest:.3f} s")


@pytest.mark.crash
@pytest.mark.parametrize("full", ["disk", "file size"])
def test_a_full_disk_answers_503_to_every_change_and_recovers_without_a_restart(
    tmp_path: Path, templates: Templates, forking: Forking, full: str, say: Say
) -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_small_disk(tmp_path)) if full == "disk" else tmp_path
        url = templates.sqlite(folder / "idp.db")
        on = stack.enter_context(started(url, tmp_path, forking, doom=NO_CHECKPOINTS))
        requests = Requests(on)
        filling = _filled(folder) if full == "disk" else _no_file_may_grow(on.server.pid)
        with filling:
            slowest = requests.all_refused(within=12)
            requests.reads_answered(READS)
            again = requests.all_refused(within=12)
        requests.nothing_was_done()
        requests.all_done()
        assert on.scalar("PRAGMA integrity_check") == "ok"
    say(f"no room ({full}): 503 after {max(slowest, again):.2f} s, false successes 0")


@pytest.mark.crash
@pytest.mark.postgres
def test_a_postgresql_that_goes_away_answers_503_and_is_used_again_when_it_is_back(
    tmp_path: Path, forking: Forking, say: Say
) -> None:
    with own_postgres() as postgres:
        prepare(postgres.url)
        with started(postgres.url, tmp_path, forking) as on:
            requests = Requests(on)
            on.work.database.close()
            postgres.crash()
            first = requests.all_refused(within=8)
            again = requests.all_refused(within=8)
            requests.reads_answered({"introspect": 503, "userinfo": 503, "keys": 200})
            postgres.start()
            begun = time.monotonic()
            until(
                lambda: status_of(on.port, requests.reads["introspect"]) == 200,
                "it is used again",
                within=10,
            )
            back = time.monotonic() - begun
            requests.nothing_was_done()
            requests.all_done()
    say(f"PostgreSQL gone: 503 after {max(first, again):.2f} s, used again after {back:.2f} s")


@pytest.mark.crash
@pytest.mark.postgres
def test_a_postgresql_without_a_connection_left_answers_503_and_is_used_again(
    tmp_path: Path, forking: Forking, say: Say
) -> None:
    """Other programs have taken all it gives."""
    with own_postgres() as postgres, contextlib.ExitStack() as stack:
        prepare(postgres.url)
        on = stack.enter_context(started(postgres.url, tmp_path, forking))
        requests = Requests(on)
        on.work.database.close()
        with contextlib.ExitStack() as taken:
            _take_every_connection(postgres.url, taken)
            slowest = requests.all_refused(within=8)
            requests.reads_answered({"introspect": 503, "userinfo": 503, "keys": 200})
        requests.nothing_was_done()
        requests.all_done()
    say(f"no connection left in PostgreSQL: 503 after {slowest:.2f} s, false successes 0")


@pytest.mark.crash
@pytest.mark.postgres
def test_a_postgresql_that_became_read_only_answers_503_and_goes_on_reading(
    tmp_path: Path, templates: Templates, forking: Forking
) -> None:
    """As after a failover, when the old primary is a replica."""
    with templates.postgres() as url, started(url, tmp_path, forking) as on:
        requests = Requests(on)
        _read_only(on, "on")
        requests.all_refused(within=8)
        requests.reads_answered(READS)
        _read_only(on, "off")
        requests.nothing_was_done()
        requests.all_done()


@pytest.mark.crash
@pytest.mark.postgres
@pytest.mark.skipif("CRASH_KILLS" not in os.environ, reason="takes a quarter of a minute")
def test_a_postgresql_that_freezes_answers_503_within_ten_seconds(
    tmp_path: Path, forking: Forking, say: Say
) -> None:
    """FT-24: the connections stand, and nobody is at the other end."""
    with own_postgres() as postgres:
        prepare(postgres.url)
        with started(postgres.url, tmp_path, forking) as on:
            requests = Requests(on)
            with postgres.paused():
                first = requests.all_refused(within=15)
                again = requests.all_refused(within=10)
            until(
                lambda: status_of(on.port, requests.reads["introspect"]) == 200,
                "it is used again",
                within=10,
            )
            requests.nothing_was_done()
            requests.all_done()
    say(f"PostgreSQL frozen: 503 after {first:.1f} s, then after {again:.1f} s")


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where we may mount one."""
    place = folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """No room left: not even for one page."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65_536, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _no_file_may_grow(pid: int) -> Iterator[None]:
    """The server may write to no place of any file, as with a quota that is used up."""
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


def _take_every_connection(url: str, taken: contextlib.ExitStack) -> None:
    """Those that the server of ours holds as well, which it gives back when they are cut."""
    import psycopg

    plain = url.replace("postgresql+psycopg", "postgresql", 1)
    mine: list[psycopg.Connection[tuple[int]]] = []
    while True:
        try:
            mine.append(taken.enter_context(psycopg.connect(plain, autocommit=True)))
        except psycopg.OperationalError:
            pids = [one.info.backend_pid for one in mine]
            cut = mine[0].execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> ALL(%s)",
                [pids],
            )
            if cut.fetchone() == (0,):
                return


def _read_only(on: Deployment, state: str) -> None:
    """Makes every new transaction of the database read-only, or no more, on new connections."""
    with on.work.database.writing.connect() as connection:
        run: Callable[..., object] = connection.exec_driver_sql
        run("SET default_transaction_read_only = off")
        connection.commit()
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {state}')
        run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        connection.commit()
    on.work.database.close()

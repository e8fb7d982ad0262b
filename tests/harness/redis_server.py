"""A Redis server of the tests' own: on a Unix socket or a port, killed and flushed as they like."""

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 20.0


@dataclass
class RedisServer:
    """One server; `url` is what `IDP_REDIS_URL` takes."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    # Further options of `redis-server`.
    options: tuple[str, ...] = ()

    @property
    def socket_path(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket_path}"

    @property
    def command(self) -> list[str]:
        """How it is started."""
        return [
            "redis-server", "--port", str(self.port), "--dir", str(self.folder),
            "--save", "", "--appendonly", "no", "--daemonize", "no",
            "--unixsocket", str(self.socket_path), "--bind", "127.0.0.1", *self.options,
        ]  # fmt: skip

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError("redis-server does not answer")
            time.sleep(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def flush(self) -> None:
        """Forgets everything, under whoever is using it."""
        self.told("FLUSHALL SYNC")

    def told(self, command: str) -> str:
        """What it answers to a command, as much of it as comes at once."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket_path))
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(8_192).decode()

    def count_keys(self) -> tuple[int, int]:
        """How many keys there are, and how many of them end by themselves."""
        found = re.search(r"db0:keys=(\d+),expires=(\d+)", self.told("INFO keyspace"))
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.told("PING") == "+PONG\r\n"
        return False


@contextlib.contextmanager
def running(*options: str, port: int = 0) -> Iterator[RedisServer]:
    """A fresh, empty server until the end of the block."""
    # A short path: a Unix socket's name has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="idp-redis-", dir="/tmp"))
    server = RedisServer(folder, port, options=options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)

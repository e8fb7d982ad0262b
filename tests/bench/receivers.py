"""Apps that are told of a logout: many ports on loopback, one thread, one note per logout token."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Receivers:
    """The ports, and when a logout token arrived at each (`time.perf_counter`) since `clear`."""

    ports: list[int] = field(default_factory=list)
    arrived: dict[int, list[float]] = field(default_factory=dict)
    _change: threading.Condition = field(default_factory=threading.Condition)

    def clear(self) -> None:
        with self._change:
            self.arrived = {port: [] for port in self.ports}

    def wait_for_all(self, seconds: float) -> bool:
        """Whether every app was told within so many seconds from now."""
        with self._change:
            return self._change.wait_for(lambda: all(self.arrived.values()), seconds)

    def _note(self, port: int, body: bytes) -> None:
        now = time.perf_counter()
        if "logout_token" not in parse_qs(body.decode()):
            raise ValueError(f"not a logout token: {body!r}")
        with self._change:
            self.arrived[port].append(now)
            self._change.notify_all()

    async def serve(self, count: int, started: threading.Event, stop: asyncio.Event) -> None:
        servers = [
            await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=16)
            for _ in range(count)
        ]
        self.ports = [server.sockets[0].getsockname()[1] for server in servers]
        self.clear()
        started.set()
        await stop.wait()
        for server in servers:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                self._note(port, await reader.readexactly(int(length[1]) if length else 0))
                writer.write(_ACCEPTED)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@contextmanager
def listening(count: int) -> Iterator[Receivers]:
    """So many apps, listening until the block ends."""
    receivers = Receivers()
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(receivers.serve(count, started, stop))

    thread = threading.Thread(target=run, name="apps", daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield receivers
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)

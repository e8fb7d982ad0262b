"""Requests at their time: sent whether or not earlier ones were answered.

Latency counts from when a request was due, so that a server that stalls cannot hide it. One event
loop, no client library: the generator shares the machine with what it measures.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.bench.wire import Answer, Reader

PATIENCE_SECONDS = 30.0
# The server closes what was idle for five; a request must not meet that.
IDLE_SECONDS = 3.0
Send = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Kind:
    """What became of the requests of one kind in one phase; seconds from when each was due."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def success(self) -> float:
        return self.statuses["good"] / max(1, self.statuses.total())

    def note(self, due: float, outcome: str) -> None:
        self.statuses[outcome] += 1
        self.latencies.append(time.perf_counter() - due)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self.reader = Reader()
        self.waiting: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answer = self.reader.feed(data)
        if answer is not None and self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiting is not None:
            self.waiting.set_exception(exc or ConnectionResetError("the server hung up"))


class Line:
    """Sends requests to one port, each on a connection that nobody uses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[_Connection] = deque()

    async def ask(self, request: bytes) -> Answer:
        connection = await self._taken()
        loop = asyncio.get_running_loop()
        connection.waiting = future = loop.create_future()
        assert connection.transport is not None
        connection.transport.write(request)
        try:
            answer = await asyncio.wait_for(future, PATIENCE_SECONDS)
        except TimeoutError:
            connection.waiting = None
            connection.transport.abort()
            raise
        connection.idle_since = time.perf_counter()
        self._idle.append(connection)
        return answer

    async def _taken(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is None:
                continue
            if time.perf_counter() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.transport.close()
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return made

    def close(self) -> None:
        for one in self._idle:
            if one.transport is not None:
                one.transport.close()


async def asked(line: Line, request: bytes, seen: Kind, due: float) -> Answer | None:
    """The answer, or None and a note that there was none."""
    try:
        return await line.ask(request)
    except (OSError, TimeoutError) as problem:
        seen.note(due, type(problem).__name__)
        return None


async def at_rate(rate: float, seconds: float, send: Send) -> None:
    """Begins one each 1/rate seconds, and waits at the end for all of them."""
    begun, under_way = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        under_way.append(asyncio.ensure_future(send(due)))
    await asyncio.gather(*under_way)

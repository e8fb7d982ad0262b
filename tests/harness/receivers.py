"""Apps that receive logout tokens on loopback, well-behaved and hostile. One event loop for all."""

import asyncio
import contextlib
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs


@dataclass
class Request:
    """What arrived: the request line and headers as text, the form, the body as it came, and when."""

    head: str
    form: dict[str, list[str]]
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """One listening app. `answering` may be changed at any time."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.port = 0
        self.scheme = "http"
        self.host = "127.0.0.1"
        self.requests: list[Request] = []
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self.transports: weakref.WeakSet[asyncio.WriteTransport] = weakref.WeakSet()
        self._arrived = threading.Condition()

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/backchannel"

    def wait_for(self, count: int, *, within: float = 20.0) -> list[Request]:
        """The requests, once `count` of them have arrived."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.requests) >= count, within)
        assert came, f"{len(self.requests)} of {count} requests arrived"
        return list(self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.transports.add(writer.transport)
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            self.open_now -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(
            (
                int(line.partition(":")[2])
                for line in head.splitlines()
                if line.lower().startswith("content-length:")
            ),
            0,
        )
        body = (await reader.readexactly(length)).decode()
        with self._arrived:
            form = parse_qs(body, keep_blank_values=True)
            self.requests.append(Request(head, form, body.encode()))
            self._arrived.notify_all()
        await self.answering(reader, writer)


def saying(status: str, *, body: bytes = b"", headers: str = "") -> Answering:
    """Answers at once with a status line such as "204 No Content"."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never says anything; ends when the caller hangs up."""
    await reader.read()


def dripping(*, prologue: bytes, every: float = 0.05) -> Answering:
    """Sends `prologue`, then one byte after another without end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(prologue)
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(every)

    return answer


async def pouring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """200, and then a body of a gigabyte, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    block = b"x" * 65_536
    while not writer.is_closing():
        writer.write(block)
        await writer.drain()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hangs up without a word."""


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with something that is not HTTP."""
    writer.write(b"\x00\xff\x07SSH-2.0 \x1b[31mred\r\n\r\n" * 4)
    await writer.drain()


def late(seconds: float, then: Answering) -> Answering:
    """Answers after a while."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(reader, writer)

    return answer


class Receivers:
    """Starts receivers on free ports of loopback, in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._receivers: list[Receiver] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def add(
        self,
        answering: Answering | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Receiver:
        receiver = Receiver(answering or saying("200 OK"))
        receiver.scheme = "https" if tls else "http"

        async def start() -> None:
            server = await asyncio.start_server(receiver.serve, host, port, ssl=tls)
            receiver.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
            self._receivers.append(receiver)

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(20)
        return receiver

    def close(self) -> None:
        async def stop() -> None:
            for server in self._servers:
                server.close()
            # Answers that never end are broken off; what they leave open is closed by that.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for receiver in self._receivers:
                for transport in receiver.transports:
                    transport.abort()
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@contextlib.contextmanager
def listening() -> Iterator[Receivers]:
    receivers = Receivers()
    try:
        yield receivers
    finally:
        receivers.close()

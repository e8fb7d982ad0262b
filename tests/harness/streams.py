"""Reading live streams of a provider in the test process, event by event, without a server.

The test client collects an answer until it ends, and a stream does not. So the application is called
as a server calls it, and what it sends is read as it comes.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.harness.provider import Idp

PATH = "/account/session/stream"
# Generous: what is waited for comes at once, but on a busy machine.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its id, and what it says."""

    name: str
    id: str
    data: dict[str, Any]


@dataclass
class Stream:
    """A stream that is open, or was refused."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    _arrived: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _started: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: bytes = b""
    _task: asyncio.Task[None] | None = None

    async def event(self) -> Event | None:
        """The next event; None when the stream has ended."""
        while True:
            while b"\n\n" not in self._waiting:
                chunk = await asyncio.wait_for(self._arrived.get(), PATIENCE)
                if chunk is None:
                    return None
                self._waiting += chunk
            block, _, self._waiting = self._waiting.partition(b"\n\n")
            lines = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in lines:
                return Event(lines["event"], lines["id"], json.loads(lines["data"]))

    async def is_quiet(self) -> bool:
        """Whether nothing has arrived, once everybody has had their turn."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self._arrived.empty() and b"event:" not in self._waiting

    async def hang_up(self) -> None:
        """The browser goes away."""
        self._gone.set()
        if self._task is not None:
            await asyncio.wait_for(self._task, PATIENCE)

    async def open(self, idp: Idp, scope: dict[str, Any]) -> None:
        self._task = asyncio.create_task(idp.app(scope, self._receive, self._send))
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait(
            {self._task, started}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        started.cancel()
        if self._task.done():
            self._task.result()

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
        else:
            self.body += message.get("body", b"")
            self._arrived.put_nowait(message.get("body", b""))
            if not message.get("more_body", False):
                self._arrived.put_nowait(None)


async def opened(
    idp: Idp,
    secret: str | None,
    *,
    method: str = "GET",
    path: str = PATH,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    stream: Stream | None = None,
) -> Stream:
    """Opens a stream as a browser with this session cookie does."""
    sent = {"host": "localhost:8000", "sec-fetch-site": "same-origin", **(headers or {})}
    if secret is not None:
        sent["cookie"] = f"idp_session={secret}"
    stream = stream or Stream()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("192.0.2.1", 50_000),
        "server": ("localhost", 8000),
        "state": {},
    }
    await stream.open(idp, scope)
    return stream

"""A proxy between us and a server on a Unix socket or a port, which makes the way there bad.

One event loop in a thread. `fault` may be changed at any time, and holds for what is sent from then on.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

# slow: answers take `DELAY`; black hole: nothing comes through; cut: half of an answer, then the end.
Fault = Literal["none", "slow", "black hole", "cut"]
DELAY = 2.0


class FaultProxy:
    """Listens on a free port of loopback."""

    def __init__(self, target: Path | int) -> None:
        self.fault: Fault = "none"
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lead_to(self, target: Path | int) -> None:
        """From now on to another server; connections to the one before are cut."""
        asyncio.run_coroutine_threadsafe(self._turn(target), self._loop).result(5)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _turn(self, target: Path | int) -> None:
        self._target = target
        await self._cut()

    async def _stop(self) -> None:
        self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                there, back = await self._reached()
                asking = asyncio.create_task(self._ask(reader, back))
                try:
                    await self._answer(there, writer)
                finally:
                    asking.cancel()
                    back.close()
            finally:
                writer.close()

    async def _reached(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(str(self._target))

    async def _ask(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.fault != "black hole":
                there.write(data)
        there.close()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65_536):
            if self.fault == "slow":
                await asyncio.sleep(DELAY)
            if self.fault == "cut":
                writer.write(data[: len(data) // 2])
                return
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def bad_way_to(target: Path | int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()

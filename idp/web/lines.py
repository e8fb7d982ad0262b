"""An answer of JSON lines that is made while it is sent: as long as need be, in bounded memory.

Owns sending batch after batch and stopping when whoever asked has gone. So many are sent at once by
one process; further ones are told to come again. Where making a batch fails, the connection is broken
off, so that nobody takes a part for the whole.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from idp.errors import Refused
from idp.web import problems
from idp.web.wire import until_gone

MEDIA_TYPE = "application/jsonl"
AT_ONCE = 4

_free = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Lines:
    """What is to be sent: lines, some at a time. A batch may be empty."""

    batches: Iterator[bytes]


class LinesResponse(Response):
    """The answer that sends lines; `name` is that of a file to be saved."""

    media_type = MEDIA_TYPE

    def __init__(self, lines: Lines, *, name: str | None = None) -> None:
        self._batches = lines.batches
        headers = {"Content-Disposition": f'attachment; filename="{name}"'} if name else None
        super().__init__(status_code=200, headers=headers)
        # Nobody knows the length.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await Response(headers=dict(self.headers))(scope, receive, send)
            return
        if not _free.acquire(blocking=False):
            sentence = "Too many exports are under way. Please try again in a moment."
            busy = Refused("too_many_exports", sentence, 503, retry_after=30)
            await problems.answer(busy)(scope, receive, send)
            return
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope)
                await self._write(send)
                group.cancel_scope.cancel()
        finally:
            _free.release()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while (batch := await anyio.to_thread.run_sync(next, self._batches, None)) is not None:
            if batch:
                await send({"type": "http.response.body", "body": batch, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

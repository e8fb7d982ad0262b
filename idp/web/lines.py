"""An answer of JSON lines that is made while it is sent: as long as need be, in bounded memory.

Owns sending batch after batch, to so many at once, and breaking off: when whoever asked has gone, may
not read any more, or takes nothing. Nothing but lines is ever sent, so whoever reads a part does not
take it for the whole: an answer that was broken off lacks its end, and the connection is closed.

A reader who is slow holds a place and no thread. Of those each has few, so that one keeps nobody out;
batches are made a few at a time, so that many leave the database to others.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from idp.errors import Refused
from idp.web import problems
from idp.web.wire import until_gone

MEDIA_TYPE = "application/jsonl"
# Answers that one process sends at once, and one reader of them.
OPEN_MAXIMUM = 32
PER_READER = 2
RETRY_AFTER = 30
# Batches that are made at once.
MADE_AT_ONCE = 4
# Seconds after which a reader is looked at again, and in which they must take a batch.
LOOK_EVERY = 2.0
PATIENCE = 30.0

_log = logging.getLogger(__name__)
_making = anyio.CapacityLimiter(MADE_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Lines:
    """What is to be sent: lines, some at a time. A batch may be empty."""

    batches: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Reader:
    """Whoever is sent lines: what they are counted by, and whether they may read on."""

    id: str
    may_read: Callable[[], bool]


class LinesResponse(Response):
    """The answer that sends lines; `name` is that of a file to be saved."""

    media_type = MEDIA_TYPE

    def __init__(self, lines: Lines, reader: Reader, *, name: str | None = None) -> None:
        self._batches = lines.batches
        self._reader = reader
        headers = {"Content-Disposition": f'attachment; filename="{name}"'} if name else None
        super().__init__(status_code=200, headers=headers)
        # Nobody knows the length.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await Response(headers=dict(self.headers))(scope, receive, send)
            return
        refused = _places.take(self._reader.id)
        if refused is not None:
            await problems.answer(refused)(scope, receive, send)
            return
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope)
                await self._write(send)
                group.cancel_scope.cancel()
        finally:
            _places.give_back(self._reader.id)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        looked_at = time.monotonic()
        while True:
            if time.monotonic() - looked_at >= LOOK_EVERY:
                if not await anyio.to_thread.run_sync(self._reader.may_read, limiter=_making):
                    _log.warning("an export was broken off: its reader may not read any more")
                    return
                looked_at = time.monotonic()
            batch = await anyio.to_thread.run_sync(next, self._batches, None, limiter=_making)
            if batch is None:
                break
            if not batch:
                continue
            with anyio.move_on_after(PATIENCE) as patience:
                await send({"type": "http.response.body", "body": batch, "more_body": True})
            if patience.cancelled_caught:
                _log.warning("an export was broken off: its reader takes nothing")
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Places:
    """Which readers are sent lines now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_reader: Counter[str] = Counter()

    def take(self, reader_id: str) -> Refused | None:
        """Takes a place before anything is made; gives why there is none."""
        with self._lock:
            if self._of_reader[reader_id] >= PER_READER:
                return _busy("You have as many exports under way as you may.", 429)
            if self._of_reader.total() >= OPEN_MAXIMUM:
                return _busy("Too many exports are under way. Please try again in a moment.", 503)
            self._of_reader[reader_id] += 1
            return None

    def give_back(self, reader_id: str) -> None:
        with self._lock:
            self._of_reader[reader_id] -= 1
            # Nobody is kept who has none.
            self._of_reader = +self._of_reader


_places = _Places()


def _busy(sentence: str, status: int) -> Refused:
    return Refused("too_many_exports", sentence, status, retry_after=RETRY_AFTER)

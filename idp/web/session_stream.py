"""GET /account/session/stream: what becomes of the session one is in, while a page is open.

Server-sent events (HTML, section 9.2), written by the event loop, without a thread:

- `deadline` {now, idle_expires_at, expires_at}: at first, and whenever one moves
- `sessions` {running}: a session of the same person began or ended; an event's id names the list, so
  that a stream that was cut off learns what it missed
- `ended` {reason, title, sentence, ended_at}: the last one

Instants are milliseconds since 1970. Opening a stream proves the session once, by its cookie; after
that the session is followed by its id, whatever becomes of the cookie. Nothing of it is activity.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from idp.clock import Instant
from idp.errors import Refused, Unavailable
from idp.sessions import endings
from idp.sessions.state import State, session_of, states_of
from idp.web import csrf, live, session_over
from idp.web.http import MOST_WAITING, PageRequest, WebContext, page_request
from idp.web.language import choose
from idp.web.live import Full
from idp.web.wire import until_gone

PATH = "/account/session/stream"
# Seconds after which a quiet stream says something, so that nothing between takes it for dead.
HEARTBEAT = 20.0
RETRY_AFTER = 60
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would collect the events otherwise.
    (b"x-accel-buffering", b"no"),
)


def routes(context: WebContext) -> list[Route]:
    """/account/session/stream"""
    return [Route(PATH, SessionStream(context), methods=["GET"], include_in_schema=False)]


class SessionStream:
    """The endpoint, as plain ASGI: an answer that goes on."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = Request(scope, receive)
        request = page_request(self._context, raw)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        state = await anyio.to_thread.run_sync(self._first, request, limiter=self._context.limiter)
        if state is None or request.method != "GET":
            # Nothing to watch: with this status a browser does not ask again.
            await Response(status_code=204)(scope, receive, send)
            return
        language = choose(raw.query_params.get("ui_locales"), request.language)
        mailbox = _Mailbox()
        try:
            watch = self._context.live.join(state, mailbox.put)
        except Full:
            await _full()(scope, receive, send)
            return
        last_id = request.headers.get("last-event-id")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope)
                await _Writer(self._context, send, language).write(state, mailbox, last_id)
                group.cancel_scope.cancel()
        finally:
            self._context.live.leave(watch)

    def _refusal(self, request: PageRequest) -> Response | None:
        try:
            csrf.require_same_origin(request.headers, self._context.settings)
        except Refused:
            return Response(status_code=403)
        is_busy = self._context.limiter.statistics().tasks_waiting >= MOST_WAITING
        return _full() if is_busy or self._context.live.is_full else None

    def _first(self, request: PageRequest) -> State | None:
        if request.session_secret is None:
            return None
        with self._context.work.read() as unit:
            session_id = session_of(unit, request.session_secret)
            return states_of(unit, [session_id]).get(session_id) if session_id else None


class _Mailbox:
    """The newest state that a stream has not written yet; a slow reader misses those between."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._newest: State | None = None

    def put(self, state: State | None) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the stream with it
            self._loop.call_soon_threadsafe(self._put, state)

    async def wait(self, seconds: float) -> bool:
        """Whether there is something new within that time."""
        with anyio.move_on_after(seconds):
            await self._news.wait()
        return self._news.is_set()

    def take(self) -> State | None:
        self._news.clear()
        return self._newest

    def _put(self, state: State | None) -> None:
        self._newest = state
        self._news.set()


class _Writer:
    """Writes the events of one stream, until the session is over or the server stops."""

    def __init__(self, context: WebContext, send: Send, language: str) -> None:
        self._context = context
        self._send = send
        self._language = language

    async def write(self, state: State, mailbox: _Mailbox, last_id: str | None) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        newest: State | None = state
        told: State | None = None
        list_id = last_id or state.list_id
        while newest is not None:
            if endings.reason_of(newest, self._context.work.clock.now()) is not None:
                # An outage at this very moment: the browser asks again, and is told then.
                with contextlib.suppress(Unavailable):
                    await self._event("ended", await self._ended(newest), newest.list_id)
                break
            if told is None or _deadlines(newest) != _deadlines(told):
                deadlines = live.deadlines(newest, self._context.work.clock.now())
                await self._event("deadline", deadlines, newest.list_id)
            if newest.list_id != list_id:
                await self._event("sessions", {"running": newest.running}, newest.list_id)
            told, list_id = newest, newest.list_id
            while not await mailbox.wait(HEARTBEAT):
                await self._body(b": \n\n")
            newest = mailbox.take()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ended(self, state: State) -> Mapping[str, object]:
        over = await anyio.to_thread.run_sync(self._over, state, limiter=self._context.limiter)
        now = self._context.work.clock.now()
        return session_over.told(over, self._language, now, reason=state.end_reason or "signed_out")

    def _over(self, state: State) -> session_over.Over | None:
        with self._context.work.read() as unit:
            return session_over.by_id(unit, state.session_id)

    async def _event(self, name: str, data: Mapping[str, object], event_id: str) -> None:
        said = orjson.dumps(data).decode()
        await self._body(f"event: {name}\nid: {event_id}\ndata: {said}\n\n".encode())

    async def _body(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _deadlines(state: State) -> tuple[Instant, Instant]:
    return state.idle_at, state.expires_at


def _full() -> Response:
    return Response(
        "There are too many open pages. This one goes on without live notices.\n",
        503,
        media_type="text/plain",
        headers={"Retry-After": str(RETRY_AFTER)},
    )

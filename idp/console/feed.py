"""GET /admin/stream: what happens now, for the pages of administrators that are open.

Server-sent events (HTML, section 9.2). Each carries as its id the position of the chain that the page
is at, so that one that was cut off goes on there. Of what happened between two looks, or while a page
was cut off, it is told the newest `BACKLOG` events: a page shows fewer, and whoever needs every one
exports the log. What is not sealed yet is told at once besides, and after a cut once more: a page knows
by an event's own id which it has. One look at the log serves every open page of this process, four
times a second, and none while no page is open.

Whoever may only see sessions learns that some began or ended, and nothing else. A stream ends with
the session, or the right, of whoever watches: it looks again when something happened to them, or to a
role, before it tells anything, and every 5 seconds besides.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread
import orjson
from sqlalchemy import Select, func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from idp.clock import to_rfc3339
from idp.console import names, rooms
from idp.errors import Refused, Unavailable
from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import User
from idp.web import csrf, elevation, visitor
from idp.web.http import WebContext, page_request
from idp.web.wire import until_gone

PATH = f"{rooms.ADMIN}/stream"
# Whoever has it may watch.
RIGHT = "sessions:read"
LOOK_EVERY = 0.25
# Seconds after which it is asked again whether somebody may, whatever happened.
CHECK_EVERY = 5.0
HEARTBEAT = 20.0
OPEN_MAXIMUM = 64
# Events that a page which was away is told at most, the newest; as many again that are not sealed.
BACKLOG = 200
# As much of a position as both databases hold.
_DIGITS_MAXIMUM = 18
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would collect the events otherwise.
    (b"x-accel-buffering", b"no"),
)
_ABOUT_SESSIONS = frozenset({"session.created", "session.ended"})
# By which somebody may lose what they hold, besides what happened to them: what became of a role, and
# that everybody is signed out, which is so before any of their sessions is marked.
_OF_MANY = frozenset({"rule.changed", "bulk_sign_out.asked"})


@dataclass(frozen=True, slots=True)
class Happened:
    """One event as a page is told it."""

    event_id: str
    # None until it is sealed.
    position: int | None
    at: int
    type: str
    who: str | None
    user_id: str | None
    session_id: str | None
    client_id: str | None
    ip: str | None
    reason: str | None

    def told(self, behind: int, rights: frozenset[str]) -> bytes:
        """The event on the wire, for a page that was told everything up to `behind`, and for
        somebody with these rights.
        """
        if "events:read" in rights:
            body = {
                "id": self.event_id,
                "at": to_rfc3339(self.at),
                "type": self.type,
                "who": self.who if names.are_shown(rights) else self.user_id,
                "user_id": self.user_id,
                "session_id": self.session_id,
                "client_id": self.client_id,
                "ip": self.ip,
                "reason": self.reason,
            }
        else:
            body = {"type": self.type}
        return b"id: %d\nevent: happened\ndata: %s\n\n" % (behind, orjson.dumps(body))


_HAPPENED: Select[*tuple[Any, ...]] = select(
    EventRow.event_id,
    EventRow.position,
    EventRow.at,
    EventRow.type,
    User.username,
    EventRow.user_id,
    EventRow.session_id,
    EventRow.client_id,
    EventRow.ip,
    EventRow.reason,
).outerjoin(User, User.id == EventRow.user_id)


def latest(unit: UnitOfWork, *, limit: int) -> list[Happened]:
    """The newest events, in the order in which they were written."""
    return _read(unit, _HAPPENED.order_by(EventRow.id.desc()).limit(limit))


def _sealed(unit: UnitOfWork, *, behind: int) -> list[Happened]:
    """The events behind a position, in order; the newest of them, if there are too many."""
    newest = _HAPPENED.where(EventRow.position > behind).order_by(EventRow.position.desc())
    return _read(unit, newest.limit(BACKLOG))


def _unsealed(unit: UnitOfWork, *, head: int) -> list[Happened]:
    """The events that follow the end of the chain. One that committed late may stand before it, and
    is told when it is sealed.
    """
    last = select(EventRow.id).where(EventRow.position == head).scalar_subquery()
    following = _HAPPENED.where(EventRow.position.is_(None), EventRow.id > func.coalesce(last, 0))
    return _read(unit, following.order_by(EventRow.id.desc()).limit(BACKLOG))


def _read(unit: UnitOfWork, newest_first: Select[*tuple[Any, ...]]) -> list[Happened]:
    return [Happened(*row) for row in reversed(unit.connection.execute(newest_first).all())]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whoever watches, and what they may see."""

    user_id: str
    session_id: str
    held: frozenset[str]

    def is_touched_by(self, news: Sequence[Happened]) -> bool:
        """Whether they may have lost something by what happened."""
        return any(one.user_id == self.user_id or one.type in _OF_MANY for one in news)


@dataclass(frozen=True, slots=True)
class News:
    """What happened behind some position: the end of the chain now, and the events, in order."""

    head: int
    events: list[Happened]


class Feed:
    """The newest events, looked up once for everybody who watches."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._chain: list[Happened] = []
        self._unsealed: list[Happened] = []
        self.open = 0

    def look(self, behind: int | None) -> News:
        """What is behind a position, or the end of the chain, at most a quarter of a second old."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_EVERY:
                with self._work.read() as unit:
                    found = _sealed(unit, behind=self._head)
                    self._chain = (self._chain + found)[-BACKLOG:]
                    self._unsealed = _unsealed(unit, head=self._head)
                self._looked_at = time.monotonic()
            start = self._head if behind is None else behind
            sealed = [one for one in self._chain if (one.position or 0) > start]
            return News(self._head, [*sealed, *self._unsealed])

    @property
    def _head(self) -> int:
        return (self._chain[-1].position or 0) if self._chain else 0


def route(context: WebContext) -> Route:
    """/admin/stream"""
    return Route(PATH, _Stream(context), methods=["GET"], include_in_schema=False)


class _Stream:
    """The endpoint, as plain ASGI: an answer that goes on."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._feed = Feed(context.work)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = Request(scope, receive)
        if self._feed.open >= OPEN_MAXIMUM:
            await Response(status_code=503, headers={"Retry-After": "30"})(scope, receive, send)
            return
        # Counted before anything is waited for: of many who come at once the last are sent away.
        self._feed.open += 1
        try:
            let_in = await anyio.to_thread.run_sync(
                self._watcher, raw, limiter=self._context.limiter
            )
            if let_in is None:
                # Nothing to watch: with this status a browser does not ask again.
                await Response(status_code=204)(scope, receive, send)
                return
            sent = raw.headers.get("last-event-id", "")
            is_position = sent.isascii() and sent.isdigit() and len(sent) <= _DIGITS_MAXIMUM
            behind = int(sent) if is_position else None
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope)
                await self._write(send, behind, let_in)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                group.cancel_scope.cancel()
        finally:
            self._feed.open -= 1

    async def _write(self, send: Send, behind: int | None, watcher: Watcher) -> None:
        quiet_since = checked_at = time.monotonic()
        # What was told, or shown by the page, before it was sealed.
        told: set[str] = set()
        await _line(send, b": here\n\n")
        # A server that stops ends it, and the page asks again: it would hold up the end.
        while not self._context.live.is_closed:
            try:
                found = await anyio.to_thread.run_sync(
                    self._feed.look, behind, limiter=self._context.limiter
                )
                if behind is None:
                    # A page that was just drawn shows what was before.
                    behind, told = found.head, {one.event_id for one in found.events}
                news = [one for one in found.events if one.event_id not in told]
                if time.monotonic() - checked_at > CHECK_EVERY or watcher.is_touched_by(news):
                    held = await anyio.to_thread.run_sync(
                        rooms.rights_now,
                        self._context,
                        watcher.session_id,
                        limiter=self._context.limiter,
                    )
                    if RIGHT not in held:
                        return  # whoever lost the right, or the session, is told no more
                    watcher, checked_at = replace(watcher, held=held), time.monotonic()
            except Unavailable:
                found, news = None, []
            if found is not None:
                behind = found.head
                told = {one.event_id for one in found.events}
            sees_all = "events:read" in watcher.held
            seen = [one for one in news if sees_all or one.type in _ABOUT_SESSIONS]
            if seen:
                # Each with how far the page is after it: the answer may be cut off between two.
                lines = [one.told(one.position or behind or 0, watcher.held) for one in seen]
                await _line(send, b"".join(lines))
                quiet_since = time.monotonic()
            if time.monotonic() - quiet_since > HEARTBEAT:
                await _line(send, b": still here\n\n")
                quiet_since = time.monotonic()
            await asyncio.sleep(LOOK_EVERY)

    def _watcher(self, raw: Request) -> Watcher | None:
        """Who asks, and what they may see; None when it is nothing. Looking is no activity."""
        request = page_request(self._context, raw)
        try:
            csrf.require_same_origin(request.headers, self._context.settings)
        except Refused:
            return None
        present = visitor.find(self._context, request)
        if present is None or not elevation.is_proved(present.session):
            return None
        held = rooms.rights(present)
        return Watcher(present.user.id, present.session.id, held) if RIGHT in held else None


async def _line(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})

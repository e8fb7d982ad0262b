"""Where a forked server dies. Installed in the child before it serves; the product knows nothing of
it.

A request that carries the header `X-Die` kills its server with SIGKILL at a point of its own work:
`before-commit 2`, `after-commit 1`, `before-answer 1` (the number counts the commits of this one
request). The order of installing may name a point of the worker instead.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Engine, event

from idp import app
from idp.admin import bulk
from idp.admin.model import BulkSignOut
from idp.clock import SECOND
from idp.logout.backchannel import BackchannelLogout
from idp.oauth import keys
from idp.storage import database, unit_of_work
from idp.storage.database import Database
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.work import dispatch, schedule
from idp.work.dispatch import Dispatch
from idp.work.schedule import Job, Schedule

HEADER = "X-Die"
POINTS = ("before-commit", "after-commit", "before-answer")
WORKER_POINTS = ("after-claim", "before-receipt", "after-receipt")


@dataclass
class _Doom:
    """Where the request at hand is to die."""

    point: str
    number: int
    commits: int = 0


_doom: ContextVar[_Doom | None] = ContextVar("doom", default=None)


def install(order: dict[str, Any]) -> None:
    """Does what the order says: `lease_seconds` and `job_lease_seconds`, `reload_keys_seconds`,
    `note_jobs`, `no_checkpoints`, `worker`, `bulk`; and minds `X-Die`.
    """
    if "job_lease_seconds" in order:
        schedule.LEASE = int(order["job_lease_seconds"] * SECOND)
    if "reload_keys_seconds" in order:
        keys.RELOAD_EVERY = int(order["reload_keys_seconds"] * SECOND)
    if "note_jobs" in order:
        _note_jobs(Path(order["note_jobs"]))
    if "lease_seconds" in order:
        dispatch.LEASE_BEYOND_TIMEOUT = int(order["lease_seconds"] * SECOND)
    if "bulk" in order:
        _kill_bulk(**order["bulk"])
    if order.get("no_checkpoints"):
        Database.checkpoint = lambda self: None  # type: ignore[method-assign]
    if "worker" in order:
        _kill_worker(order["worker"])
    _mind_requests()
    _mind_hot_commits()
    _mind_units()


def dying(request: bytes, point: str, number: int = 1) -> bytes:
    """The request with the header that makes its server die."""
    first, rest = request.split(b"\r\n", 1)
    return first + f"\r\n{HEADER}: {point} {number}\r\n".encode() + rest


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _before_commit() -> None:
    doom = _doom.get()
    if doom is not None:
        doom.commits += 1
        if doom.point == "before-commit" and doom.commits == doom.number:
            _die()


def _after_commit() -> None:
    doom = _doom.get()
    if doom is not None and doom.point == "after-commit" and doom.commits == doom.number:
        _die()


def _mind_requests() -> None:
    real = app.App.__call__

    async def call(self: app.App, scope: Any, receive: Any, send: Any) -> None:
        wanted = dict(scope.get("headers", ())).get(HEADER.lower().encode())
        if wanted is None:
            await real(self, scope, receive, send)
            return
        point, number = wanted.decode().split()
        _doom.set(_Doom(point, int(number)))

        async def last_words(message: Any) -> None:
            if point == "before-answer" and message["type"] == "http.response.start":
                _die()
            await send(message)

        await real(self, scope, receive, last_words)

    app.App.__call__ = call  # type: ignore[method-assign]


class _Mortal:
    """A driver's connection whose commit may be the last thing it does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        _before_commit()
        self._connection.commit()
        _after_commit()


def _mind_hot_commits() -> None:
    real: Callable[..., bool] = database._apply

    def apply(connection: Any, *rest: Any) -> bool:
        return real(_Mortal(connection), *rest)

    database._apply = apply


def _mind_units() -> None:
    event.listen(Engine, "commit", lambda _: _before_commit())
    real = unit_of_work.UnitOfWork.committed

    def committed(self: unit_of_work.UnitOfWork) -> None:
        _after_commit()
        real(self)

    unit_of_work.UnitOfWork.committed = committed  # type: ignore[method-assign]


def _note_jobs(file: Path) -> None:
    """Writes down each run of a periodic job: who, which, when it began and ended (monotonic)."""
    real = Schedule.__init__

    def noting(job: Job) -> Job:
        def run() -> object:
            begun = time.monotonic()
            done = job.run()
            line = f"{os.getpid()},{job.name},{begun:.4f},{time.monotonic():.4f}\n"
            with file.open("ab", buffering=0) as notes:
                notes.write(line.encode())
            return done

        return replace(job, run=run)

    def begin(self: Schedule, work: Work, jobs: Sequence[Job]) -> None:
        real(self, work, [noting(job) for job in jobs])

    Schedule.__init__ = begin  # type: ignore[method-assign]


def _kill_bulk(point: str, number: int, batch: int) -> None:
    """Dies in the batch of this number, of so many sessions each, before or after its commit."""
    bulk.BATCH = batch
    step, next_step = bulk.step, bulk.next_step
    begun = 0

    def stepping(unit: UnitOfWork, order: BulkSignOut) -> None:
        nonlocal begun
        step(unit, order)
        begun += 1
        if begun == number and point == "before-commit":
            unit.flush()
            _die()

    def after(work: Work, order_id: str) -> BulkSignOut:
        found = next_step(work, order_id)
        if begun == number:
            _die()
        return found

    bulk.step, bulk.next_step = stepping, after


def _kill_worker(point: str) -> None:
    if point == "after-claim":
        BackchannelLogout.send = lambda *_: _die()  # type: ignore[method-assign, assignment]
        return
    real_settle, real_step = Dispatch._settle, Dispatch._settle_and_claim

    def settle(self: Dispatch, unit: Any) -> None:
        if point == "before-receipt" and self._answers:
            _die()
        real_settle(self, unit)

    def settle_and_claim(self: Dispatch) -> Any:
        had_answers = bool(self._answers)
        claimed = real_step(self)
        if point == "after-receipt" and had_answers:
            _die()
        return claimed

    Dispatch._settle = settle  # type: ignore[method-assign]
    Dispatch._settle_and_claim = settle_and_claim  # type: ignore[method-assign]

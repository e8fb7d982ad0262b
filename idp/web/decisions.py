"""The shell around the hot endpoints: load facts, let pure code decide, write, answer.

Two statements a request. On SQLite they run inline on the event loop, because a read takes
microseconds and a thread hop costs more; requests that are under way together share a commit; when
the single writer is busy the write waits in a thread instead of holding the loop. On PostgreSQL each
request hops once to a thread. A write that lost a race is decided again on fresh facts. The bytes
leave only after the commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.to_thread import run_sync

from idp.errors import Unavailable
from idp.oauth.client_auth import fetch_keys
from idp.oauth.provider import Answer, Decision, NeedsClientKeys, NeedsSession, Provider
from idp.storage.database import Database, HotStatement, Row, Write

Result = TypeVar("Result")
# Each attempt starts from fresh facts; more than a handful in a row means something is wrong.
ATTEMPTS = 8


class Shell:
    """Carries out decisions for one process."""

    def __init__(self, provider: Provider, *, threads: int = 24) -> None:
        self.provider = provider
        self._database = provider.work.database
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None
        # By event loop: a server has one, tests may have several.
        self._commits: WeakKeyDictionary[asyncio.AbstractEventLoop, _GroupCommit] = (
            WeakKeyDictionary()
        )

    async def decide(
        self,
        statement: HotStatement,
        parameters: dict[str, Any],
        decide: Callable[[Row | None], Decision],
    ) -> Answer:
        """The answer of `decide` on the row of `statement`, once its writes are durable."""
        for _ in range(ATTEMPTS):
            try:
                decision, written = await self._once(statement, parameters, decide)
            except NeedsClientKeys as needed:
                await self.hop(partial(fetch_keys, needed.jwks_uri, self.provider))
                continue
            except NeedsSession as needed:
                await self.hop(partial(needed.make, self.provider.work))
                continue
            if not written:
                continue
            if decision.consequence is not None:
                await self.hop(partial(self._carry_out, decision))
            return decision.answer
        raise Unavailable("a request lost every race")

    async def _once(
        self,
        statement: HotStatement,
        parameters: dict[str, Any],
        decide: Callable[[Row | None], Decision],
    ) -> tuple[Decision, bool]:
        if not self._database.is_sqlite:
            return await self.hop(partial(self._both, statement, parameters, decide))
        decision = decide(self._database.query(statement, parameters))
        if not decision.writes:
            return decision, True
        loop = asyncio.get_running_loop()
        commits = self._commits.get(loop)
        if commits is None:
            commits = self._commits[loop] = _GroupCommit(self._database, self.hop)
        return decision, await commits.apply(decision.writes)

    def _both(
        self,
        statement: HotStatement,
        parameters: dict[str, Any],
        decide: Callable[[Row | None], Decision],
    ) -> tuple[Decision, bool]:
        decision = decide(self._database.query(statement, parameters))
        if not decision.writes:
            return decision, True
        return decision, bool(self._database.try_apply(decision.writes))

    def _carry_out(self, decision: Decision) -> None:
        if decision.consequence is not None:
            with self.provider.work.begin() as unit:
                decision.consequence(unit)

    async def hop(self, work: Callable[[], Result]) -> Result:
        """Runs `work` in this shell's own bounded set of threads."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        return await run_sync(work, limiter=self._limiter)


_Waiting = tuple[Sequence[Write], "asyncio.Future[bool]"]


class _GroupCommit:
    """Makes the writes of requests that are under way together durable by one commit.

    Used on SQLite, where every commit waits for the disk and there is one writer. Nothing is
    delayed for company: the commit comes as soon as the event loop has run the requests that were
    ready, or the writer is free again.
    """

    def __init__(
        self,
        database: Database,
        hop: Callable[[Callable[[], list[bool] | None]], Awaitable[list[bool] | None]],
    ) -> None:
        self._database = database
        self._hop = hop
        self._waiting: list[_Waiting] = []
        self._is_scheduled = False
        self._task: asyncio.Task[None] | None = None

    async def apply(self, writes: Sequence[Write]) -> bool:
        """Whether the writes are durable (True), or lost a race (False)."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((writes, outcome))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._commit)
        return await outcome

    def _commit(self) -> None:
        batch, self._waiting = self._waiting, []
        self._is_scheduled = False
        if not self._try(batch):
            # A page or the worker is writing: wait for it in a thread. Whoever comes meanwhile
            # waits for the next commit, together.
            self._is_scheduled = True
            self._task = asyncio.get_running_loop().create_task(self._in_thread(batch))

    def _try(self, batch: list[_Waiting]) -> bool:
        """Commits on the event loop; False when the writer is not free this moment."""
        try:
            outcomes = self._database.try_apply_all([writes for writes, _ in batch], wait=0)
        except Unavailable as error:
            _fail(batch, error)
        except Exception as error:
            # One request's writes cannot be done (what they refer to is gone). The others must not
            # suffer for it: each by itself.
            if len(batch) == 1:
                _fail(batch, error)
            else:
                for one in batch:
                    self._try_alone(one)
        else:
            if outcomes is None:
                return False
            _tell(batch, outcomes)
        return True

    def _try_alone(self, one: _Waiting) -> None:
        if not self._try([one]):
            _fail([one], _not_free())

    async def _in_thread(self, batch: list[_Waiting]) -> None:
        try:
            await self._try_in_thread(batch)
        finally:
            self._is_scheduled = False
            if self._waiting:
                self._commit()

    async def _try_in_thread(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._hop(
                partial(self._database.try_apply_all, [writes for writes, _ in batch])
            )
        except Exception as error:
            if len(batch) == 1 or isinstance(error, Unavailable):
                _fail(batch, error)
            else:  # as in `_try`: one request's mistake is not the others'
                for one in batch:
                    await self._try_in_thread([one])
        else:
            if outcomes is None:
                _fail(batch, _not_free())
            else:
                _tell(batch, outcomes)


def _not_free() -> Unavailable:
    return Unavailable("the database writer was not free in time")


def _tell(batch: list[_Waiting], outcomes: list[bool]) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if not future.done():
            future.set_result(outcome)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)

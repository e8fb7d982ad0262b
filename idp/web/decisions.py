"""The shell around the hot endpoints: load facts, let pure code decide, write, answer.

Two statements a request. On SQLite they run inline on the event loop, because a read takes
microseconds and a thread hop costs more; when the single writer is busy the write waits in a thread
instead of holding the loop. On PostgreSQL each request hops once to a thread. A write that lost a
race is decided again on fresh facts. The bytes leave only after the commit.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.to_thread import run_sync

from idp.errors import Unavailable
from idp.oauth.client_auth import fetch_keys
from idp.oauth.provider import Answer, Decision, NeedsClientKeys, Provider
from idp.storage.database import HotStatement, Row

log = logging.getLogger(__name__)

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
        written = self._database.try_apply(decision.writes, wait=0)
        if written is None:
            written = await self.hop(partial(self._database.try_apply, decision.writes))
            if written is None:
                raise Unavailable("the database writer was not free in time")
        return decision, written

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

"""Two nodes of one deployment inside the test process, on every pair of database and Store.

SQLite and PostgreSQL, each with a Store inside each node, with Redis, and with a Redis that is emptied
or stopped in the middle of what a test does (`meanwhile`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from idp.storage import redis
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.redis_server import RedisServer, running
from tests.harness.workbench import ManualClock

Store = Literal["embedded", "redis", "redis flushed", "redis stopped"]
STORES: tuple[Store, ...] = ("embedded", "redis", "redis flushed", "redis stopped")
SETUPS = [
    pytest.param(
        (database, store),
        id=f"{database}, {store}",
        marks=[
            *([pytest.mark.postgres] if database == "postgres" else []),
            *([pytest.mark.redis] if store != "embedded" else []),
        ],
    )
    for database in ("sqlite", "postgres")
    for store in STORES
]


@dataclass
class Nodes:
    """Two nodes that share everything a deployment shares, and no more."""

    one: Idp
    other: Idp
    store: Store
    redis: RedisServer | None

    def meanwhile(self) -> None:
        """What befalls Redis in the middle of a story: nothing, or it is emptied, or goes away."""
        if self.redis is not None and self.store == "redis flushed":
            self.redis.flush()
        if self.redis is not None and self.store == "redis stopped":
            self.redis.kill()

    def begin(self) -> None:
        """Redis is there and empty; what nodes have of their own, they keep."""
        if self.redis is not None:
            if self.redis.process is None:
                self.redis.start()
            self.redis.flush()


@contextmanager
def nodes_on(
    database: str, store: Store, folder: Path, templates: Templates, **settings: Any
) -> Iterator[Nodes]:
    """Two nodes on a prepared database and, unless the Store is embedded, a Redis of their own."""
    with ExitStack() as stack:
        if database == "sqlite":
            url = templates.sqlite(folder / "idp.db")
        else:
            url = stack.enter_context(templates.postgres())
        server = None
        if store != "embedded":
            server = stack.enter_context(running())
            settings["redis_url"] = server.url
            # A Redis that is there again is used at once: nobody sleeps for it.
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(redis, "LEFT_ALONE_SECONDS", 0.0)
        clock = ManualClock()
        one, other = (Idp(settings_for(url, **settings), clock) for _ in range(2))
        stack.callback(one.close)
        stack.callback(other.close)
        yield Nodes(one, other, store, server)

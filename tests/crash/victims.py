"""What a storm kills, and how it comes back: servers, PostgreSQL, its primary for good, Redis."""

import random
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tests.harness.load_clients import Browser
from tests.harness.postgres_outage import OwnPostgres
from tests.harness.postgres_pair import Pair
from tests.harness.redis_server import RedisServer
from tests.harness.server_process import Server, until

Kind = Literal["server", "database", "redis", "primary"]
# How often a server is killed again before it is ready, and all of several are killed at once.
KILLED_WHILE_STARTING = 0.1
ALL_AT_ONCE = 0.1
# Seconds of load between a replica that follows and the end of its primary.
WITH_A_REPLICA = 1.0
# Seconds a Redis is away.
REDIS_AWAY = 0.5


class Victim(Protocol):
    """What is killed and comes back."""

    def kill(self, up: threading.Event) -> str:
        """Kills it, and clears `up` where nobody answers now; gives what was done, for people."""

    def revive(self) -> None:
        """Gives control back when requests are answered again."""


@dataclass
class ServerVictim:
    """The provider's own processes, one or all; now and then one dies again before it is ready."""

    servers: Sequence[Server]
    doom: Mapping[str, Any] | None
    drawn: random.Random
    _dead: list[Server] = field(default_factory=list)

    def kill(self, up: threading.Event) -> str:
        all_at_once = self.drawn.random() < ALL_AT_ONCE
        self._dead = list(self.servers) if all_at_once else [self.drawn.choice(self.servers)]
        is_last = len(self._dead) == len(self.servers)
        if is_last:
            up.clear()
        for server in self._dead:
            server.kill()
        return "all nodes" if is_last and len(self.servers) > 1 else "a node"

    def revive(self) -> None:
        for server in self._dead:
            if self.drawn.random() < KILLED_WHILE_STARTING:
                server.begin(doom=self.doom)
                usual = statistics.median(server.ready_after)
                threading.Event().wait(self.drawn.uniform(0, 1.2 * usual))
                server.kill()
            server.start(doom=self.doom)


@dataclass
class DatabaseVictim:
    """PostgreSQL under the nodes, which stay up and say 503 meanwhile."""

    postgres: OwnPostgres
    servers: Sequence[Server]

    def kill(self, up: threading.Event) -> str:
        up.clear()
        self.postgres.crash()
        return "PostgreSQL"

    def revive(self) -> None:
        self.postgres.start()
        _wait_until_used(self.servers)


@dataclass
class PrimaryVictim:
    """The primary of two, which does not come back: the replica that was waited for takes over."""

    pair: Pair
    servers: Sequence[Server]

    def kill(self, up: threading.Event) -> str:
        self.pair.add_replica("sync")
        threading.Event().wait(WITH_A_REPLICA)
        up.clear()
        self.pair.primary.die()
        return "the primary"

    def revive(self) -> None:
        self.pair.take_over()
        _wait_until_used(self.servers)


@dataclass
class RedisVictim:
    """Redis beside the nodes, emptied and killed in turn: nobody may notice but by his watch."""

    redis: RedisServer
    _strikes: int = 0

    def kill(self, up: threading.Event) -> str:
        del up
        self._strikes += 1
        if self._strikes % 2:
            self.redis.flush()
            return "Redis emptied"
        self.redis.kill()
        threading.Event().wait(REDIS_AWAY)
        return "Redis"

    def revive(self) -> None:
        if self.redis.process is None:
            self.redis.start()


def _wait_until_used(servers: Sequence[Server]) -> None:
    """Until every node works on its database again, and notes how long that took."""
    begun = time.monotonic()
    for server in servers:
        until(lambda port=server.port: _is_well(port), "the database is used again", within=30)
        server.ready_after.append(time.monotonic() - begun)


def _is_well(port: int) -> bool:
    browser = Browser(port)
    try:
        return browser.get("/healthz").status == 200
    finally:
        browser.close()

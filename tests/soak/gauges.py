"""What may not grow while nodes are in use, sampled, and judged by its quarters.

A figure has grown when the median of the last quarter is above that of the first one by more than a
tenth and what the figure may waver by. The first tenth of the time is warming up and does not count.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from statistics import median

import psutil

from tests.harness.deployment import Deployment
from tests.harness.redis_server import RedisServer

WARMING_UP = 0.1
GROWTH = 0.1


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure: its unit, and what it may waver by without having grown."""

    name: str
    unit: str
    wavers: float


MEMORY = Gauge("memory", "MB", 8)
FILES = Gauge("open files", "", 12)
THREADS = Gauge("threads", "", 4)
CONNECTIONS = Gauge("PostgreSQL connections", "", 4)
# As many as were looked at within an hour; shown only.
KEYS = Gauge("Redis keys", "", inf)
ENDLESS = Gauge("Redis keys without end", "", 0)


@dataclass
class Samples:
    """What was seen of each figure, by whose it is, in order."""

    _seen: defaultdict[tuple[str, Gauge], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def take(self, made: Deployment, redis: RedisServer) -> None:
        """One sample of everything."""
        for number, server in enumerate(made.servers):
            process = psutil.Process(server.pid)
            node = f"node {number + 1}"
            self._seen[node, MEMORY].append(process.memory_info().rss / 1e6)
            self._seen[node, FILES].append(process.num_fds())
            self._seen[node, THREADS].append(process.num_threads())
        connections = made.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        self._seen["all", CONNECTIONS].append(int(connections))
        keys, ending = redis.count_keys()
        self._seen["all", KEYS].append(keys)
        self._seen["all", ENDLESS].append(keys - ending)

    def lines(self) -> list[str]:
        """A table of the first and the last quarter, and the most there ever was."""
        head = f"{'':8} {'':24} {'first':>9} {'last':>9} {'most':>9}"
        return [head, *(self._line(*key) for key in self._seen)]

    def grown(self) -> list[str]:
        """What grew."""
        return [
            f"{whose}: {gauge.name} grew"
            for whose, gauge in self._seen
            if has_grown(self._seen[whose, gauge], gauge)
        ]

    def _line(self, whose: str, gauge: Gauge) -> str:
        values = self._seen[whose, gauge]
        first, last = quarters(values)
        name = f"{gauge.name}, {gauge.unit}" if gauge.unit else gauge.name
        return f"{whose:8} {name:24} {first:9.1f} {last:9.1f} {max(values):9.1f}"


def quarters(values: list[float]) -> tuple[float, float]:
    """The medians of the first and the last quarter, once it is warm."""
    warm = values[int(len(values) * WARMING_UP) :]
    size = max(1, len(warm) // 4)
    return median(warm[:size]), median(warm[-size:])


def has_grown(values: list[float], gauge: Gauge) -> bool:
    """Whether a figure went up for good."""
    first, last = quarters(values)
    return last > first * (1 + GROWTH) + gauge.wavers

"""Rounds: every row on every contestant in turn, and the medians of what was seen.

The contestants are interleaved within each row of each round, so that a slow minute of the machine
is shared by all. Processor time is taken under `CONNECTIONS` connections, as a server in use works;
latency at a single connection, as an app that waits for one answer sees it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from tests.bench.contestants import Contestant
from tests.bench.load import drive, quantile
from tests.bench.rows import Row

CONNECTIONS = 8
# The share of a full round that runs uncounted first: Node compiles hot code as it goes.
WARM_UP = 0.3


@dataclass(slots=True)
class Figure:
    """What one row costs at one contestant: processor microseconds, latency in milliseconds."""

    cpu: list[float] = field(default_factory=list)
    redis_cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float | None]:
        return {
            name: median(values) if (values := getattr(self, name)) else None
            for name in ("cpu", "redis_cpu", "p50", "p99")
        }


Results = dict[str, dict[str, Figure]]


def run(
    contestants: list[Contestant],
    rows: list[Row],
    *,
    rounds: int,
    share: float,
    tell: Callable[[str], None],
) -> Results:
    """Measures all rows in so many rounds, after one uncounted round that warms everything up."""
    results: Results = defaultdict(lambda: defaultdict(Figure))
    for row in rows:
        tell(f"warming up: {row.name}")
        for contestant in contestants:
            _spend(contestant, row, int(row.count * max(share, WARM_UP)))
    for number in range(rounds):
        for row in rows:
            tell(f"round {number + 1} of {rounds}: {row.name}")
            for contestant in contestants:
                figure = results[row.name][contestant.label]
                _measure(contestant, row, max(20, int(row.count * share)), figure)
    return results


def _measure(contestant: Contestant, row: Row, count: int, figure: Figure) -> None:
    spent, redis_spent = _spend(contestant, row, count)
    figure.cpu.append(spent / count * 1e6)
    if contestant.redis:
        figure.redis_cpu.append(redis_spent / count * 1e6)
    latencies = _latencies(contestant, row, max(count // 4, min(count, 50)))
    figure.p50.append(quantile(latencies, 0.50) * 1e3)
    figure.p99.append(quantile(latencies, 0.99) * 1e3)


def _spend(contestant: Contestant, row: Row, count: int) -> tuple[float, float]:
    """Seconds of processor time that so many operations take: of the provider, of Redis."""
    running = contestant.used_for(row)
    spent = redis_spent = 0.0
    for batch in _batches(count, row.batch):
        operations = row.prepare(running.target, batch)
        redis_before = contestant.redis.cpu() if contestant.redis else 0.0
        before = running.server.cpu()
        drive(running.target.port, operations, connections=CONNECTIONS)
        spent += running.server.cpu() - before
        redis_spent += (contestant.redis.cpu() if contestant.redis else 0.0) - redis_before
    return spent, redis_spent


def _latencies(contestant: Contestant, row: Row, count: int) -> list[float]:
    running = contestant.used_for(row)
    seen: list[float] = []
    for batch in _batches(count, row.batch):
        operations = row.prepare(running.target, batch)
        seen += drive(running.target.port, operations).latencies
    return seen


def _batches(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(count, size)
        count -= size

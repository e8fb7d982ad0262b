"""`python -m tests.bench.many_nodes`: one node and two, on one PostgreSQL and Redis, in the same run.

A node is one process of Python, which keeps about one processor busy. So what two nodes give more than
one depends on what the machine has left beside PostgreSQL and the load itself, which share it here; the
processor time of each operation does not, and says what a node of its own machine would do.
"""

import argparse
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import orjson
import psutil

from tests.bench.load import Operation, drive
from tests.harness import redis_server
from tests.harness.deployment import SCOPE, Deployment, deployed, prepare
from tests.harness.load_clients import AppAt
from tests.harness.postgres_outage import own_postgres
from tests.harness.server_process import Spawning, unwind_when_told_to_end

CONNECTIONS = 16
FAMILIES = 40


class Target:
    """Some nodes, and grants to ask about."""

    def __init__(self, on: Deployment, postgres: psutil.Process, person: str) -> None:
        self.on = on
        self._postgres = postgres
        on.person(person)
        self._app: AppAt = on.app("App")
        browser = on.signed_in(person)
        grants = [on.grant(browser, self._app, scope=SCOPE) for _ in range(FAMILIES)]
        self._access = deque(grant.access_token for grant in grants)
        self._families = deque(grant.refresh_token for grant in grants)

    def introspect(self) -> Operation:
        self._access.rotate()
        answer = yield self._app.introspecting(self._access[0])
        answer.expect(200)

    def refresh(self) -> Operation:
        token = self._families.popleft()
        answer = yield self._app.refreshing(token)
        self._families.append(orjson.loads(answer.expect(200).body)["refresh_token"])

    def measured(self, row: Callable[[], Operation], count: int) -> tuple[float, float, float]:
        """Operations a second, and processor microseconds of an operation: of nodes, PostgreSQL."""
        port, *others = self.on.ports
        nodes = [psutil.Process(server.pid) for server in self.on.servers]
        before = _spent(nodes), _spent(self._postgres.children(recursive=True))
        load = drive(port, (row() for _ in range(count)), connections=CONNECTIONS, others=others)
        after = _spent(nodes), _spent(self._postgres.children(recursive=True))
        # Every connection is busy all the time.
        seconds = sum(load.latencies) / CONNECTIONS
        micros = [(then - now) / count * 1e6 for now, then in zip(before, after, strict=True)]
        return count / seconds, micros[0], micros[1]


def _spent(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.many_nodes", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2_000, help="operations in a round")
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    seen: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-nodes-")))
        postgres = stack.enter_context(own_postgres())
        redis = stack.enter_context(redis_server.running())
        prepare(postgres.url)
        targets = [
            Target(
                stack.enter_context(
                    deployed(postgres.url, folder, Spawning(), nodes=nodes, IDP_REDIS_URL=redis.url)
                ),
                postgres.process(),
                f"somebody{nodes}",
            )
            for nodes in chosen.nodes
        ]
        for number in range(chosen.rounds + 1):
            for target in targets:
                rows = {"introspection": target.introspect, "refresh": target.refresh}
                for name, row in rows.items():
                    found = target.measured(row, chosen.count)
                    if number:  # the first round warms everything up
                        seen.setdefault((name, len(target.on.servers)), []).append(found)
    say(f"{'':16} {'nodes':>5} {'a second':>9} {'CPU µs, nodes':>14} {'CPU µs, PostgreSQL':>19}")
    for (name, nodes), rounds in sorted(seen.items()):
        rate, ours, theirs = (median(values) for values in zip(*rounds, strict=True))
        say(f"{name:16} {nodes:5} {rate:9.0f} {ours:14.0f} {theirs:19.0f}")
        most = f"{1e6 / ours:.0f} a second of nodes, {1e6 / theirs:.0f} of PostgreSQL"
        say(f"{'':16} {'':5} a processor of its own does {most}")
    say(f"processors: {psutil.cpu_count()}, shared by nodes, PostgreSQL and the load")
    say("nodes add up until PostgreSQL's processors are busy")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

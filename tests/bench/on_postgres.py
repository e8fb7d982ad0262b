"""`python -m tests.bench.on_postgres`: processor time of a node, and of PostgreSQL, for each request.

One node on a PostgreSQL of this machine, asked over eight connections; in microseconds a request. What
is on paper about larger deployments (README, "Capacity on paper") is reckoned from these. It never
fails on a time.
"""

import argparse
import sys
from collections.abc import Collection

import psutil
import sqlalchemy as sa

from tests.bench.cost_by_size import Questions, among
from tests.bench.load import drive
from tests.bench.measure import CONNECTIONS
from tests.harness.deployment import Deployment
from tests.harness.server_process import unwind_when_told_to_end

ASKED = ("introspection", "refresh", "own sessions", "revocation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200, help="of each kind, in each round")
    given = parser.parse_args()
    unwind_when_told_to_end()
    with among(given.sessions, "postgresql") as on:
        rows = Questions(on).rows()
        sys.stdout.write(f"{'':20} {'node':>8} {'PostgreSQL':>12}\n")
        for name in ASKED:
            most, row = rows[name]
            count = min(most, given.requests)
            rounds = given.rounds if name != "revocation" else 1
            node, database = [], []
            for _ in range(rounds):
                before = _spent(on.server.pid), _spent(*_backends(on))
                drive(on.port, (row() for _ in range(count)), connections=CONNECTIONS)
                after = _spent(on.server.pid), _spent(*_backends(on))
                node.append((after[0] - before[0]) / count)
                database.append((after[1] - before[1]) / count)
            sys.stdout.write(f"{name:20} {min(node) * 1e6:8.0f} {min(database) * 1e6:12.0f}\n")
            sys.stdout.flush()


def _backends(on: Deployment) -> Collection[int]:
    with on.work.database.read() as connection:
        return list(connection.scalars(sa.text("SELECT pid FROM pg_stat_activity")))


def _spent(*pids: int) -> float:
    """Seconds of processor time of these processes until now."""
    times = [psutil.Process(pid).cpu_times() for pid in pids if psutil.pid_exists(pid)]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()

"""`python -m tests.bench.cost_by_size --sizes 1000 10000 100000 1000000`: what a request costs among so
many sessions.

For each size and kind of database a real server on a database of its own (`tests.harness.crowd`), asked
over one connection. It never fails on a time.
"""

import argparse
import itertools
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import sqlalchemy as sa

from tests.bench import wire
from tests.bench.load import Operation, drive, quantile
from tests.harness import crowd
from tests.harness.deployment import SCOPE, Deployment, Grant, deployed
from tests.harness.load_clients import AppAt, json_of
from tests.harness.provider import Templates
from tests.harness.server_process import Spawning, unwind_when_told_to_end

PEOPLE = 10
GRANTS = 60
Row = Callable[[], Operation]
Cell = tuple[float, float]


class Questions:
    """One running server among so many sessions, and one request of each kind at a time."""

    def __init__(self, on: Deployment) -> None:
        self._on = on
        on.limit_sessions(1_000)
        names = [f"somebody{number}" for number in range(PEOPLE)]
        for name in names:
            on.person(name)
        self._app = on.app("App")
        browsers = [on.signed_in(name) for name in names]
        self._grants = [
            on.grant(browser, self._app, scope=SCOPE)
            for browser, _ in zip(itertools.cycle(browsers), range(GRANTS), strict=False)
        ]
        self._turns = itertools.cycle(self._grants)
        self._families = deque(grant.refresh_token for grant in self._grants)
        self._searching = self._management_token()

    def rows(self) -> dict[str, tuple[int, Row]]:
        """What is asked, and how often."""
        search = "/api/v1/admin/sessions"
        return {
            "introspection": (600, self._introspect),
            "refresh": (600, self._refresh),
            "own sessions": (300, self._own_sessions),
            "search: country and device": (100, self._search(f"{search}?country=LI&device=tv")),
            "search: network": (100, self._search(f"{search}?ip=10.5.0.0/16")),
            "search: newest": (100, self._search(search)),
            "revocation": (GRANTS, self._revoke),
        }

    def _management_token(self) -> str:
        program: AppAt = self._on.app(
            "Operations",
            grant_types=["client_credentials"],
            redirect_uris=[],
            scope="sessions:read",
            management=1,
        )
        asked = program.posting("/token", grant_type="client_credentials", scope="sessions:read")
        return str(json_of(self._on.ask(asked))["access_token"])

    def _introspect(self) -> Operation:
        grant = self._next()
        answer = yield self._app.introspecting(grant.access_token)
        if not json_of(answer.expect(200))["active"]:
            raise RuntimeError("not active")

    def _refresh(self) -> Operation:
        answer = yield self._app.refreshing(self._families.popleft())
        self._families.append(orjson.loads(answer.expect(200).body)["refresh_token"])

    def _own_sessions(self) -> Operation:
        token = self._next().access_token
        answer = yield self._app.asking("GET", "/api/v1/users/sessions", token)
        answer.expect(200)

    def _search(self, path: str) -> Row:
        headers = {"Authorization": f"Bearer {self._searching}"}
        request = wire.request("GET", path, host=f"localhost:{self._on.port}", headers=headers)

        def search() -> Operation:
            answer = yield request
            answer.expect(200)

        return search

    def _revoke(self) -> Operation:
        answer = yield self._app.revoking(self._families.popleft())
        answer.expect(200)

    def _next(self) -> Grant:
        return next(self._turns)


def measured(on: Deployment) -> dict[str, Cell]:
    """The median and the 99th of 100 of each row, in milliseconds."""
    found = {}
    for name, (count, row) in Questions(on).rows().items():
        seen = drive(on.port, (row() for _ in range(count))).latencies
        found[name] = quantile(seen, 0.5) * 1e3, quantile(seen, 0.99) * 1e3
    return found


@contextmanager
def among(sessions: int, kind: str) -> Iterator[Deployment]:
    """A server on a database with so many sessions."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-size-")))
        templates = Templates(folder)
        if kind == "sqlite":
            url = templates.sqlite(folder / "idp.db")
        else:
            url = stack.enter_context(templates.postgres())
        # Tokens outlive the whole run.
        made = stack.enter_context(
            deployed(url, folder, Spawning(), IDP_TOKENS__ACCESS_LIFETIME="86400")
        )
        crowd.gather(made.work, sessions)
        # What the worker and PostgreSQL's autovacuum do in time.
        made.work.database.checkpoint()
        if not made.is_sqlite:
            with made.work.database.write() as connection:
                connection.execute(sa.text("ANALYZE"))
        yield made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cost_by_size", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    kinds = ("sqlite", "postgresql") if chosen.database == "both" else (chosen.database,)
    for kind in kinds:
        table: dict[str, list[Cell]] = {}
        for size in chosen.sizes:
            with among(size, kind) as on:
                for name, cell in measured(on).items():
                    table.setdefault(name, []).append(cell)
        say(f"{kind}; milliseconds, p50 / p99, by the number of sessions")
        say(f"{'':28}" + "".join(f"{size:>18,}" for size in chosen.sizes))
        for name, cells in table.items():
            say(f"{name:28}" + "".join(f"{p50:10.1f} / {p99:5.1f}" for p50, p99 in cells))
        say("")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""`python -m tests.bench.stuffing`: a flood of wrong sign-ins beside honest use, on one real server.

First the honest use alone, then the same beside the flood, in one run: what the flood costs is the
difference. The server has all processors and the settings that the product comes with; the generator
shares the machine with it, and says how much it took. It never fails on a time.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench import servers
from tests.bench.crowds import PEOPLE, Addresses, Flood, Honest
from tests.bench.load import quantile
from tests.bench.paced import Kind, Line, at_rate
from tests.bench.target import REDIRECT_URI, RegisteredClient, Target
from tests.harness.server_process import Server, Spawning, running
from tests.interop import provider

SCOPE = "openid profile email"
HONEST_RATE = 20.0
# Whose tokens are refreshed: nobody has so many sessions that one of them must end.
APP_USERS = [f"user{number}" for number in range(50)]


@dataclass(slots=True)
class Phase:
    """What was seen in one phase."""

    refresh: Kind = field(default_factory=Kind)
    introspection: Kind = field(default_factory=Kind)
    sign_in: Kind = field(default_factory=Kind)
    wrong: Kind = field(default_factory=Kind)


@dataclass(slots=True)
class Result:
    """A whole run."""

    calm: Phase
    flood: Phase
    # Resident megabytes of the server.
    memory_before: float
    memory_peak: float
    memory_after: float
    # Share of one processor that server and generator took during the flood.
    server_cpu: float
    load_cpu: float
    hashes: int
    # Of one account, at most.
    hashes_of_one: int
    throttles: int
    megabytes: tuple[float, float]
    log: str


async def _phase(
    honest: Honest, flood: Flood | None, *, port: int, seconds: float, rate: float, watch: "_Watch"
) -> Phase:
    seen, line = Phase(), Line(port)
    streams = [
        at_rate(HONEST_RATE, seconds, lambda due: honest.refresh(line, seen.refresh, due)),
        at_rate(HONEST_RATE, seconds, lambda due: honest.introspect(line, seen.introspection, due)),
        at_rate(1.0, seconds, lambda due: honest.sign_in(line, seen.sign_in, due)),
    ]
    if flood is not None:
        wrong = flood.sign_in
        streams.append(at_rate(rate, seconds, lambda due: wrong(line, seen.wrong, due)))
    watching = asyncio.ensure_future(watch.look())
    await asyncio.gather(*streams)
    watching.cancel()
    line.close()
    return seen


class _Watch:
    """The memory of the server."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak = 0.0

    def now(self) -> float:
        return self._process.memory_info().rss / 1e6

    def cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    async def look(self) -> None:
        while True:
            self.peak = max(self.peak, self.now())
            await asyncio.sleep(0.2)


@contextmanager
def _served(folder: Path) -> Iterator[tuple[Server, Target]]:
    port = servers.free_port()
    registered = provider.prepare(
        folder,
        port,
        people=[*PEOPLE, *APP_USERS],
        registrations={
            "opaque": {
                "redirect_uris": [REDIRECT_URI],
                "grant_types": ["authorization_code", "refresh_token"],
                "scope": SCOPE,
                "first_party": 1,
            }
        },
    )
    settings = provider.environment(folder, port, IDP_TRUSTED_PROXIES='["127.0.0.0/8"]')
    own = {name: value for name, value in settings.items() if name.startswith("IDP_")}
    with running(Server(Spawning(), port, folder, own)) as server:
        app = registered["opaque"]
        target = Target(
            label="ours",
            port=port,
            clients={"opaque": RegisteredClient(app["client_id"], app["client_secret"], SCOPE)},
            login_fields=lambda name: {"username": name, "password": provider.PASSWORD},
            usernames=APP_USERS,
            keeps_sessions=True,
        )
        target.discover()
        yield server, target


def run(*, seconds: float, rate: float, calm: float, addresses: Addresses = "many") -> Result:
    """Honest use for `calm` seconds, and for `seconds` more beside so many wrong sign-ins a second."""
    servers.raise_open_files()
    with tempfile.TemporaryDirectory(prefix="stuffing-") as name, _served(Path(name)) as served:
        server, target = served
        honest, flood = Honest(target), Flood(target, addresses)
        watch, database = _Watch(server.pid), Path(name) / "idp.db"
        quiet = asyncio.run(
            _phase(honest, None, port=target.port, seconds=calm, rate=0, watch=watch)
        )
        before, size, failed = watch.now(), _megabytes(database), _failed(database)
        spent, ours, begun = watch.cpu(), time.process_time(), time.perf_counter()
        busy = asyncio.run(
            _phase(honest, flood, port=target.port, seconds=seconds, rate=rate, watch=watch)
        )
        took = time.perf_counter() - begun
        return Result(
            calm=quiet,
            flood=busy,
            memory_before=before,
            memory_peak=watch.peak,
            memory_after=watch.now(),
            server_cpu=(watch.cpu() - spent) / took,
            load_cpu=(time.process_time() - ours) / took,
            hashes=_failed(database) - failed + busy.sign_in.statuses["good"],
            hashes_of_one=_scalar(database, _OF_ONE),
            throttles=_scalar(database, "SELECT count(*) FROM throttles"),
            megabytes=(size, _megabytes(database)),
            log=server.log.read_text(),
        )


_OF_ONE = (
    "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM events "
    "WHERE type = 'login.failed' AND user_id IS NOT NULL GROUP BY user_id)"
)


def _failed(database: Path) -> int:
    return _scalar(database, "SELECT count(*) FROM events WHERE type = 'login.failed'")


def _scalar(database: Path, statement: str) -> int:
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        return int(connection.execute(statement).fetchone()[0])


def _megabytes(database: Path) -> float:
    parts = (database, database.with_name(f"{database.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists()) / 1e6


def report(result: Result) -> str:
    """The figures as a table."""
    lines = [f"{'':34} {'alone':>26}   {'beside the flood':>26}"]
    lines.append(f"{'':34} {'n':>6} {'good':>6} {'p50':>6} {'p99':>6}   " +
                 f"{'n':>6} {'good':>6} {'p50':>6} {'p99':>6}")  # fmt: skip
    for label, name in (
        ("refresh", "refresh"),
        ("introspection", "introspection"),
        ("sign-in, page and form", "sign_in"),
    ):
        cells = "   ".join(_cells(getattr(phase, name)) for phase in (result.calm, result.flood))
        lines.append(f"{label:34} {cells}")
    wrong = result.flood.wrong
    answered = ", ".join(f"{status}: {count}" for status, count in sorted(wrong.statuses.items()))
    lines += [
        "",
        f"wrong sign-ins: {wrong.statuses.total()}; answered {answered}",
        f"  p50 {quantile(wrong.latencies, 0.5) * 1e3:.0f} ms, "
        f"p99 {quantile(wrong.latencies, 0.99) * 1e3:.0f} ms; passwords checked {result.hashes}, "
        f"of one account at most {result.hashes_of_one}",
        f"honest sign-ins that were not good: {dict(result.flood.sign_in.statuses)}",
        f"memory of the server: {result.memory_before:.0f} MB before, "
        f"{result.memory_peak:.0f} at most, {result.memory_after:.0f} after",
        f"rows of throttles: {result.throttles}; database and log: "
        f"{result.megabytes[0]:.1f} MB before, {result.megabytes[1]:.1f} after",
        f"processors: server {result.server_cpu:.2f}, this generator {result.load_cpu:.2f}",
    ]
    return "\n".join(lines)


def _cells(kind: Kind) -> str:
    times = " ".join(f"{quantile(kind.latencies, share) * 1e3:6.1f}" for share in (0.5, 0.99))
    return f"{kind.statuses.total():6} {kind.success:6.1%} {times}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stuffing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the flood lasts")
    parser.add_argument("--rate", type=float, default=200.0, help="wrong sign-ins a second")
    parser.add_argument("--calm", type=float, default=20.0, help="seconds without it beforehand")
    parser.add_argument("--addresses", choices=("many", "one"), default="many")
    given = parser.parse_args()
    result = run(seconds=given.seconds, rate=given.rate, calm=given.calm, addresses=given.addresses)
    print(f"{given.rate:.0f} wrong sign-ins a second from {given.addresses} address(es), "
          f"for {given.seconds:.0f} s; times in milliseconds\n")  # fmt: skip
    print(report(result))
    if "Traceback" in result.log:
        sys.exit(f"The server's log:\n{result.log[-3000:]}")


if __name__ == "__main__":
    main()

"""Killing a server again and again under load, and judging what clients, receivers and the database
say afterwards (FT-01, FT-04).
"""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.crash import ledger
from tests.crash.load import Client
from tests.crash.world import World
from tests.harness import history
from tests.harness.deployment import Deployment, deployment
from tests.harness.load_clients import Browser, Lost, NotSent
from tests.harness.postgres_outage import OwnPostgres
from tests.harness.receivers import Receiver, Receivers, late, listening, saying
from tests.harness.server_process import Launch, Server, environment, reserved_port, until

# Seconds between readiness and the next kill, what must have been answered in between even on a
# slow machine, and how often a server is killed before it is ready.
BETWEEN = (0.2, 1.0)
LEAST_DONE = 25
KILLED_WHILE_STARTING = 0.1
GRACE = 10
PEOPLE = ("alice", "bob", "carol")
# A claim whose holder was killed is sent again when its lease has run out.
DRAINING = 90.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one storm showed."""

    kills: int
    seconds: float
    operations: Counter[tuple[str, history.Outcome]]
    answers: Counter[str]
    ready_after: list[float]
    sessions_ended: int
    logouts_told: int
    logouts_repeated: int
    violations: list[str]

    def lines(self) -> list[str]:
        """The report as people read it."""
        done = sum(n for (_, outcome), n in self.operations.items() if outcome != "not sent")
        unknown = sum(n for (_, outcome), n in self.operations.items() if outcome == "unknown")
        by_kind = Counter[str]()
        for (kind, outcome), n in self.operations.items():
            by_kind[kind] += n if outcome != "not sent" else 0
        ready = sorted(self.ready_after)
        return [
            f"kills {self.kills}, {self.seconds:.0f} s, {done} operations "
            f"({done / self.seconds:.0f} a second), {unknown} of unknown outcome",
            f"violations {len(self.violations)}",
            f"ready again after (s): median {statistics.median(ready):.2f}, "
            f"95 % {ready[int(0.95 * (len(ready) - 1))]:.2f}, most {ready[-1]:.2f}",
            "operations: " + ", ".join(f"{kind} {n}" for kind, n in by_kind.most_common()),
            "answers: " + ", ".join(f"{what} {n}" for what, n in self.answers.most_common()),
            f"sessions ended {self.sessions_ended}, logouts told {self.logouts_told}, "
            f"of them again {self.logouts_repeated}",
        ]


def storm(
    url: str,
    folder: Path,
    launch: Launch,
    *,
    kills: int,
    clients: int = 6,
    seed: int = 0,
    doom: Mapping[str, Any] | None = None,
    postgres: OwnPostgres | None = None,
    after_kill: Callable[[], object] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Runs a load, kills the server `kills` times, and gives what came of it.

    With `postgres` the database is killed instead. `after_kill` is done while the victim is dead;
    `progress` is told the number of each kill.
    """
    # Tokens outlive the storm, so that one found dead was ended by somebody.
    settings = environment(
        url, IDP_TOKENS__ACCESS_LIFETIME="86400", IDP_TOKENS__REFRESH_GRACE=str(GRACE)
    )
    with ExitStack() as stack:
        server = Server(launch, stack.enter_context(reserved_port()), folder, settings)
        receivers = stack.enter_context(listening())
        made = deployment(url, [server])
        stack.callback(made.close)
        world, told = _populate(made, receivers)
        # So that a restart is the first to open the database after the kill, and recovers it.
        made.work.database.close()
        stack.callback(server.stop)
        server.start(doom=doom)
        world.up.set()
        threads = [Client(world, number, seed) for number in range(clients)]
        begun = time.monotonic()
        try:
            for thread in threads:
                thread.start()
            drawn = random.Random(seed)
            victim: Victim = ServerVictim(server, doom, drawn)
            if postgres is not None:
                victim = DatabaseVictim(postgres, server)
            for number in _kill(victim, world, kills, drawn, after_kill):
                progress(number)
        finally:
            world.over.set()
            world.up.set()
            for thread in threads:
                thread.join(60)
        seconds = time.monotonic() - begun
        for thread in threads:
            if thread.problem is not None:
                raise thread.problem
        _look_once_more(world)
        until(lambda: _owed(made) == 0, "every logout is delivered", within=DRAINING)
        server.stop()
        return _judged(made, world, told, server, kills=kills, seconds=seconds)


def _populate(made: Deployment, receivers: Receivers) -> tuple[World, dict[str, Receiver]]:
    for name in PEOPLE:
        made.person(name)
    # Nobody has to go for want of room: a session found ended was ended by somebody.
    made.limit_sessions(1_000)
    told: dict[str, Receiver] = {}
    apps = []
    flaky = _now_and_then(saying("200 OK"), saying("500 Internal Server Error"))
    for number, answering in enumerate((saying("200 OK"), saying("204 No Content"), flaky)):
        receiver = receivers.add(answering)
        apps.append(made.app(f"App {number}", receiver=receiver))
        told[apps[-1].registered.id] = receiver
    apps.append(made.app("An app that takes no messages"))
    apps.append(made.app("An app with JWTs", access_token_format="jwt"))
    resource = made.app("API", introspects_all=1)
    world = World(made.port, list(PEOPLE), apps, resource, grace=float(GRACE))
    return world, told


def _now_and_then(usual: Any, seldom: Any) -> Any:
    """Answers one way, and one time in four the other, slowly."""
    drawn = random.Random(4)

    async def answer(reader: Any, writer: Any) -> None:
        if drawn.random() < 0.25:
            await late(0.2, seldom)(reader, writer)
        else:
            await usual(reader, writer)

    return answer


class Victim(Protocol):
    """What is killed and comes back."""

    def kill(self) -> None: ...

    def revive(self) -> None:
        """Gives control back when requests are answered again."""


@dataclass
class ServerVictim:
    """The provider's own process; now and then it dies again before it is ready."""

    server: Server
    doom: Mapping[str, Any] | None
    drawn: random.Random

    def kill(self) -> None:
        self.server.kill()

    def revive(self) -> None:
        if self.drawn.random() < KILLED_WHILE_STARTING:
            self.server.begin(doom=self.doom)
            usual = statistics.median(self.server.ready_after)
            threading.Event().wait(self.drawn.uniform(0, 1.2 * usual))
            self.server.kill()
        self.server.start(doom=self.doom)


@dataclass
class DatabaseVictim:
    """PostgreSQL under the provider, which stays up and says 503 meanwhile."""

    postgres: OwnPostgres
    server: Server

    def kill(self) -> None:
        self.postgres.crash()

    def revive(self) -> None:
        self.postgres.start()
        begun = time.monotonic()
        until(lambda: _is_well(self.server.port), "the database is used again", within=30)
        self.server.ready_after.append(time.monotonic() - begun)


def _is_well(port: int) -> bool:
    browser = Browser(port)
    try:
        return browser.get("/healthz").status == 200
    finally:
        browser.close()


def _kill(
    victim: Victim, world: World, kills: int, drawn: random.Random, after: Callable[[], object]
) -> Iterator[int]:
    """Kills and revives, so many times; gives the number of each once all is well."""
    calm = threading.Event()  # never set: waited on for its time alone
    for number in range(1, kills + 1):
        enough = world.done() + LEAST_DONE
        calm.wait(drawn.uniform(*BETWEEN))
        until(lambda enough=enough: world.done() >= enough, "the clients go on", within=60)
        world.up.clear()
        victim.kill()
        after()
        victim.revive()
        world.up.set()
        yield number
    calm.wait(BETWEEN[1])


def _look_once_more(world: World) -> None:
    """After the storm: what should live is used, what should be dead is looked at."""
    after = Client(world, len(world.people), seed=0)
    try:
        for held in world.grants:
            for token in held.tokens():
                after.introspect_this(token)
        ended = {subject for op in world.history.ops for subject in op.may_end}
        for held in world.grants:
            if ended.isdisjoint(world.history.lineage(held.subject)):
                after.refresh_this(held)
    except (Lost, NotSent) as problem:
        raise RuntimeError("the server went away after the storm") from problem
    finally:
        after.wire.close()


def _owed(made: Deployment) -> int:
    return int(made.scalar("SELECT count(*) FROM deliveries WHERE state = 'owed'"))


def _judged(
    made: Deployment,
    world: World,
    told: dict[str, Receiver],
    server: Server,
    *,
    kills: int,
    seconds: float,
) -> Report:
    violations = history.contradictions(world.history, grace=world.grace)
    violations += ledger.contradictions(made, world, told)
    if world.answers["500"]:
        violations.append(f"I9: {world.answers['500']} answers were 500")
    violations += _integrity(made)
    arrived = sum(len(receiver.requests) for receiver in told.values())
    deliveries = int(made.scalar("SELECT count(*) FROM deliveries"))
    return Report(
        kills=kills,
        seconds=seconds,
        operations=world.history.count(),
        answers=world.answers,
        ready_after=server.ready_after[1:],
        sessions_ended=int(made.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL")),
        logouts_told=arrived,
        logouts_repeated=arrived - deliveries,
        violations=violations,
    )


def _integrity(made: Deployment) -> list[str]:
    if not made.is_sqlite:
        return []
    found = made.scalar("PRAGMA integrity_check")
    return [] if found == "ok" else [f"the database is damaged: {found}"]

"""A deployment under the load of people and apps who go on through whatever is done to it.

While the block runs clients log what they do and are told (`load`); at its end what should live is
used once more, what is owed is waited for, and one checker judges clients, receivers, database and
logs (`history`, `ledger`).
"""

import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash import ledger
from tests.crash.load import Client
from tests.crash.world import World
from tests.harness import history
from tests.harness.deployment import Deployment, deployment
from tests.harness.load_clients import Lost, NotSent
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receiver, Receivers, late, listening, saying
from tests.harness.redis_server import RedisServer
from tests.harness.server_process import (
    Launch,
    Server,
    asked,
    environment,
    reserved_port,
    until,
)
from tests.harness.workbench import SECRET

GRACE = 10
PEOPLE = ("alice", "bob", "carol")
# One of them may not have as many sessions as they like.
LIMITS = {"carol": 2}
# A claim whose holder was killed is sent again when its lease has run out.
DRAINING = 90.0


@dataclass(frozen=True, slots=True)
class Report:
    """What the time under load showed."""

    seconds: float
    struck: Counter[str]
    operations: Counter[tuple[str, history.Outcome]]
    answers: Counter[str]
    ready_after: list[float]
    sessions_ended: int
    logouts_told: int
    logouts_repeated: int
    violations: list[str]

    @property
    def kills(self) -> int:
        return self.struck.total()

    @property
    def ends_acknowledged(self) -> int:
        """Revocations, sign-outs and ends of sessions that were answered well."""
        return sum(
            n
            for (kind, outcome), n in self.operations.items()
            if outcome == "ok" and (kind == "revoke" or kind.startswith("end "))
        )

    def lines(self) -> list[str]:
        """The report as people read it."""
        done = sum(n for (_, outcome), n in self.operations.items() if outcome != "not sent")
        unknown = sum(n for (_, outcome), n in self.operations.items() if outcome == "unknown")
        by_kind = Counter[str]()
        for (kind, outcome), n in self.operations.items():
            by_kind[kind] += n if outcome != "not sent" else 0
        kinds = ", ".join(f"{what} {n}" for what, n in self.struck.items())
        return [
            f"kills {self.kills}{f' ({kinds})' if kinds else ''}, {self.seconds:.0f} s, {done} "
            f"operations ({done / self.seconds:.0f} a second), {unknown} of unknown outcome",
            f"acknowledged ends {self.ends_acknowledged}, violations {len(self.violations)}",
            *_times(sorted(self.ready_after)),
            "operations: " + ", ".join(f"{kind} {n}" for kind, n in by_kind.most_common()),
            "answers: " + ", ".join(f"{what} {n}" for what, n in self.answers.most_common()),
            f"sessions ended {self.sessions_ended}, logouts told {self.logouts_told}, "
            f"of them again {self.logouts_repeated}",
        ]


def _times(ready: list[float]) -> list[str]:
    if not ready:
        return []
    return [
        f"ready again after (s): median {statistics.median(ready):.2f}, "
        f"95 % {ready[int(0.95 * (len(ready) - 1))]:.2f}, most {ready[-1]:.2f}"
    ]


@dataclass
class UnderLoad:
    """What is under load; `report` is there when the block has ended."""

    made: Deployment
    world: World
    told: dict[str, Receiver]
    doom: Mapping[str, Any] | None
    # What was done to it that it should survive.
    struck: Counter[str] = field(default_factory=Counter)
    _report: Report | None = None

    @property
    def report(self) -> Report:
        assert self._report is not None, "the block has not ended"
        return self._report

    def goes_on(self, requests: int) -> None:
        """Waits until so many more requests were answered well."""
        enough = self.world.done() + requests
        until(lambda: self.world.done() >= enough, "the clients go on", within=60)

    def leaves(self, server: Server) -> None:
        """An orderly end under load: the node says "not ready", is sent nobody any more, and ends."""
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: self.readiness(server) != 200, "the node says that it leaves")
        self.world.leaving.add(server.port)
        server.wait_for_death()

    def comes_back(self, server: Server) -> None:
        """Started anew; sent requests from when it says that it is ready."""
        server.start(doom=self.doom)
        until(lambda: self.readiness(server) == 200, "the node says that it is ready")
        self.world.leaving.discard(server.port)

    def readiness(self, server: Server) -> int:
        """What the management port of a node says; 0 for nothing."""
        return asked(int(server.environment["IDP_MANAGEMENT__PORT"]), "/health/ready")

    def judge(self, seconds: float) -> None:
        made, world = self.made, self.world
        violations = history.contradictions(world.history, grace=world.grace)
        violations += ledger.contradictions(made, world, self.told)
        if world.answers["500"]:
            violations.append(f"I9: {world.answers['500']} answers were 500")
        violations += _integrity(made)
        violations += _said_in_logs(made, world)
        arrived = sum(len(receiver.requests) for receiver in self.told.values())
        ended = made.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL")
        self._report = Report(
            seconds=seconds,
            struck=self.struck,
            operations=world.history.count(),
            answers=world.answers,
            ready_after=[one for server in made.servers for one in server.ready_after[1:]],
            sessions_ended=int(ended),
            logouts_told=arrived,
            logouts_repeated=arrived - int(made.scalar("SELECT count(*) FROM deliveries")),
            violations=violations,
        )


def not_started(
    launch: Launch,
    url: str,
    folder: Path,
    stack: ExitStack,
    *,
    redis: RedisServer | None,
    **settings: str,
) -> Server:
    """A node with a management port; its ports are kept until the stack is closed."""
    port, side = stack.enter_context(reserved_port()), stack.enter_context(reserved_port())
    # Tokens outlive the load, so that one found dead was ended by somebody.
    known = environment(
        url,
        IDP_TOKENS__ACCESS_LIFETIME="86400",
        IDP_TOKENS__REFRESH_GRACE=str(GRACE),
        IDP_REDIS_URL=redis.url if redis is not None else "",
        IDP_MANAGEMENT__PORT=str(side),
        **settings,
    )
    return Server(launch, port, folder, known)


@contextmanager
def under_load(
    url: str,
    folder: Path,
    launch: Launch,
    *,
    nodes: int = 1,
    clients: int = 6,
    seed: int = 0,
    doom: Mapping[str, Any] | None = None,
    redis: RedisServer | None = None,
    joined: Sequence[Server] = (),
    **settings: str,
) -> Iterator[UnderLoad]:
    """So many nodes on a prepared database, in use until the block ends; they share `redis`.

    `joined` are nodes that run already, from `not_started`.
    """
    with ExitStack() as stack:
        started = [
            not_started(launch, url, folder, stack, redis=redis, **settings) for _ in range(nodes)
        ]
        servers = [*joined, *started]
        for server in started:
            # What stands before the nodes makes them one.
            server.environment["IDP_URL"] = servers[0].issuer
        receivers = stack.enter_context(listening())
        made = deployment(url, servers)
        stack.callback(made.close)
        world, told = _populate(made, receivers)
        # So that a restart is the first to open the database after a kill, and recovers it.
        made.work.database.close()
        for server in started:
            stack.callback(server.stop)
            server.start(doom=doom)
        loaded = UnderLoad(made, world, told, doom)
        begun = time.monotonic()
        with _clients(world, clients, seed):
            yield loaded
        seconds = time.monotonic() - begun
        _look_once_more(world)
        until(lambda: _owed(made) == 0, "every logout is delivered", within=DRAINING)
        for server in servers:
            server.kill()
        loaded.judge(seconds)


@contextmanager
def _clients(world: World, count: int, seed: int) -> Iterator[None]:
    threads = [Client(world, number, seed) for number in range(count)]
    world.up.set()
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        world.over.set()
        world.up.set()
        for thread in threads:
            thread.join(60)
    for thread in threads:
        if thread.problem is not None:
            raise thread.problem


def _populate(made: Deployment, receivers: Receivers) -> tuple[World, dict[str, Receiver]]:
    made.role("limited")
    people = {
        name: made.person(name, roles=["limited"] if name in LIMITS else []) for name in PEOPLE
    }
    # Nobody else has to go for want of room: a session found ended was ended by somebody.
    made.limit_sessions(1_000)
    for most in LIMITS.values():
        made.limit_sessions(most, role="limited")
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
    world = World(made.ports, people, LIMITS, apps, resource, grace=float(GRACE))
    world.secrets.update([PASSWORD, SECRET])
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


def _look_once_more(world: World) -> None:
    """After the storm: what should live is used, what should be dead is looked at."""
    after = Client(world, len(world.people), seed=0)
    try:
        for held in world.grants:
            for token in held.tokens():
                after.introspect_this(held, token)
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


def _integrity(made: Deployment) -> list[str]:
    if not made.is_sqlite:
        return []
    found = made.scalar("PRAGMA integrity_check")
    return [] if found == "ok" else [f"the database is damaged: {found}"]


def _said_in_logs(made: Deployment, world: World) -> list[str]:
    """I12: nothing that was anybody's secret stands in a log."""
    said = "".join(server.log.read_text(errors="replace") for server in made.servers)
    found = [secret for secret in world.secrets if secret in said]
    return [f"I12: {len(found)} secrets are in the logs"] if found else []

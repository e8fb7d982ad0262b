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
from typing import Any

from tests.crash import ledger
from tests.crash.load import Client, World
from tests.harness import history
from tests.harness.deployment import Deployment, deployment
from tests.harness.load_clients import Lost, NotSent
from tests.harness.receivers import Receiver, Receivers, late, listening, saying
from tests.harness.server_process import Launch, Server, environment, free_port, until

# Seconds between readiness and the next kill, and how often a server is killed before it is ready.
BETWEEN = (0.3, 1.3)
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
    after_kill: Callable[[], object] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Runs a load, kills the server `kills` times, and gives what came of it.

    `after_kill` is done while the server is dead; `progress` is told the number of each kill.
    """
    # Tokens outlive the storm, so that one found dead was ended by somebody.
    settings = environment(
        url, IDP_TOKENS__ACCESS_LIFETIME="86400", IDP_TOKENS__REFRESH_GRACE=str(GRACE)
    )
    server = Server(launch, free_port(), folder, settings)
    with ExitStack() as stack:
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
            for number in _kill(server, world, kills, seed=seed, doom=doom, after=after_kill):
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


def _kill(
    server: Server,
    world: World,
    kills: int,
    *,
    seed: int,
    doom: Mapping[str, Any] | None,
    after: Callable[[], object],
) -> Iterator[int]:
    """Kills and starts again, so many times; gives the number of each once it is ready."""
    drawn = random.Random(seed)
    calm = threading.Event()  # never set: waited on for its time alone
    for number in range(1, kills + 1):
        calm.wait(drawn.uniform(*BETWEEN))
        world.up.clear()
        server.kill()
        after()
        if drawn.random() < KILLED_WHILE_STARTING:
            server.begin(doom=doom)
            calm.wait(drawn.uniform(0, 1.2 * statistics.median(server.ready_after)))
            server.kill()
        server.start(doom=doom)
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

"""Killing servers again and again under load, and judging what clients, receivers and the database
say afterwards (FT-01, FT-04, FT-05, FT-07).

With several nodes clients go from one to the other at every request, and to the next when one is
gone. What is killed stands in `victims`.
"""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import ledger
from tests.crash.load import Client
from tests.crash.victims import DatabaseVictim, Kind, RedisVictim, ServerVictim, Victim
from tests.crash.world import World
from tests.harness import history
from tests.harness.deployment import Deployment, deployment
from tests.harness.load_clients import Lost, NotSent
from tests.harness.postgres_outage import OwnPostgres
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receiver, Receivers, late, listening, saying
from tests.harness.redis_server import RedisServer
from tests.harness.server_process import Launch, Server, environment, reserved_port, until
from tests.harness.workbench import SECRET

# Seconds between readiness and the next kill, and what must have been answered in between even on a
# slow machine.
BETWEEN = (0.2, 1.0)
LEAST_DONE = 25
GRACE = 10
PEOPLE = ("alice", "bob", "carol")
# One of them may not have as many sessions as they like.
LIMITS = {"carol": 2}
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
    struck: Counter[str]
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
            f"kills {self.kills} ({', '.join(f'{what} {n}' for what, n in self.struck.items())}), "
            f"{self.seconds:.0f} s, {done} operations "
            f"({done / self.seconds:.0f} a second), {unknown} of unknown outcome",
            f"violations {len(self.violations)}",
            *_times(ready),
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


def storm(
    url: str,
    folder: Path,
    launch: Launch,
    *,
    kills: int,
    nodes: int = 1,
    clients: int = 6,
    seed: int = 0,
    doom: Mapping[str, Any] | None = None,
    victims: Sequence[Kind] = ("server",),
    postgres: OwnPostgres | None = None,
    redis: RedisServer | None = None,
    after_kill: Callable[[], object] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Runs a load, kills one of `victims` `kills` times, and gives what came of it.

    `postgres` is the server behind `url`, where it is to be killed; nodes share `redis`, if given.
    `after_kill` is done while the victim is dead; `progress` is told the number of each kill.
    """
    # Tokens outlive the storm, so that one found dead was ended by somebody.
    settings = environment(
        url, IDP_TOKENS__ACCESS_LIFETIME="86400", IDP_TOKENS__REFRESH_GRACE=str(GRACE)
    )
    if redis is not None:
        settings["IDP_REDIS_URL"] = redis.url
    with ExitStack() as stack:
        servers = [
            Server(launch, stack.enter_context(reserved_port()), folder, settings)
            for _ in range(nodes)
        ]
        # What stands before the nodes would make them one.
        settings["IDP_URL"] = servers[0].issuer
        receivers = stack.enter_context(listening())
        made = deployment(url, servers)
        stack.callback(made.close)
        world, told = _populate(made, receivers)
        # So that a restart is the first to open the database after the kill, and recovers it.
        made.work.database.close()
        for server in servers:
            stack.callback(server.stop)
            server.start(doom=doom)
        world.up.set()
        threads = [Client(world, number, seed) for number in range(clients)]
        begun = time.monotonic()
        struck: Counter[str] = Counter()
        try:
            for thread in threads:
                thread.start()
            drawn = random.Random(seed)
            able: dict[Kind, Victim] = {"server": ServerVictim(servers, doom, drawn)}
            if postgres is not None:
                able["database"] = DatabaseVictim(postgres, servers)
            if redis is not None:
                able["redis"] = RedisVictim(redis, drawn)
            chosen = [able[kind] for kind in victims]
            for number in _kill(chosen, world, kills, drawn, struck, after_kill):
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
        for server in servers:
            server.stop()
        return _judged(made, world, told, struck, kills=kills, seconds=seconds)


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


def _kill(
    victims: Sequence[Victim],
    world: World,
    kills: int,
    drawn: random.Random,
    struck: Counter[str],
    after: Callable[[], object],
) -> Iterator[int]:
    """Kills and revives, so many times; gives the number of each once all is well."""
    calm = threading.Event()  # never set: waited on for its time alone
    for number in range(1, kills + 1):
        enough = world.done() + LEAST_DONE
        calm.wait(drawn.uniform(*BETWEEN))
        until(lambda enough=enough: world.done() >= enough, "the clients go on", within=60)
        victim = drawn.choice(victims)
        struck[victim.kill(world.up)] += 1
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


def _judged(
    made: Deployment,
    world: World,
    told: dict[str, Receiver],
    struck: Counter[str],
    *,
    kills: int,
    seconds: float,
) -> Report:
    violations = history.contradictions(world.history, grace=world.grace)
    violations += ledger.contradictions(made, world, told)
    if world.answers["500"]:
        violations.append(f"I9: {world.answers['500']} answers were 500")
    violations += _integrity(made)
    violations += _said_in_logs(made, world)
    arrived = sum(len(receiver.requests) for receiver in told.values())
    deliveries = int(made.scalar("SELECT count(*) FROM deliveries"))
    return Report(
        kills=kills,
        seconds=seconds,
        operations=world.history.count(),
        answers=world.answers,
        ready_after=[one for server in made.servers for one in server.ready_after[1:]],
        struck=struck,
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


def _said_in_logs(made: Deployment, world: World) -> list[str]:
    """I12: nothing that was anybody's secret stands in a log."""
    said = "".join(server.log.read_text(errors="replace") for server in made.servers)
    found = [secret for secret in world.secrets if secret in said]
    return [f"I12: {len(found)} secrets are in the logs"] if found else []

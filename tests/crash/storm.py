"""Killing servers again and again under load, and judging what clients, receivers and the database
say afterwards (FT-01, FT-04, FT-05, FT-07).

With several nodes clients go from one to the other at every request, and to the next when one is
gone. What is killed stands in `victims`.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.crash.under_load import Report, under_load
from tests.crash.victims import (
    DatabaseVictim,
    Kind,
    PrimaryVictim,
    RedisVictim,
    ServerVictim,
    Victim,
)
from tests.harness.postgres_outage import OwnPostgres
from tests.harness.postgres_pair import Pair
from tests.harness.redis_server import RedisServer
from tests.harness.server_process import Launch

# Seconds between readiness and the next kill, and what must have been answered in between even on a
# slow machine.
BETWEEN = (0.2, 1.0)
LEAST_DONE = 25


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
    pair: Pair | None = None,
    redis: RedisServer | None = None,
    after_kill: Callable[[], object] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Runs a load, kills one of `victims` `kills` times, and gives what came of it.

    `postgres` is the server behind `url`, or `pair` the two, where they are to be killed; nodes share
    `redis`, if given.
    `after_kill` is done while the victim is dead; `progress` is told the number of each kill.
    """
    drawn = random.Random(seed)
    calm = threading.Event()  # never set: waited on for its time alone
    with under_load(
        url, folder, launch, nodes=nodes, clients=clients, seed=seed, doom=doom, redis=redis
    ) as loaded:
        servers = loaded.made.servers
        able: dict[Kind, Victim] = {"server": ServerVictim(servers, doom, drawn)}
        if postgres is not None:
            able["database"] = DatabaseVictim(postgres, servers)
        if pair is not None:
            able["primary"] = PrimaryVictim(pair, servers)
        if redis is not None:
            able["redis"] = RedisVictim(redis)
        chosen = [able[kind] for kind in victims]
        for number in range(1, kills + 1):
            calm.wait(drawn.uniform(*BETWEEN))
            loaded.goes_on(LEAST_DONE)
            victim = drawn.choice(chosen)
            loaded.struck[victim.kill(loaded.world.up)] += 1
            after_kill()
            victim.revive()
            loaded.world.up.set()
            progress(number)
        calm.wait(BETWEEN[1])
    return loaded.report

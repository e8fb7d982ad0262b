"""`python -m tests.crash --kills 200`: the storm at full length, against real server processes.

`--nodes 2 --kills 300` is two nodes on one PostgreSQL and one Redis. `--victim any` kills those, too.
`--victim primary` is two PostgreSQL, of which the primary dies each time and its replica takes over.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args

from tests.crash.storm import storm
from tests.crash.victims import Kind
from tests.harness import redis_server
from tests.harness.deployment import prepare
from tests.harness.history import shown
from tests.harness.postgres_outage import own_postgres
from tests.harness.postgres_pair import pair
from tests.harness.provider import Templates
from tests.harness.server_process import Forking, Launch, Spawning, unwind_when_told_to_end

# What may be killed of one deployment; the primary of two is another one.
ANY: tuple[Kind, ...] = ("server", "database", "redis")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=1, help="several share PostgreSQL and Redis")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--victim",
        choices=(*get_args(Kind), "any"),
        default="server",
        help="database: PostgreSQL; any: each time a node, PostgreSQL or Redis; primary: of two",
    )
    parser.add_argument("--fork", action="store_true", help="fork servers: starts take less time")
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idp-crash-")))
        templates = Templates(folder)
        victims: tuple[Kind, ...] = (chosen.victim,)
        if chosen.victim == "any":
            victims = ANY
        postgres = servers = redis = None
        if chosen.nodes > 1 or "redis" in victims:
            redis = stack.enter_context(redis_server.running())
        if "database" in victims:
            postgres = stack.enter_context(own_postgres())
            url = postgres.url
            prepare(url)
        elif "primary" in victims:
            servers = stack.enter_context(pair())
            servers.new_database("idp")
            url = servers.url("idp")
            prepare(url)
        elif chosen.database == "sqlite" and chosen.nodes == 1:
            url = templates.sqlite(folder / "idp.db")
        else:
            url = stack.enter_context(templates.postgres())
        launch: Launch = Spawning()
        if chosen.fork:
            launch = stack.enter_context(closing(Forking()))
        begun = time.monotonic()

        def progress(number: int) -> None:
            if number % 10 == 0:
                say(f"{number} kills, {time.monotonic() - begun:.0f} s")

        kind = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
        say(f"nodes {chosen.nodes}, {kind}, victim {chosen.victim}, seed {chosen.seed}")
        report = storm(
            url,
            folder,
            launch,
            kills=chosen.kills,
            nodes=chosen.nodes,
            clients=chosen.clients,
            seed=chosen.seed,
            victims=victims,
            postgres=postgres,
            pair=servers,
            redis=redis,
            progress=progress,
        )
    for line in report.lines():
        say(line)
    if report.violations:
        say(shown(report.violations))
        sys.exit(1)
    # The rule of three: with none in n trials, the rate is below 3/n (95 %).
    say(f"none in {report.kills} kills: below {3 / report.kills:.1%} of kills (95 %)")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

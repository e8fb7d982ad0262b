"""`python -m tests.soak --minutes 20`: two nodes in use for so long, and nothing of them grows (I10).

Memory, files, threads, connections and keys are sampled; the load and its checker are those of the
storms. Ends with 1 when something grew or cannot be true.
"""

import argparse
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.crash.under_load import under_load
from tests.harness import redis_server
from tests.harness.history import shown
from tests.harness.provider import Templates
from tests.harness.server_process import Spawning, unwind_when_told_to_end
from tests.soak.gauges import Samples

SAMPLES = 200


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--nodes", type=int, default=2)
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    samples, calm = Samples(), threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idp-soak-")))
        url = stack.enter_context(Templates(folder).postgres())
        redis = stack.enter_context(redis_server.running())
        with under_load(
            url, folder, Spawning(), nodes=chosen.nodes, clients=chosen.clients, redis=redis
        ) as loaded:
            over = time.monotonic() + chosen.minutes * 60
            while time.monotonic() < over:
                calm.wait(max(0.5, chosen.minutes * 60 / SAMPLES))
                samples.take(loaded.made, redis)
    report = loaded.report
    for line in [*report.lines(), *samples.lines()]:
        say(line)
    wrong = [*samples.grown(), *report.violations]
    if wrong:
        say(shown(wrong))
        sys.exit(1)
    say(f"nothing grew in {chosen.minutes:g} minutes")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

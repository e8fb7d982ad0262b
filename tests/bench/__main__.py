"""`python -m tests.bench`: one table, ours next to npm `oidc-provider`, measured in the same run.

It never fails on a time. `--quick` takes less than a minute and is noisier.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import contestants, servers, table
from tests.bench.measure import run
from tests.bench.rows import HASHED, ROWS

# Starts for the median of the start-up time; and the pause before idle memory is read.
STARTS = 4
SETTLE_SECONDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, noisier")
    parser.add_argument("--rounds", type=int, help="counted rounds (3; quick: 3)")
    parser.add_argument("--row", action="append", help="only rows whose name contains this")
    parser.add_argument("--json", type=Path, help="write all figures to this file as well")
    parser.add_argument("--without-ours", action="store_true", help="only the control")
    arguments = parser.parse_args()

    rows = [*ROWS, HASHED]
    if arguments.row:
        rows = [row for row in rows if any(part in row.name for part in arguments.row)]
    pinned = servers.pin_load()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        enter = stack.enter_context
        running = []
        starts: dict[str, list[float]] = {}
        for label, make in contestants.all_of(Path(folder), with_ours=not arguments.without_ours):
            for attempt in range(1, 1 if arguments.quick else STARTS):
                with make(attempt) as contestant:
                    starts.setdefault(label, []).append(contestant.running.server.ready_after)
            running.append(enter(make(0)))
            starts.setdefault(label, []).append(running[-1].running.server.ready_after)
        time.sleep(SETTLE_SECONDS)
        idle = {one.label: one.running.server.memory() for one in running}
        results = run(
            running,
            rows,
            rounds=arguments.rounds or 3,
            share=0.1 if arguments.quick else 1.0,
            tell=_tell,
        )
        _tell("")
        facts = {
            one.label: {
                "start-up, s": median(starts[one.label]),
                "memory idle, MB": idle[one.label],
                "memory after the run, MB": one.running.server.memory(),
            }
            for one in running
        }
        labels = [one.label for one in running]
        print(table.render(results, facts, labels, pinning="pinned" if pinned else "not pinned"))
        if arguments.json:
            figures = {
                row: {label: figure.medians() for label, figure in by.items()}
                for row, by in results.items()
            }
            arguments.json.write_text(json.dumps({"rows": figures, "facts": facts}, indent=1))


def _tell(line: str) -> None:
    """Shows how far it is, where somebody is watching."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

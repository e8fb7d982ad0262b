"""`python -m tests.bench.sessions_at_scale --sessions 1000000`: what a search costs among so many.

Fills an empty SQLite database (or `--database URL`) and asks each question `--rounds` times. It never
fails on a time.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from idp.admin import session_filter, session_search
from idp.app import assemble
from idp.policy import management
from idp.storage import migrations
from idp.storage.unit_of_work import Work
from tests.bench.load import quantile
from tests.harness import crowd
from tests.harness.provider import settings_for


def questions(made: crowd.Crowd) -> list[str]:
    """Common and rare, wide and narrow."""
    return [
        "", "country:FR", "country:LI", "device:tv", "acr<aal2 device:phone", "ip:10.0.0.0/8",
        "ip:10.5.0.0/16", "ip:10.5.7.0/24", f"user:{made.people[0]}", f"client:{made.apps[0]}",
        f"client:{made.apps[-1]}", "state:ended", "reason:admin country:FR", "state:all country:IS",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = assemble(settings_for(given.database or f"sqlite:///{Path(folder) / 'idp.db'}"))
        migrations.upgrade(work.database)
        made = crowd.gather(work, given.sessions)
        work.database.checkpoint()
        sys.stdout.write(f"{given.sessions} sessions, {len(made.running)} run; milliseconds\n\n")
        sys.stdout.write(f"{'':34} {'rows':>6} {'p50':>8} {'p99':>8} {'count p50':>10}\n")
        for text in questions(made):
            sys.stdout.write(asked(work, text, given.rounds) + "\n")
        work.database.close()


def asked(work: Work, text: str, rounds: int) -> str:
    """One line of the table: a page of 50, and how many there are to be ended."""
    meant = session_filter.parse(text)
    pages, counts, rows = [], [], 0
    for _ in range(rounds):
        with work.read() as unit:
            begun = time.perf_counter()
            rows = len(session_search.page(unit, meant).sessions)
            pages.append(time.perf_counter() - begun)
            if meant.state == "active":
                begun = time.perf_counter()
                session_search.count(unit, meant, management.ALL)
                counts.append(time.perf_counter() - begun)
    cells = [
        quantile(pages, 0.5),
        quantile(pages, 0.99),
        *([quantile(counts, 0.5)] if counts else []),
    ]
    name = text if len(text) < 34 else f"{text[:30]}…"
    return f"{name or '(running)':34} {rows:6} " + " ".join(f"{one * 1e3:8.1f}" for one in cells)


if __name__ == "__main__":
    main()

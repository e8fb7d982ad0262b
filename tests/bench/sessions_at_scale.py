"""`python -m tests.bench.sessions_at_scale --sessions 1000000`: what is asked, and ended, of so many.

Fills an empty SQLite database (or `--database URL`; "postgres" is one on the tests' server) and asks
each question `--rounds` times. Then it ends 50 sessions of one person, as often, and everybody's: how
long until that is effective, and, for `--drain` seconds, how fast sessions are marked. It never fails
on a time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from idp.admin import bulk, session_filter, session_search
from idp.admin.session_filter import SessionFilter
from idp.app import assemble
from idp.events.actor import Actor
from idp.policy import management
from idp.sessions import lifecycle
from idp.storage import migrations
from idp.storage.unit_of_work import Work
from tests.bench.load import quantile
from tests.harness import crowd, postgres
from tests.harness.provider import settings_for

ACTOR = Actor("admin", "bench")


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
    parser.add_argument(
        "--drain", type=float, default=30, help="seconds of marking that are measured"
    )
    parser.add_argument("--database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = given.database or f"sqlite:///{Path(folder) / 'idp.db'}"
        if url == "postgres":
            url = stack.enter_context(postgres.new_database())
        work = assemble(settings_for(url))
        migrations.upgrade(work.database)
        begun = time.perf_counter()
        made = crowd.gather(work, given.sessions)
        settle(work)
        sys.stdout.write(f"filled in {time.perf_counter() - begun:.0f} s\n")
        sys.stdout.write(f"{given.sessions} sessions, {len(made.running)} run; milliseconds\n\n")
        sys.stdout.write(f"{'':34} {'rows':>6} {'p50':>8} {'p99':>8} {'count p50':>10}\n")
        for text in questions(made):
            sys.stdout.write(asked(work, text, given.rounds) + "\n")
        sys.stdout.write("\n")
        sys.stdout.writelines(f"{line}\n" for line in ends(work, made, given.rounds, given.drain))
        work.database.close()


def ends(work: Work, made: crowd.Crowd, rounds: int, drain: float) -> Iterator[str]:
    """What it costs to end one person's 50 sessions, and everybody's."""
    took = []
    for user_id in crowd.join(work, made, people=rounds, sessions=50):
        begun = time.perf_counter()
        with work.begin() as unit:
            ended = lifecycle.end_all_of(unit, user_id, reason="admin", actor=ACTOR)
        took.append(time.perf_counter() - begun)
        assert len(ended) == 50
    yield f"one person's 50 sessions: {_milliseconds(took)}"
    begun = time.perf_counter()
    with work.begin() as unit:
        order = bulk.begin(
            unit, SessionFilter(), reason="benchmark", actor=ACTOR, rights=management.ALL
        )
    yield f"everybody ({order.matched}): over after {(time.perf_counter() - begun) * 1e3:.1f} ms"
    with work.read() as unit:
        assert session_search.page(unit, SessionFilter()).sessions == []
    begun, batches = time.perf_counter(), []
    while order.state != bulk.DONE and time.perf_counter() - begun < drain:
        at = time.perf_counter()
        order = bulk.next_step(work, order.id)
        batches.append(time.perf_counter() - at)
    seconds = time.perf_counter() - begun
    yield (
        f"marked: {order.ended} in {seconds:.1f} s, {order.ended / seconds:.0f} a second; "
        f"a batch of {bulk.BATCH} takes {_milliseconds(batches)}; {order.state}"
    )


def _milliseconds(took: list[float]) -> str:
    return f"p50 {quantile(took, 0.5) * 1e3:.1f} ms, p99 {quantile(took, 0.99) * 1e3:.1f} ms"


def settle(work: Work) -> None:
    """Brings the database to where it would be after a while."""
    work.database.checkpoint()
    if not work.database.is_sqlite:
        # What autovacuum does within a minute.
        with work.database.writing.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                "VACUUM ANALYZE"
            )


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

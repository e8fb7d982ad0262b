"""Of two nodes one runs each periodic job, and the other takes it over when that one is gone."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.harness.provider import Templates
from tests.harness.server_process import Forking, Server, environment, reserved_port, until
from tests.operation.conftest import Say

# Seconds; in life a lease lasts half a minute.
LEASE = 4.0
# How late a busy machine may be with what is due.
LATE = 20.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, in monotonic seconds."""

    pid: int
    job: str
    begun: float
    ended: float


@pytest.fixture
def nodes(tmp_path: Path, templates: Templates, forking: Forking) -> Iterator[list[Server]]:
    """Two, which write down what their jobs do."""
    doom = {
        "module": "tests.crash.failpoints",
        "job_lease_seconds": LEASE,
        "note_jobs": str(tmp_path / "jobs"),
    }
    with ExitStack() as stack:
        url = stack.enter_context(templates.postgres())
        made = []
        for _ in range(2):
            port = stack.enter_context(reserved_port())
            made.append(Server(forking, port, tmp_path, environment(url)))
            made[-1].environment["IDP_URL"] = made[0].issuer
            stack.callback(made[-1].stop)
            made[-1].start(doom=doom)
        yield made


def runs(folder: Path) -> list[Run]:
    """What the jobs of all nodes did so far."""
    lines = (folder / "jobs").read_text().splitlines() if (folder / "jobs").exists() else []
    cells = [line.split(",") for line in lines]
    return [Run(int(pid), job, float(begun), float(ended)) for pid, job, begun, ended in cells]


def frequent(folder: Path) -> dict[str, list[Run]]:
    """The runs of each job that is due every second."""
    found: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs(folder):
        found[run.job].append(run)
    often = ("seal events", "answer recovery requests", "end sessions in bulk", "checkpoint")
    return {job: found[job] for job in often}


@pytest.mark.postgres
def test_each_job_runs_on_one_node_and_is_taken_over_when_that_is_gone(
    nodes: list[Server], tmp_path: Path, say: Say
) -> None:
    until(
        lambda: all(len(of_job) >= 3 for of_job in frequent(tmp_path).values()),
        "each job has run",
        within=LATE,
    )
    holder = frequent(tmp_path)["seal events"][-1].pid
    gone, stays = sorted(nodes, key=lambda node: node.pid != holder)
    held = [job for job, of_job in frequent(tmp_path).items() if of_job[-1].pid == holder]
    survivor = stays.pid
    gone.kill()
    last = max(run.ended for run in runs(tmp_path) if run.pid == holder)
    until(
        lambda: all(frequent(tmp_path)[job][-1].pid == survivor for job in held),
        "the other has taken each over",
        within=LEASE + LATE,
    )
    taken = max(
        next(
            run.begun for run in frequent(tmp_path)[job] if run.pid == survivor and run.begun > last
        )
        for job in held
    )
    for job, of_job in frequent(tmp_path).items():
        in_order = sorted(of_job, key=lambda run: run.begun)
        for one, next_ in pairwise(in_order):
            assert one.ended <= next_.begun, f"{job} ran twice at once"
            # A node that is not gone runs a job only while more than half of its lease is left.
            if one.pid != next_.pid and one.ended < last - 1:
                assert next_.begun - one.begun > LEASE / 4, f"{job} ran on both nodes"
    say(f"kill of the holder of {len(held)} jobs: taken over after {taken - last:.1f} s")

"""Periodic jobs, each run by one of many nodes at a time (row of `leases` per job).

Owns when a job runs and who may run it. What it does is given from above. The time between two
runs is counted from the start of the first. A holder keeps the lease of a frequent job and runs it
again without asking, so that an idle deployment hardly writes; the lease of a rare job lasts until
its next run, so that a restart does not run it again. A job must be safe to run twice: a node that
was frozen may wake up and go on after its lease has passed to another.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text, update

from idp.clock import SECOND, Duration, Instant
from idp.errors import Unavailable
from idp.events.model import Lease
from idp.storage.unit_of_work import UnitOfWork, Work

# How long a job may run before another node may begin it, and how late it is after a crash.
LEASE: Duration = 30 * SECOND
SOONEST: Duration = SECOND // 20

_log = logging.getLogger(__name__)

# One statement on both databases; the update is the decision.
_TAKE = text(
    "INSERT INTO leases (name, holder, until) VALUES (:name, :holder, :until) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
    "WHERE leases.until <= :now OR leases.holder = :holder "
    "RETURNING name"
)


@dataclass(frozen=True, slots=True)
class Job:
    """Something done `every` so often; `run` gives True when it stopped before all was done."""

    name: str
    every: Duration
    run: Callable[[], object]


def take(unit: UnitOfWork, name: str, *, holder: str, lasting: Duration) -> bool:
    """Takes or renews the lease of a job; False while another holder has it."""
    row = unit.connection.execute(
        _TAKE, {"name": name, "holder": holder, "until": unit.now + lasting, "now": unit.now}
    ).one_or_none()
    return row is not None


def keep(unit: UnitOfWork, name: str, *, holder: str, until: Instant) -> None:
    """Sets when anybody may run the job next, if the lease is still the holder's."""
    unit.connection.execute(
        update(Lease).where(Lease.name == name, Lease.holder == holder).values(until=until)
    )


class Schedule:
    """The jobs of this process, and when each comes next."""

    def __init__(self, work: Work, jobs: Sequence[Job]) -> None:
        self._work = work
        self._jobs = jobs
        self._holder = secrets.token_hex(8)
        self._next: dict[str, Instant] = {job.name: 0 for job in jobs}
        self._held_until: dict[str, Instant] = {}

    def step(self) -> float:
        """Runs the jobs that are due; gives the seconds until the next one is."""
        for job in self._jobs:
            if self._next[job.name] <= self._work.clock.now():
                self._run(job)
        if not self._jobs:
            return LEASE / SECOND
        return max(0.0, (min(self._next.values()) - self._work.clock.now()) / SECOND)

    def give_back(self) -> None:
        """Lets other nodes have the frequent jobs at once; for an orderly end."""
        with self._work.begin() as unit:
            for name in self._held_until:
                keep(unit, name, holder=self._holder, until=unit.now)

    def _run(self, job: Job) -> None:
        started = self._work.clock.now()
        frequent = job.every < LEASE
        # Set first: whatever goes wrong below is tried again after the usual time, at most a lease.
        self._next[job.name] = started + min(max(job.every, SOONEST), LEASE)
        if not (frequent and self._held_until.get(job.name, 0) - started > LEASE // 2):
            with self._work.begin() as unit:
                if not take(unit, job.name, holder=self._holder, lasting=LEASE):
                    self._held_until.pop(job.name, None)
                    return
            if frequent:
                self._held_until[job.name] = started + LEASE
        try:
            unfinished = job.run() is True
        except Unavailable:
            raise  # the database is away: the worker waits for it, for all jobs
        except Exception:
            _log.exception("job %s failed; it will run again", job.name)
            return
        if unfinished:
            self._next[job.name] = self._work.clock.now() + SOONEST
        elif not frequent:
            self._next[job.name] = started + job.every
            with self._work.begin() as unit:
                keep(unit, job.name, holder=self._holder, until=started + job.every)

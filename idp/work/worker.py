"""The background of one process: a thread that delivers, and one that runs periodic jobs.

Two threads, so that a long job delays no logout. Owns starting, waking, surviving and stopping;
what is done stands in `dispatch` and `schedule`. A failure is logged and the thread goes on:
nothing is lost by it, because what is owed stands in the database.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from idp.errors import Unavailable
from idp.events.delivery import Channel
from idp.storage.unit_of_work import Work
from idp.work.dispatch import Dispatch
from idp.work.schedule import Job, Schedule

# Seconds to wait after a failure, doubling up to the second.
FIRST_WAIT = 0.1
LONGEST_WAIT = 2.0
# Of the time to stop, so much may go into waiting for answers under way.
ANSWERS_WAITED_FOR = 0.5

_log = logging.getLogger(__name__)


class Worker:
    """Delivers what is owed and runs jobs, from `start` until `stop`."""

    def __init__(
        self, work: Work, *, channels: Mapping[str, Channel], jobs: Sequence[Job] = ()
    ) -> None:
        self._awake = threading.Event()
        self._ended = threading.Event()
        self._dispatch = Dispatch(work, channels, wake=self._awake.set)
        self._schedule = Schedule(work, jobs)
        self._carries = bool(channels)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts the two threads; without channels one. A worker is started once."""
        bodies = {"deliveries": self._deliver, "jobs": self._run_jobs}
        if not self._carries:
            del bodies["deliveries"]
        for name, body in bodies.items():
            thread = threading.Thread(target=body, name=f"worker {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """Something was committed that may have to be delivered; costs the caller nothing."""
        self._dispatch.news()
        self._awake.set()

    def stop(self, timeout: float = 5.0) -> bool:
        """Ends the threads; gives whether they ended within `timeout` seconds.

        Calls under way may still answer for a moment; the rest is given back, to be sent by the
        next process.
        """
        self._ended.set()
        self._awake.set()
        share = timeout / max(1, len(self._threads))
        for thread in self._threads:
            thread.join(share)
        return not any(thread.is_alive() for thread in self._threads)

    def _deliver(self) -> None:
        def wait(seconds: float) -> None:
            self._awake.wait(seconds)
            self._awake.clear()

        self._repeat(self._dispatch.step, wait)
        self._at_the_end(lambda: self._dispatch.finish(within=ANSWERS_WAITED_FOR))

    def _run_jobs(self) -> None:
        self._repeat(self._schedule.step, self._ended.wait)
        self._at_the_end(self._schedule.give_back)

    def _repeat(self, step: Callable[[], float], wait: Callable[[float], object]) -> None:
        failures = 0
        while not self._ended.is_set():
            try:
                pause = step()
                failures = 0
            except Exception as problem:
                failures += 1
                if isinstance(problem, Unavailable):
                    if failures == 1:  # an outage is said once, not at every attempt
                        _log.warning("the worker waits for the database: %s", problem.detail)
                else:
                    _log.exception("a step of the worker failed; it goes on")
                # Not to be woken out of: requests that fail too would make this a busy loop.
                self._ended.wait(min(FIRST_WAIT * 2 ** min(failures - 1, 10), LONGEST_WAIT))
                continue
            wait(pause)

    def _at_the_end(self, last: Callable[[], None]) -> None:
        try:
            last()
        except Exception:
            _log.warning("the worker could not tidy up; leases will run out", exc_info=True)

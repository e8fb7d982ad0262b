"""Sending what is owed, one step at a time.

Owns the order: claim and commit, send, and commit the receipt. The receipts of calls that ended
close together and the next claims share one transaction, because on SQLite every transaction takes
the one writer from the requests. A crash anywhere leaves a claim whose lease runs out: the receiver
is then told again, under the same id. Holds no thread; `idp.work.worker` calls `step`.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from idp.clock import SECOND, Duration, Instant
from idp.events import delivery
from idp.events.catalogue import Event
from idp.events.delivery import Channel, Claimed, Outcome, Reach
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.work.turns import Turns

# Other processes (a second node, a command) owe deliveries without waking this one.
LOOK_EVERY: Duration = SECOND // 2
# Longer than any call: `outbound.timeout` is at most 30 seconds, and a call may wait to begin.
LEASE_BEYOND_TIMEOUT: Duration = 25 * SECOND
# How long the receipt of an answer may wait for others, in seconds.
GATHERING = 0.01
GATHERED_AT_MOST = 32
# Rows looked at in one go.
WINDOW = 512

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    claimed: Claimed
    outcome: Outcome


class Dispatch:
    """The deliveries this process has under way. `wake` is called when an answer has come."""

    def __init__(
        self, work: Work, channels: Mapping[str, Channel], *, wake: Callable[[], None]
    ) -> None:
        self._work = work
        self._channels = channels
        self._wake = wake
        outbound = work.settings.outbound
        self._turns = Turns(outbound.concurrency)
        self._lease = int(outbound.timeout * SECOND) + LEASE_BEYOND_TIMEOUT
        self._under_way: dict[str, Claimed] = {}
        self._arriving: SimpleQueue[_Answer] = SimpleQueue()
        # Answers whose receipt is not committed yet, and when the first of them came.
        self._answers: list[_Answer] = []
        self._answered_since = 0.0
        self._recovered: set[str] = set()
        self._look_at: Instant = 0
        self._news = threading.Event()

    def news(self) -> None:
        """Something may be owed that was not a moment ago. Called from any thread."""
        self._news.set()

    def step(self) -> float:
        """Does what can be done now; gives the seconds until there is more to do, unless woken."""
        self._collect()
        now = self._work.clock.now()
        if self._news.is_set():
            self._news.clear()
            self._look_at = 0
        settling = self._answers and (
            not self._under_way
            or len(self._answers) >= GATHERED_AT_MOST
            or time.monotonic() - self._answered_since >= GATHERING
        )
        if settling or now >= self._look_at:
            # Asked for again by whatever fails below, so that an outage loses nothing.
            self._look_at = 0
            self._send(self._settle_and_claim())
        if self._answers:
            return GATHERING
        return max(0.0, (self._look_at - self._work.clock.now()) / SECOND)

    def finish(self, *, within: float) -> None:
        """Waits for calls under way, commits their receipts, and gives back the rest."""
        deadline = time.monotonic() + within
        while self._under_way and time.monotonic() < deadline:
            try:
                self._note(self._arriving.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                break
        self._collect()
        with self._work.begin() as unit:
            self._settle(unit)
            delivery.release(unit, list(self._under_way.values()))
        self._answers.clear()

    def _collect(self) -> None:
        while True:
            try:
                self._note(self._arriving.get_nowait())
            except Empty:
                return

    def _note(self, answer: _Answer) -> None:
        receiver, outcome = answer.claimed.receiver, answer.outcome
        if self._under_way.pop(answer.claimed.id, None) is None:
            return  # reported twice: the first report counts
        if outcome.verdict == "accepted":
            # One that this process never saw failing may have failed before it started.
            if self._turns.answered(receiver) or answer.claimed.attempts > 1:
                self._recovered.add(receiver)
        elif outcome.verdict == "failed" and not _is_about_the_message(outcome):
            self._turns.failed(receiver, self._work.clock.now())
        else:
            self._turns.broke_off(receiver)
        if not self._answers:
            self._answered_since = time.monotonic()
        self._answers.append(answer)

    def _settle_and_claim(self) -> list[Claimed]:
        """One transaction of receipts and new claims; none when there is nothing to write."""
        chosen, look_at = self._choose()
        claimed: list[Claimed] = []
        if chosen or self._answers:
            with self._work.begin() as unit:
                self._settle(unit)
                claimed = delivery.claim(unit, chosen, lease=self._lease)
            if self._recovered:
                look_at = 0  # what had been put off for them is due now
            self._answers.clear()
            self._recovered.clear()
        self._look_at = look_at
        return claimed

    def _choose(self) -> tuple[list[str], Instant]:
        """Ids to claim, and when to look again. Only reads: looking must not hold the writer."""
        now = self._work.clock.now()
        if self._turns.free <= 0:
            return [], now + LOOK_EVERY  # an answer leads back here
        barred, only = set(self._turns.barred(now)), self._turns.only()
        with self._work.read() as unit:
            window = delivery.due(unit, self._reach(barred, only), limit=WINDOW)
            chosen = self._turns.choose(window, unit.now)
            # Those seen above have a call under way, or wait for a slot: an answer leads back here.
            # Only the others matter; those whom the window did not show are due now.
            barred.update(receiver for _, receiver in window)
            next_due = delivery.next_due(unit, self._reach(barred, only))
            moments = [unit.now + LOOK_EVERY, next_due, self._turns.next_pause_ends(unit.now)]
        return chosen, min(moment for moment in moments if moment is not None)

    def _reach(self, barred: set[str], only: list[str] | None) -> Reach:
        return Reach(channels=list(self._channels), barred=sorted(barred), only=only)

    def _settle(self, unit: UnitOfWork) -> None:
        accepted: defaultdict[int | None, list[Claimed]] = defaultdict(list)
        for answer in self._answers:
            claimed, outcome = answer.claimed, answer.outcome
            error = outcome.error or "no reason was given"
            if outcome.verdict == "accepted":
                accepted[outcome.status].append(claimed)
                continue
            if outcome.verdict == "failed":
                became = delivery.postpone(unit, claimed, error=error, status=outcome.status)
            else:
                became = delivery.give_up(unit, claimed, error=error, status=outcome.status)
            if became == "given_up":
                self._record(unit, self._channels[claimed.channel].given_up(claimed, error))
        for status, batch in accepted.items():
            for claimed in delivery.finish(unit, batch, status):
                self._record(unit, self._channels[claimed.channel].delivered(claimed))
        delivery.hurry(unit, sorted(self._recovered))

    def _record(self, unit: UnitOfWork, fact: Event | None) -> None:
        if fact is not None:
            unit.record(fact)

    def _send(self, claimed: Sequence[Claimed]) -> None:
        batches: defaultdict[str, list[Claimed]] = defaultdict(list)
        for one in claimed:
            self._under_way[one.id] = one
            self._turns.begin(one.receiver)
            batches[one.channel].append(one)
        for name, batch in batches.items():
            try:
                self._channels[name].send(batch, self._report)
            except Exception as problem:
                # Those already reported keep their report: the first one counts.
                _log.exception("sending by %s failed", name)
                for one in batch:
                    self._report(one, Outcome("failed", error=f"not sent: {problem!r}"))

    def _report(self, claimed: Claimed, outcome: Outcome) -> None:
        self._arriving.put(_Answer(claimed, outcome))
        self._wake()


def _is_about_the_message(outcome: Outcome) -> bool:
    """A receiver that says 4xx is well; only this message displeases it (429: it is too busy)."""
    return outcome.status is not None and 400 <= outcome.status < 500 and outcome.status != 429

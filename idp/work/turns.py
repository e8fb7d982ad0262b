"""Whose turn it is: how many calls each receiver may have under way (LO-11, SS-10).

A receiver that hangs must cost the others nothing. What this process knows of each receiver
decides: one that answered last time may have several calls at once; one not yet heard of fewer, and
all of those together not every slot; one that failed a single probe, after a pause that doubles,
and all of those together a quarter of the slots. So slots are always left for those that answer.

Pure memory of one process: it is learned anew after a start, and nothing durable depends on it.
"""

from collections import Counter
from collections.abc import Iterable

from idp.clock import SECOND, Duration, Instant

CALLS_ANSWERING = 8
CALLS_UNKNOWN = 4
CALLS_FAILING = 1
FIRST_PAUSE: Duration = SECOND
LONGEST_PAUSE: Duration = 30 * SECOND


class Turns:
    """The calls under way, and how each receiver did last. Used by one thread."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        # Of the slots: at most so many to receivers that have not proved that they answer, and of
        # those to receivers that failed last time.
        self._for_unproven = max(1, slots * 3 // 4)
        self._for_failing = max(1, slots // 4)
        self._under_way: Counter[str] = Counter()
        self._answering: set[str] = set()
        # Failures in a row, and the pause that follows them.
        self._failures: dict[str, int] = {}
        self._paused_until: dict[str, Instant] = {}

    @property
    def free(self) -> int:
        """Slots nobody uses."""
        return self._slots - self._under_way.total()

    def choose(self, waiting: Iterable[tuple[str, str]], now: Instant) -> list[str]:
        """Ids of what may be sent now, out of (id, receiver) in order; takes no slot yet."""
        chosen: list[str] = []
        planned: Counter[str] = Counter()
        free = self.free
        unproven = self._for_unproven - self._unproven_under_way()
        failing = self._for_failing - self._failing_under_way()
        for delivery_id, receiver in waiting:
            if len(chosen) >= free:
                break
            if planned[receiver] >= self._room(receiver, now):
                continue
            if receiver in self._failures:
                if failing <= 0 or unproven <= 0:
                    continue
                failing -= 1
                unproven -= 1
            elif receiver not in self._answering:
                if unproven <= 0:
                    continue
                unproven -= 1
            planned[receiver] += 1
            chosen.append(delivery_id)
        return chosen

    def barred(self, now: Instant) -> list[str]:
        """Receivers that may have no further call now."""
        failing_full = self._failing_under_way() >= self._for_failing
        busy = {one for one in self._under_way if self._room(one, now) <= 0}
        failing = {one for one in self._failures if failing_full or self._room(one, now) <= 0}
        return sorted(busy | failing)

    def only(self) -> list[str] | None:
        """The receivers that may be called when the share of the unproven is used up, else None."""
        if self._unproven_under_way() < self._for_unproven:
            return None
        return sorted(self._answering)

    def next_pause_ends(self, now: Instant) -> Instant | None:
        """When the next paused receiver may be probed."""
        return min((at for at in self._paused_until.values() if at > now), default=None)

    def begin(self, receiver: str) -> None:
        """A call to the receiver begins."""
        self._under_way[receiver] += 1

    def broke_off(self, receiver: str) -> None:
        """A call ended without saying anything about the receiver."""
        self._under_way[receiver] -= 1
        if self._under_way[receiver] <= 0:
            del self._under_way[receiver]

    def answered(self, receiver: str) -> bool:
        """A call was answered; gives whether the receiver had been failing until now."""
        self.broke_off(receiver)
        self._answering.add(receiver)
        self._paused_until.pop(receiver, None)
        return self._failures.pop(receiver, None) is not None

    def failed(self, receiver: str, now: Instant) -> None:
        """A call failed: the receiver pauses, longer each time in a row."""
        self.broke_off(receiver)
        self._answering.discard(receiver)
        already_paused = self._paused_until.get(receiver, 0) > now
        if already_paused:  # calls that were under way together count as one failure
            return
        failures = self._failures.get(receiver, 0) + 1
        self._failures[receiver] = failures
        self._paused_until[receiver] = now + min(
            FIRST_PAUSE << min(failures - 1, 20), LONGEST_PAUSE
        )

    def _room(self, receiver: str, now: Instant) -> int:
        if receiver in self._failures:
            paused = self._paused_until.get(receiver, 0) > now
            most = 0 if paused else CALLS_FAILING
        else:
            most = CALLS_ANSWERING if receiver in self._answering else CALLS_UNKNOWN
        return most - self._under_way[receiver] if receiver in self._under_way else most

    def _failing_under_way(self) -> int:
        return sum(count for one, count in self._under_way.items() if one in self._failures)

    def _unproven_under_way(self) -> int:
        return sum(count for one, count in self._under_way.items() if one not in self._answering)

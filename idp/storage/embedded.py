"""The Store inside one process: dictionaries with deadlines, bounded in number and size.

Values and counts have one each, so that nobody makes us forget a count by having us keep values.
"""

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping

from idp.clock import Clock, Duration, Instant

MAXIMUM_KEYS = 100_000
# Of all values together, in bytes.
MAXIMUM_SIZE = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class _Shelf:
    """What is kept until its deadline; the oldest go first when there is too much."""

    def __init__(self, clock: Clock, maximum_keys: int, maximum_size: int) -> None:
        self._clock = clock
        self._maximum_keys = maximum_keys
        self._maximum_size = maximum_size
        self._size = 0
        self._kept: OrderedDict[str, tuple[Instant, bytes]] = OrderedDict()

    def find(self, key: str) -> tuple[Instant, bytes] | None:
        """The deadline and the value, while it is good."""
        found = self._kept.get(key)
        if found is not None and found[0] <= self._clock.now():
            self.drop(key)
            return None
        return found

    def put(self, key: str, deadline: Instant, value: bytes) -> None:
        self.drop(key)
        self._kept[key] = (deadline, value)
        self._size += len(value)
        while len(self._kept) > self._maximum_keys or self._size > self._maximum_size:
            self.drop(next(iter(self._kept)))

    def drop(self, key: str) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._size -= len(found[1])

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0


class EmbeddedStore:
    """Keeps values in this process; the oldest go first when there are too many."""

    def __init__(
        self,
        clock: Clock,
        *,
        maximum_keys: int = MAXIMUM_KEYS,
        maximum_size: int = MAXIMUM_SIZE,
    ) -> None:
        self._clock = clock
        self._values = _Shelf(clock, maximum_keys, maximum_size)
        self._counts = _Shelf(clock, maximum_keys, maximum_size)
        self._lock = threading.Lock()
        self.hits = self.misses = 0
        self._listeners: defaultdict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            found = self._values.find(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        return found[1]

    def set(self, key: str, value: bytes, lasting: Duration) -> None:
        with self._lock:
            self._values.put(key, self._clock.now() + lasting, value)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        return {key: value for key in keys if (value := self.get(key)) is not None}

    def set_many(self, values: Mapping[str, bytes], lasting: Duration) -> None:
        for key, value in values.items():
            self.set(key, value, lasting)

    def delete(self, key: str) -> None:
        with self._lock:
            self._values.drop(key)

    def increment(self, key: str, lasting: Duration) -> int:
        with self._lock:
            deadline, value = self._counts.find(key) or (self._clock.now() + lasting, b"0")
            count = int(value) + 1
            self._counts.put(key, deadline, str(count).encode())
            return count

    def publish(self, channel: str, message: bytes) -> None:
        with self._lock:
            listeners = list(self._listeners.get(channel, ()))
        for listener in listeners:
            try:
                listener(message)
            except Exception:
                _log.exception("a listener of %s failed", channel)

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners[channel].append(listener)

        def unsubscribe() -> None:
            with self._lock:
                listeners = self._listeners.get(channel, [])
                if listener in listeners:
                    listeners.remove(listener)
                if not listeners:  # channels come and go with sessions
                    self._listeners.pop(channel, None)

        return unsubscribe

    def flush(self) -> None:
        with self._lock:
            self._values.clear()
            self._counts.clear()

    def figures(self) -> Mapping[tuple[str, ...], float]:
        return {("hit",): self.hits, ("miss",): self.misses}

    def is_reachable(self) -> bool:
        return True

    def close(self) -> None:
        pass

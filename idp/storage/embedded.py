"""The Store inside one process: a dictionary with deadlines, bounded in size."""

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping

from idp.clock import Clock, Duration, Instant

MAXIMUM_KEYS = 100_000

_log = logging.getLogger(__name__)


class EmbeddedStore:
    """Keeps values in this process; the oldest go first when there are too many."""

    def __init__(self, clock: Clock, *, maximum_keys: int = MAXIMUM_KEYS) -> None:
        self._clock = clock
        self._maximum = maximum_keys
        self._lock = threading.Lock()
        self.hits = self.misses = 0
        self._values: OrderedDict[str, tuple[Instant, bytes]] = OrderedDict()
        self._listeners: defaultdict[str, list[Callable[[bytes], None]]] = defaultdict(list)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            found = self._live(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def set(self, key: str, value: bytes, lasting: Duration) -> None:
        with self._lock:
            self._put(key, self._clock.now() + lasting, value)

    def delete(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)

    def increment(self, key: str, lasting: Duration) -> int:
        with self._lock:
            value = self._live(key)
            if value is None:
                self._put(key, self._clock.now() + lasting, b"1")
                return 1
            count = int(value) + 1
            self._values[key] = (self._values[key][0], str(count).encode())
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

    def figures(self) -> Mapping[tuple[str, ...], float]:
        return {("hit",): self.hits, ("miss",): self.misses}

    def is_reachable(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _live(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        if found[0] <= self._clock.now():
            del self._values[key]
            return None
        return found[1]

    def _put(self, key: str, deadline: Instant, value: bytes) -> None:
        self._values[key] = (deadline, value)
        self._values.move_to_end(key)
        while len(self._values) > self._maximum:
            self._values.popitem(last=False)

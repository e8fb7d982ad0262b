"""The Store: values that may vanish at any time without changing a security decision.

A cache, counters and messages between parts of the product. Whoever reads from it must be able to
find the answer in SQL as well. Every implementation passes `tests/contracts/test_store.py`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from idp.clock import Duration


class Store(Protocol):
    """What an implementation offers. Durations are in microseconds."""

    def get(self, key: str) -> bytes | None:
        """The value, or None when it was never set, expired, or was flushed."""

    def set(self, key: str, value: bytes, lasting: Duration) -> None:
        """Keeps `value` for at most `lasting`."""

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        """The values that `get` would give for these keys, asked for together."""

    def set_many(self, values: Mapping[str, bytes], lasting: Duration) -> None:
        """Keeps each of `values` as `set` does, together."""

    def delete(self, key: str) -> None:
        """Forgets the value; no error when there is none."""

    def increment(self, key: str, lasting: Duration) -> int:
        """Adds one and gives the count since the first increment of this window."""

    def publish(self, channel: str, message: bytes) -> None:
        """Sends to whoever listens now; nobody later."""

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Calls `listener` for each message until the function it gives back is called."""

    def flush(self) -> None:
        """Forgets everything."""

    def figures(self) -> Mapping[tuple[str, ...], float]:
        """How often a value was found, not found, or not answered for: for operators."""

    def is_reachable(self) -> bool:
        """Whether other nodes can be reached through it now; what is lost otherwise is speed."""

    def close(self) -> None:
        """Lets connections and threads go."""

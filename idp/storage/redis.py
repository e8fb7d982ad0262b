"""The Store in Redis: shared by the nodes of one deployment, trusted by none of them.

Whoever can write to Redis could otherwise answer in our name, and Redis itself may lose, delay or
mix up what it was given. So values are sealed, bound to their key, with their own deadline inside:
what does not open, is too large, of another type or past its time is a miss. Nothing waits for a
Redis that is away: after a failure it is left alone for a second, and this process's own copies and
counts serve meanwhile. A value may be a second old when another node changed it.

Messages travel over one channel for all: a node hears everything, which is cheap, and subscribing
needs no word to Redis. Lost ones are not sent again; whoever listens must also look into SQL.
"""

import logging
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from idp.clock import SECOND, Clock, Duration
from idp.storage.embedded import EmbeddedStore
from idp.storage.redis_address import RedisAddress, connect
from idp.storage.vault import Unreadable, Vault

PREFIX = "idp:"
# Larger values are not kept: they are no cache entry, and reading them would hold a request up.
VALUE_MAXIMUM = 64 * 1024
_SEALED_MAXIMUM = VALUE_MAXIMUM + 64
_COMPRESSED_FROM = 512
FRESH: Duration = SECOND
LEFT_ALONE_SECONDS = 1.0
_BUS = f"{PREFIX}bus"
# The window runs from its first count, by the clock of whoever counts.
_INCREMENT = """
local ends = redis.call('HGET', KEYS[1], 'ends')
if not ends or tonumber(ends) <= tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'count', 1, 'ends', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
return redis.call('HINCRBY', KEYS[1], 'count', 1)
"""
_FAILURES = (RedisError, RedisClusterException, OSError, ValueError, TypeError)

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class RedisStore:
    """Keeps values in Redis, and copies of them here."""

    def __init__(self, address: RedisAddress, vault: Vault, clock: Clock) -> None:
        self._address = address
        self._connected: Any = None
        self._vault = vault
        self._clock = clock
        self._id = secrets.token_bytes(8)
        self._copies = EmbeddedStore(clock)
        # Which keys were looked up within the last second, found or not.
        self._fresh = EmbeddedStore(clock)
        self._again_at = 0.0
        self._bus: _Bus | None = None
        self._lock, self._bus_lock = threading.Lock(), threading.Lock()
        self.hits = self.misses = self.failures = 0

    def get(self, key: str) -> bytes | None:
        if self._fresh.get(key) is not None:
            self.hits += 1
            return self._copies.get(key)
        found, answered = self._ask(lambda: self._client.getrange(PREFIX + key, 0, _SEALED_MAXIMUM))
        if not answered:
            return self._copies.get(key)
        return self._taken(key, found)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        stale = [key for key in keys if self._fresh.get(key) is None]
        self.hits += len(keys) - len(stale)
        found, answered = self._ask(
            lambda: self._together("getrange", [(key, 0, _SEALED_MAXIMUM) for key in stale])
        )
        if answered and found is not None:
            for key, value in zip(stale, found, strict=True):
                self._taken(key, value)
        return self._copies.get_many(keys)

    def set_many(self, values: Mapping[str, bytes], lasting: Duration) -> None:
        self._copies.set_many(values, lasting)
        self._fresh.set_many(dict.fromkeys(values, b"1"), FRESH)
        sealed = [
            (key, self._sealed(key, value, lasting))
            for key, value in values.items()
            if len(value) <= VALUE_MAXIMUM
        ]
        self._ask(
            lambda: self._together(
                "psetex", [(key, _milliseconds(lasting), one) for key, one in sealed]
            )
        )

    def set(self, key: str, value: bytes, lasting: Duration) -> None:
        self._copies.set(key, value, lasting)
        self._fresh.set(key, b"1", FRESH)
        if len(value) <= VALUE_MAXIMUM:
            sealed = self._sealed(key, value, lasting)
            self._ask(lambda: self._client.set(PREFIX + key, sealed, px=_milliseconds(lasting)))

    def delete(self, key: str) -> None:
        self._copies.delete(key)
        self._fresh.set(key, b"1", FRESH)
        self._ask(lambda: self._client.delete(PREFIX + key))

    def increment(self, key: str, lasting: Duration) -> int:
        now = self._clock.now()
        # Counted here as well, so that a node that is cut off goes on from what it saw.
        own = self._copies.increment(f"count:{key}", lasting)
        count, answered = self._ask(
            lambda: int(
                self._client.eval(
                    _INCREMENT,
                    1,
                    f"{PREFIX}count:{key}",
                    now,
                    now + lasting,
                    _milliseconds(lasting),
                )
            )
        )
        # The larger one: whoever deletes keys there must not set our counts back.
        return max(count, own) if answered and count is not None else own

    def publish(self, channel: str, message: bytes) -> None:
        self._copies.publish(channel, message)
        packed = self._id + len(channel.encode()).to_bytes(2) + channel.encode() + message
        sealed = self._vault.seal(packed, _BUS)
        if len(sealed) <= _SEALED_MAXIMUM:
            self._ask(lambda: self._client.publish(_BUS, sealed))

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        with self._bus_lock:
            if self._bus is None:
                self._bus = _Bus(lambda: self._client.pubsub(), self._heard)
                self._bus.start()
        return self._copies.subscribe(channel, listener)

    def flush(self) -> None:
        self._copies.flush()
        self._fresh.flush()

        def forget() -> None:
            for key in self._client.scan_iter(match=f"{PREFIX}*", count=1_000):
                self._client.unlink(key)

        self._ask(forget)

    def figures(self) -> Mapping[tuple[str, ...], float]:
        return {("hit",): self.hits, ("miss",): self.misses, ("unanswered",): self.failures}

    def is_reachable(self) -> bool:
        """Whether Redis answers now; for health, which a Redis that is away does not change."""
        return bool(self._ask(lambda: self._client.ping())[0])

    def close(self) -> None:
        """Stops listening and lets the connections go."""
        if self._bus is not None:
            self._bus.stop()
        if self._connected is not None:
            self._connected.close()

    @property
    def _client(self) -> Any:
        # Not before it is needed: a cluster's client looks around at once, and Redis may be away.
        with self._lock:
            if self._connected is None:
                self._connected = connect(self._address)
            return self._connected

    def _ask(self, command: Callable[[], Result]) -> tuple[Result | None, bool]:
        """The answer of Redis, and whether there was one."""
        if time.monotonic() < self._again_at:
            return None, False
        try:
            return command(), True
        except _FAILURES as error:
            self.failures += 1
            self._again_at = time.monotonic() + LEFT_ALONE_SECONDS
            _log.warning("Redis failed (%s); going on without it", error.__class__.__name__)
            return None, False

    def _together(self, command: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to one command for many keys, in one round trip.

        Of the errors only "wrong type" is an answer: that is about one key, the others about Redis.
        """
        if not calls:
            return []
        # No transaction: the keys may live on different nodes of a cluster.
        with self._client.pipeline(transaction=False) as pipeline:
            for key, *rest in calls:
                getattr(pipeline, command)(PREFIX + key, *rest)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
                raise answer
        return answers

    def _taken(self, key: str, found: Any) -> bytes | None:
        """The value in what Redis answered, kept here for as long as it is good."""
        value, left = self._opened(key, found)
        self._fresh.set(key, b"1", FRESH)
        if value is None:
            self.misses += 1
            self._copies.delete(key)
        else:
            self.hits += 1
            self._copies.set(key, value, left)
        return value

    def _heard(self, sealed: bytes) -> None:
        if len(sealed) > _SEALED_MAXIMUM:
            return
        try:
            packed = self._vault.open(sealed, _BUS)
            length = int.from_bytes(packed[8:10])
            channel = packed[10 : 10 + length].decode()
        except (Unreadable, UnicodeDecodeError):
            return
        if packed[:8] != self._id:
            self._copies.publish(channel, packed[10 + length :])

    def _sealed(self, key: str, value: bytes, lasting: Duration) -> bytes:
        packed, flag = value, b"\x00"
        if len(value) >= _COMPRESSED_FROM:
            smaller = zlib.compress(value, 1)
            if len(smaller) < len(value):
                packed, flag = smaller, b"\x01"
        ends = (self._clock.now() + lasting).to_bytes(8)
        return self._vault.seal(flag + ends + packed, f"store:{key}")

    def _opened(self, key: str, sealed: Any) -> tuple[bytes | None, Duration]:
        if not isinstance(sealed, bytes) or not sealed or len(sealed) > _SEALED_MAXIMUM:
            return None, 0
        try:
            packed = self._vault.open(sealed, f"store:{key}")
        except Unreadable:
            return None, 0
        left = int.from_bytes(packed[1:9]) - self._clock.now()
        if left <= 0:
            return None, 0
        value = packed[9:]
        if packed[:1] == b"\x01":
            # Sealed by us, so no bomb; bounded all the same.
            value = zlib.decompressobj().decompress(value, VALUE_MAXIMUM)
        return value, left


class _Bus:
    """A thread that hears what other nodes publish, and connects again when it was cut off."""

    def __init__(self, open_: Callable[[], Any], heard: Callable[[bytes], None]) -> None:
        self._open = open_
        self._heard = heard
        self._is_over = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis bus", daemon=True)

    def start(self) -> None:
        self._thread.start()
        # Whoever subscribed hears what is published from now on, if Redis is there at all.
        self._listens.wait(LEFT_ALONE_SECONDS)

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._open() as heard:
                    heard.subscribe(_BUS)
                    self._listen(heard)
            except _FAILURES:
                self._is_over.wait(LEFT_ALONE_SECONDS)

    def _listen(self, heard: Any) -> None:
        while not self._is_over.is_set():
            message = heard.get_message(timeout=0.5)
            if message is None:
                continue
            if message["type"] == "subscribe":
                self._listens.set()
            elif message["type"] == "message" and isinstance(message["data"], bytes):
                self._heard(message["data"])


def _milliseconds(duration: Duration) -> int:
    return max(1, duration // 1_000)

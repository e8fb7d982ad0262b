"""What Redis may do to us: share, lose, lie, hang and come back."""

import time
from collections.abc import Callable, Iterator

import pytest
import redis

from idp.clock import SECOND
from idp.storage.redis import LEFT_ALONE_SECONDS, PREFIX, RedisStore
from idp.storage.redis_address import RedisAddress, parse
from idp.storage.vault import Vault
from tests.harness.redis_server import RedisServer, running
from tests.harness.workbench import SECRET, ManualClock

pytestmark = pytest.mark.redis
Make = Callable[[], RedisStore]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


@pytest.fixture
def node(server: RedisServer, clock: ManualClock) -> Iterator[Make]:
    """Makes stores of nodes that share the server."""
    made: list[RedisStore] = []

    def make() -> RedisStore:
        made.append(RedisStore(parse(server.url), Vault(SECRET), clock))
        return made[-1]

    yield make
    for store in made:
        store.close()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nodes_share_values_and_counts(node: Make) -> None:
    one, other = node(), node()
    one.set("key", b"value" * 1_000, 60 * SECOND)
    assert other.get("key") == b"value" * 1_000
    assert [one.increment("n", SECOND), other.increment("n", SECOND)] == [1, 2]


def test_what_another_node_changed_is_seen_after_a_second(node: Make, clock: ManualClock) -> None:
    one, other = node(), node()
    one.set("key", b"first", 60 * SECOND)
    assert other.get("key") == b"first"
    one.set("key", b"second", 60 * SECOND)
    clock.advance(SECOND)
    assert other.get("key") == b"second"
    one.delete("key")
    clock.advance(SECOND)
    assert other.get("key") is None


def test_a_message_reaches_every_node_once(node: Make) -> None:
    one, other = node(), node()
    here: list[bytes] = []
    there: list[bytes] = []
    one.subscribe("channel", here.append)
    other.subscribe("channel", there.append)
    one.publish("channel", b"message")
    wait_until(lambda: bool(there))
    one.publish("channel", b"last")
    wait_until(lambda: len(there) == 2)
    assert here == there == [b"message", b"last"]


def test_nothing_is_readable_in_redis(node: Make, server: RedisServer) -> None:
    node().set("key", b"a value that is long enough to be seen " * 50, 60 * SECOND)
    raw = redis.Redis.from_url(server.url)
    assert b"long enough" not in raw.get(PREFIX + "key")
    assert 0 < raw.ttl(PREFIX + "key") <= 60
    raw.close()


@pytest.mark.parametrize(
    "lie",
    [
        lambda raw, key: raw.set(key, b"not sealed"),
        lambda raw, key: raw.set(key, b""),
        lambda raw, key: raw.set(key, raw.get(PREFIX + "other")),
        lambda raw, key: raw.set(key, raw.get(key)[:-1] + bytes([raw.get(key)[-1] ^ 1])),
        lambda raw, key: (raw.delete(key), raw.rpush(key, "a list")),
        lambda raw, key: (raw.delete(key), raw.hset(key, "a", "hash")),
        lambda raw, key: raw.setrange(key, 8 * 1024 * 1024, b"huge"),
        lambda raw, key: raw.set(key, b"\x80\x04\x95pickle"),
    ],
    ids=["plain", "empty", "swapped", "flipped", "list", "hash", "huge", "pickle"],
)
def test_a_redis_that_lies_is_a_miss(
    node: Make, server: RedisServer, lie: Callable[[redis.Redis, str], object]
) -> None:
    writer = node()
    writer.set("key", b"value", 60 * SECOND)
    writer.set("other", b"other", 60 * SECOND)
    raw = redis.Redis.from_url(server.url)
    lie(raw, PREFIX + "key")
    raw.close()
    # Of many it spoils its own place only.
    assert node().get_many(["key", "other"]) == {"other": b"other"}
    assert node().get("key") is None


def test_many_values_travel_together(node: Make, clock: ManualClock) -> None:
    one, other = node(), node()
    values = {f"key {number}": b"value" * number for number in range(1, 60)}
    one.set_many(values, 60 * SECOND)
    assert other.get_many([*values, "none"]) == values
    assert other.figures() == {("hit",): 59, ("miss",): 1, ("unanswered",): 0}
    one.set_many({"key 1": b"second"}, 60 * SECOND)
    clock.advance(SECOND)
    assert other.get_many(["key 1"]) == {"key 1": b"second"}


def test_an_old_value_put_back_is_a_miss_after_its_time(
    node: Make, server: RedisServer, clock: ManualClock
) -> None:
    node().set("key", b"value", 10 * SECOND)
    raw = redis.Redis.from_url(server.url)
    kept = raw.get(PREFIX + "key")
    clock.advance(10 * SECOND)
    raw.set(PREFIX + "key", kept)
    raw.close()
    assert node().get("key") is None


def test_a_forged_message_is_not_heard(node: Make, server: RedisServer) -> None:
    one, other = node(), node()
    heard: list[bytes] = []
    one.subscribe("channel", heard.append)
    raw = redis.Redis.from_url(server.url)
    for message in (
        b"",
        b"x" * 200_000,
        Vault("another key, 32 characters or more!").seal(b"", "x"),
    ):
        raw.publish(f"{PREFIX}bus", message)
    raw.close()
    other.publish("channel", b"true")
    wait_until(lambda: bool(heard))
    assert heard == [b"true"]


def test_a_node_goes_on_alone_while_redis_is_dead_and_comes_back_by_itself(
    node: Make, server: RedisServer, clock: ManualClock
) -> None:
    one, other = node(), node()
    heard: list[bytes] = []
    one.subscribe("channel", heard.append)
    one.set("key", b"value", 60 * SECOND)
    assert [one.increment("n", 60 * SECOND) for _ in range(3)] == [1, 2, 3]
    server.kill()
    clock.advance(SECOND)
    began = time.monotonic()
    for _ in range(200):
        assert one.get("key") == b"value", "its own copy serves"
        clock.advance(SECOND // 1_000)
    assert one.increment("n", 60 * SECOND) == 4, "it counts on from what it saw"
    one.set("new", b"value", 60 * SECOND)
    one.publish("channel", b"local")
    assert heard == [b"local"]
    assert not one.is_reachable()
    assert time.monotonic() - began < 20, "nobody waits for a Redis that is away"
    server.start()
    # A flushed server: everything is a miss, and nothing fails.
    wait_until(one.is_reachable)
    clock.advance(SECOND)
    assert one.get("key") is None
    time.sleep(0)
    wait_until(lambda: _sent_through(other, heard))


def _sent_through(other: RedisStore, heard: list[bytes]) -> bool:
    other.publish("channel", b"again")
    time.sleep(LEFT_ALONE_SECONDS / 10)
    return b"again" in heard


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "redis+cluster://127.0.0.1:1",
        "redis+sentinel://127.0.0.1:1/idp",
        "unix:///nowhere.sock",
    ],
)
def test_a_store_begins_without_redis_and_waits_for_none(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    slept: list[float] = []
    for place in ("redis.retry.sleep", "time.sleep"):
        monkeypatch.setattr(place, slept.append)
    store = RedisStore(parse(url), Vault(SECRET), clock)
    assert store.get("key") is None
    store.set("key", b"value", SECOND)
    assert store.get("key") == b"value"
    store.close()
    assert sum(slept) == 0, "redis-py rests for seconds between its attempts unless told not to"


@pytest.mark.parametrize(
    "text, address",
    [
        ("redis://h:1/0", RedisAddress("single", url="redis://h:1/0")),
        (
            "redis+sentinel://one,two:1/main",
            RedisAddress("sentinel", hosts=(("one", 26_379), ("two", 1)), primary="main"),
        ),
        (
            "rediss+cluster://u:p%40ss@[::1]:7000,b",
            RedisAddress(
                "cluster",
                hosts=(("::1", 7_000), ("b", 6_379)),
                user="u",
                password="p@ss",
                is_tls=True,
            ),
        ),
    ],
)
def test_addresses_are_read(text: str, address: RedisAddress) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "http://h", "redis+sentinel://h", "redis+cluster://h:0", "redis+cluster://u:secret@h h"],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(text)
    assert "secret" not in str(refused.value)

"""What every implementation of the Store must do."""

import threading
from collections.abc import Callable, Iterator

import pytest

from idp.clock import SECOND
from idp.storage.embedded import EmbeddedStore
from idp.storage.redis import RedisStore
from idp.storage.redis_address import parse
from idp.storage.store import Store
from idp.storage.vault import Vault
from tests.harness.redis_server import RedisServer, running
from tests.harness.workbench import SECRET, ManualClock


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Store]:
    if request.param == "embedded":
        yield EmbeddedStore(clock)
    else:
        made = RedisStore(parse(request.getfixturevalue("server").url), Vault(SECRET), clock)
        made.flush()
        yield made
        made.close()


def test_a_value_is_kept_until_its_time_is_over(store: Store, clock: ManualClock) -> None:
    store.set("key", b"\x00value\xff", 10 * SECOND)
    clock.advance(10 * SECOND - 1)
    assert store.get("key") == b"\x00value\xff"
    clock.advance(1)
    assert store.get("key") is None


def test_what_was_never_set_is_none(store: Store) -> None:
    assert store.get("key") is None
    store.delete("key")


def test_setting_again_replaces_value_and_time(store: Store, clock: ManualClock) -> None:
    store.set("key", b"first", SECOND)
    store.set("key", b"second", 5 * SECOND)
    clock.advance(2 * SECOND)
    assert store.get("key") == b"second"


def test_what_was_deleted_is_gone(store: Store) -> None:
    store.set("key", b"value", SECOND)
    store.set("other", b"other", SECOND)
    store.delete("key")
    assert store.get("key") is None
    assert store.get("other") == b"other"


def test_a_count_grows_within_its_window_and_begins_again_after_it(
    store: Store, clock: ManualClock
) -> None:
    assert [store.increment("key", 10 * SECOND) for _ in range(3)] == [1, 2, 3]
    clock.advance(9 * SECOND)
    assert store.increment("key", 10 * SECOND) == 4
    clock.advance(SECOND)
    assert store.increment("key", 10 * SECOND) == 1, "the window runs from its first count"


def test_no_count_is_lost_between_threads(store: Store) -> None:
    def count() -> None:
        for _ in range(500):
            store.increment("key", 10 * SECOND)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.increment("key", 10 * SECOND) == 4_001


def test_a_message_reaches_those_who_listen_now_and_nobody_later(store: Store) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    later: list[bytes] = []
    store.subscribe("channel", first.append)
    unsubscribe = store.subscribe("channel", second.append)
    store.subscribe("other", later.append)
    store.publish("channel", b"one")
    unsubscribe()
    unsubscribe()
    store.publish("channel", b"two")
    store.subscribe("channel", later.append)
    assert (first, second, later) == ([b"one", b"two"], [b"one"], [])


def test_publishing_to_nobody_is_nothing(store: Store) -> None:
    store.publish("channel", b"message")


def test_a_listener_that_fails_stops_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[bytes] = []

    def fail(message: bytes) -> None:
        raise ZeroDivisionError

    store.subscribe("channel", fail)
    store.subscribe("channel", heard.append)
    store.publish("channel", b"message")
    assert heard == [b"message"]


def test_a_listener_may_stop_listening_while_it_hears(store: Store) -> None:
    heard: list[bytes] = []
    stops: list[Callable[[], None]] = []

    def once(message: bytes) -> None:
        heard.append(message)
        stops[0]()

    stops.append(store.subscribe("channel", once))
    store.publish("channel", b"one")
    store.publish("channel", b"two")
    assert heard == [b"one"]


def test_flushing_forgets_everything_and_the_store_goes_on(store: Store) -> None:
    store.set("key", b"value", SECOND)
    store.increment("count", SECOND)
    store.flush()
    assert store.get("key") is None
    assert store.increment("count", SECOND) == 1


def test_many_values_are_kept_and_found_together(store: Store, clock: ManualClock) -> None:
    store.set("one", b"1", SECOND)
    store.set_many({"two": b"2" * 2_000, "three": b"3"}, 10 * SECOND)
    assert store.get_many(["three", "one", "none"]) == {"one": b"1", "three": b"3"}
    assert store.get_many([]) == {}
    clock.advance(SECOND)
    assert store.get_many(["one", "two"]) == {"two": b"2" * 2_000}
    assert store.get("two") == b"2" * 2_000

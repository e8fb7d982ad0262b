from idp.clock import SECOND
from idp.storage.embedded import EmbeddedStore
from tests.harness.workbench import ManualClock


def test_it_never_holds_more_than_its_maximum_and_the_oldest_go_first(
    clock: ManualClock,
) -> None:
    store = EmbeddedStore(clock, maximum_keys=3)
    for key in ("a", "b", "c"):
        store.set(key, b"value", SECOND)
    store.set("a", b"value", SECOND)
    store.set("d", b"value", SECOND)
    assert [key for key in "abcd" if store.get(key)] == ["a", "c", "d"]


def test_channels_nobody_listens_to_take_no_room(clock: ManualClock) -> None:
    store = EmbeddedStore(clock)
    for number in range(10):
        store.subscribe(f"session {number}", lambda message: None)()
        store.publish(f"other {number}", b"message")
    assert not store._listeners


def test_its_values_together_are_never_larger_than_its_maximum(clock: ManualClock) -> None:
    store = EmbeddedStore(clock, maximum_size=10)
    for key in ("a", "b", "c"):
        store.set(key, b"four", SECOND)
    assert [key for key in "abc" if store.get(key)] == ["b", "c"]
    store.delete("b")
    store.set("c", b"sixsix", SECOND)
    store.set("d", b"four", SECOND)
    assert [key for key in "abcd" if store.get(key)] == ["c", "d"]
    store.set("e", b"larger than all", SECOND)
    assert store.get("e") is None
    clock.advance(SECOND)
    assert store.get("d") is None
    store.set("f", b"ten bytes!", SECOND)
    assert store.get("f") == b"ten bytes!"


def test_no_value_pushes_out_a_count(clock: ManualClock) -> None:
    store = EmbeddedStore(clock, maximum_keys=3)
    store.increment("count", SECOND)
    for key in ("a", "b", "c", "d"):
        store.set(key, b"value", SECOND)
    assert store.increment("count", SECOND) == 2

import pytest

from idp.clock import SECOND
from idp.work.turns import (
    CALLS_ANSWERING,
    CALLS_UNKNOWN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Turns,
)

NOW = 1_000 * SECOND


def waiting(*receivers: str) -> list[tuple[str, str]]:
    return [(f"{number}:{receiver}", receiver) for number, receiver in enumerate(receivers)]


def begin(turns: Turns, *receivers: str) -> list[str]:
    """Chooses among one delivery for each of `receivers`, begins them, gives whose turn it was."""
    chosen = [one.partition(":")[2] for one in turns.choose(waiting(*receivers), NOW)]
    for receiver in chosen:
        turns.begin(receiver)
    return chosen


def test_a_receiver_has_so_many_calls_and_no_more() -> None:
    turns = Turns(64)
    assert len(begin(turns, *["a"] * 50)) == CALLS_UNKNOWN
    assert turns.barred(NOW) == ["a"]
    assert begin(turns, *["a"] * 50, "b") == ["b"]
    turns.answered("a")
    assert turns.barred(NOW) == []
    assert len(begin(turns, *["a"] * 50)) == CALLS_ANSWERING - (CALLS_UNKNOWN - 1)


@pytest.mark.attack("SS-10")
def test_receivers_not_heard_of_leave_slots_for_those_that_answer() -> None:
    turns = Turns(64)
    turns.begin("good")
    turns.answered("good")
    strangers = [f"stranger {number}" for number in range(1_000)]
    assert len(begin(turns, *strangers)) == 48
    assert turns.only() == ["good"]
    assert begin(turns, *strangers, *["good"] * 20) == ["good"] * CALLS_ANSWERING


@pytest.mark.attack("SS-10")
def test_failing_receivers_have_at_most_a_quarter_of_the_slots() -> None:
    turns = Turns(64)
    failing = [f"failing {number}" for number in range(100)]
    for receiver in failing:
        turns.begin(receiver)
        turns.failed(receiver, NOW - FIRST_PAUSE)
    assert len(begin(turns, *failing, *failing)) == 16
    assert set(turns.barred(NOW)) == set(failing)
    assert begin(turns, *failing, "new") == ["new"]


@pytest.mark.attack("LO-11")
def test_a_failing_receiver_pauses_longer_each_time_and_is_then_probed_once() -> None:
    turns = Turns(64)
    now = NOW
    for pause in (1, 2, 4, 8, 16, 30, 30, 30):
        turns.begin("a")
        turns.failed("a", now)
        assert turns.next_pause_ends(now) == now + pause * SECOND
        just_before = now + pause * SECOND - 1
        assert turns.choose(waiting("a", "a"), just_before) == []
        assert turns.barred(just_before) == ["a"]
        now += pause * SECOND
        assert turns.choose(waiting("a", "a"), now) == ["0:a"]
        assert turns.barred(now) == []
    assert pause * SECOND == LONGEST_PAUSE


def test_calls_that_fail_together_count_once() -> None:
    turns = Turns(64)
    for _ in range(4):
        turns.begin("a")
    for _ in range(4):
        turns.failed("a", NOW)
    assert turns.next_pause_ends(NOW) == NOW + FIRST_PAUSE


def test_an_answer_ends_the_pauses_and_says_that_there_were_some() -> None:
    turns = Turns(64)
    turns.begin("a")
    turns.failed("a", NOW - 10 * SECOND)
    turns.begin("a")
    assert turns.answered("a") is True
    assert turns.next_pause_ends(NOW) is None
    turns.begin("a")
    assert turns.answered("a") is False
    assert turns.free == 64


def test_a_call_that_says_nothing_about_the_receiver_only_frees_its_slot() -> None:
    turns = Turns(2)
    turns.begin("a")
    turns.begin("b")
    assert begin(turns, "c") == []
    turns.broke_off("a")
    assert turns.barred(NOW) == []
    # Those not proved to answer have one slot of these two, and b is in it.
    assert begin(turns, "a") == []

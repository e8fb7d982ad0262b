from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.policy import limits
from idp.policy.limits import Standing

standings = st.lists(
    st.builds(
        Standing,
        id=st.uuids().map(str),
        last_active_at=st.integers(0, 50),
        created_at=st.integers(0, 50),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda one: one.id,
)


@pytest.mark.parametrize(
    "values, maximum",
    [
        ([], 15),
        ([{"maximum": 3}], 3),
        ([{"maximum": 50}], 50),
        # Of several rules in force the lowest counts.
        ([{"maximum": 5}, {"maximum": 2}], 2),
    ],
)
def test_the_limit_in_force(values: list[dict[str, Any]], maximum: int) -> None:
    assert limits.effective(values) == maximum


@pytest.mark.parametrize(
    "running, maximum, leaving",
    [
        ([("new", 9, 9)], 1, []),
        ([("a", 1, 1), ("new", 9, 9)], 2, []),
        ([("a", 1, 1), ("new", 9, 9)], 1, ["a"]),
        # The one that rested longest goes first, not the one that began first.
        ([("a", 5, 1), ("b", 2, 2), ("new", 9, 9)], 2, ["b"]),
        # Of those that rested alike the older goes.
        ([("a", 5, 2), ("b", 5, 1), ("new", 9, 9)], 2, ["b"]),
        # A limit that was lowered ends as many as are too many.
        ([("a", 1, 1), ("b", 2, 2), ("c", 3, 3), ("new", 9, 9)], 2, ["a", "b"]),
        # The new one stays, even where it is the oldest by its times.
        ([("a", 5, 5), ("b", 6, 6), ("new", 0, 0)], 1, ["a", "b"]),
    ],
)
def test_which_sessions_give_way(
    running: list[tuple[str, int, int]], maximum: int, leaving: list[str]
) -> None:
    standing = [Standing(*one) for one in running]
    assert limits.to_end(standing, newest="new", maximum=maximum) == leaving


@given(standings, st.integers(1, 40))
def test_after_giving_way_the_limit_holds_and_the_newest_runs(
    running: list[Standing], maximum: int
) -> None:
    newest = running[0].id
    leaving = limits.to_end(running, newest=newest, maximum=maximum)
    left = {one.id for one in running} - set(leaving)
    assert newest in left
    assert len(left) == min(len(running), maximum)
    assert len(set(leaving)) == len(leaving)


@given(standings, st.integers(1, 40))
def test_nobody_who_stays_rested_longer_than_somebody_who_goes(
    running: list[Standing], maximum: int
) -> None:
    newest = running[0].id
    leaving = set(limits.to_end(running, newest=newest, maximum=maximum))
    goes = [one.last_active_at for one in running if one.id in leaving]
    stays = [one.last_active_at for one in running if one.id not in leaving and one.id != newest]
    assert not goes or not stays or max(goes) <= min(stays)


@given(standings, st.integers(1, 40))
def test_the_order_they_are_listed_in_does_not_matter(
    running: list[Standing], maximum: int
) -> None:
    newest = running[0].id
    assert limits.to_end(running, newest=newest, maximum=maximum) == limits.to_end(
        running[::-1], newest=newest, maximum=maximum
    )


@given(st.integers(1, 1_000))
def test_a_whole_number_within_bounds_is_a_rule(maximum: int) -> None:
    assert limits.problem_with({"maximum": maximum}) is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"maximum": 0},
        {"maximum": -1},
        {"maximum": 1_001},
        {"maximum": 2.0},
        {"maximum": "2"},
        {"maximum": None},
        {"maximum": True},
        {"maximum": 2, "minimum": 1},
        {"minimum": 1},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = limits.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")

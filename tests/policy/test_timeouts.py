from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.policy import timeouts
from idp.policy.timeouts import Timeouts

Values = list[dict[str, Any]]

seconds = st.integers(60, 30 * 86_400)
values = st.fixed_dictionaries({}, optional={"idle": seconds, "absolute": seconds}).filter(bool)
said = st.lists(values, max_size=6)


@pytest.mark.parametrize(
    "said, expected",
    [
        # The defaults of NIST SP 800-63B-4 for AAL2.
        ([], Timeouts(HOUR, DAY)),
        ([{"idle": 900}], Timeouts(15 * MINUTE, DAY)),
        ([{"absolute": 3_600 * 8}], Timeouts(HOUR, 8 * HOUR)),
        ([{"idle": 7_200, "absolute": 172_800}], Timeouts(2 * HOUR, 2 * DAY)),
        # Of several rules in force the shortest of each counts.
        (
            [{"idle": 300, "absolute": 7_200}, {"idle": 600, "absolute": 3_600}],
            Timeouts(5 * MINUTE, HOUR),
        ),
        # A rest is never longer than the whole.
        ([{"idle": 7_200, "absolute": 3_600}], Timeouts(HOUR, HOUR)),
        ([{"absolute": 1_800}], Timeouts(30 * MINUTE, 30 * MINUTE)),
        # And the whole never longer than 30 days, whatever got into the table.
        ([{"absolute": 90 * 86_400}], Timeouts(HOUR, 30 * DAY)),
    ],
)
def test_the_timeouts_in_force(said: Values, expected: Timeouts) -> None:
    assert timeouts.effective(said) == expected


@given(said)
def test_a_session_always_has_an_end_and_rests_no_longer_than_it_lasts(said: Values) -> None:
    chosen = timeouts.effective(said)
    assert 0 < chosen.idle <= chosen.absolute <= 30 * DAY


@given(said)
def test_the_order_of_rules_does_not_matter(said: Values) -> None:
    assert timeouts.effective(said[::-1]) == timeouts.effective(said)


@given(said, values)
def test_another_rule_beside_one_that_says_both_never_lengthens(
    said: Values, value: dict[str, int]
) -> None:
    said = [{"idle": 3_600, "absolute": 86_400}, *said]
    before, after = timeouts.effective(said), timeouts.effective([*said, value])
    assert after.idle <= before.idle
    assert after.absolute <= before.absolute


@pytest.mark.parametrize(
    "idle_in, expires_in, ran",
    [
        (1, 1, None),
        (HOUR, DAY, None),
        (0, 1, "idle_timeout"),
        (-1, 1, "idle_timeout"),
        (1, 0, "absolute_timeout"),
        (1, -DAY, "absolute_timeout"),
        # Where both have passed it is the absolute one that is told.
        (0, 0, "absolute_timeout"),
        (-DAY, -1, "absolute_timeout"),
    ],
)
def test_which_deadline_has_passed(idle_in: int, expires_in: int, ran: str | None) -> None:
    now = 1_800_000_000 * SECOND
    assert timeouts.ran_out(idle_at=now + idle_in, expires_at=now + expires_in, now=now) == ran


@given(st.integers(), st.integers(), st.integers(), st.integers(min_value=0))
def test_what_ran_out_stays_run_out(idle_at: int, expires_at: int, now: int, later: int) -> None:
    if timeouts.ran_out(idle_at=idle_at, expires_at=expires_at, now=now) is not None:
        assert timeouts.ran_out(idle_at=idle_at, expires_at=expires_at, now=now + later) is not None


@given(values)
def test_what_is_made_of_seconds_within_bounds_is_a_rule(value: dict[str, int]) -> None:
    assert timeouts.problem_with(value) is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"idle": 59},
        {"idle": 0},
        {"idle": -900},
        {"absolute": 30 * 86_400 + 1},
        {"idle": 900.0},
        {"idle": "900"},
        {"idle": None},
        {"idle": True},
        {"idle": [900]},
        {"rest": 900},
        {"idle": 900, "rest": 900},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = timeouts.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.policy import timeouts
from idp.policy.selection import Rule, Subject
from idp.policy.timeouts import PROFILES, Timeouts

Values = list[dict[str, Any]]

seconds = st.integers(60, 30 * 86_400)
values = st.fixed_dictionaries({}, optional={"idle": seconds, "absolute": seconds}).filter(bool)
said = st.lists(values, max_size=6)
NURSE = Subject(roles=("nurse",), country="FR")


def effective(values: Values) -> Timeouts:
    """By rules for everybody."""
    return timeouts.effective([Rule({}, value) for value in values], NURSE)


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
        ([{"absolute": 1_800}], Timeouts(30 * MINUTE, 30 * MINUTE, shared=30 * MINUTE)),
        # And the whole never longer than 30 days, whatever got into the table.
        ([{"absolute": 90 * 86_400}], Timeouts(HOUR, 30 * DAY)),
        # A profile says what its level allows, and less where the rule says less (N-01 to N-03).
        ([{"profile": "aal1"}], Timeouts(30 * DAY, 30 * DAY)),
        ([{"profile": "aal2"}], Timeouts(HOUR, DAY)),
        ([{"profile": "aal3"}], Timeouts(15 * MINUTE, 12 * HOUR)),
        ([{"profile": "aal3", "idle": 300}], Timeouts(5 * MINUTE, 12 * HOUR)),
        ([{"profile": "aal2"}, {"idle": 86_400, "absolute": 864_000}], Timeouts(HOUR, DAY)),
        ([{"temporary": 28_800}], Timeouts(temporary=8 * HOUR)),
        ([{"temporary": 28_800}, {"temporary": 3_600}], Timeouts(temporary=HOUR)),
        ([{"shared": 1_800}], Timeouts(shared=30 * MINUTE)),
        # A session on a shared device is never the longer one.
        ([{"shared": 7_200, "absolute": 3_600}], Timeouts(HOUR, HOUR, shared=HOUR)),
        (
            [{"absolute": 1_800}, {"shared": 7_200}],
            Timeouts(30 * MINUTE, 30 * MINUTE, shared=30 * MINUTE),
        ),
    ],
)
def test_the_timeouts_in_force(said: Values, expected: Timeouts) -> None:
    assert effective(said) == expected


PROFILE = Rule({}, {"profile": "aal3"})


@pytest.mark.parametrize(
    "rules, expected",
    [
        # A rule that says more about the same people does not get around a profile...
        ([PROFILE, Rule({"role": "nurse"}, {"idle": 3_600, "absolute": 86_400})], PROFILES["aal3"]),
        ([PROFILE, Rule({"role": "nurse"}, {"idle": 60})], Timeouts(MINUTE, 12 * HOUR)),
        # ...unless it names one of its own,
        ([PROFILE, Rule({"role": "nurse"}, {"profile": "aal2"})], PROFILES["aal2"]),
        # which holds for whom that rule is for, and for nobody else.
        ([PROFILE, Rule({"role": "doctor"}, {"profile": "aal1"})], PROFILES["aal3"]),
        # Of two that have nothing to do with each other the stricter counts.
        (
            [
                Rule({"role": "nurse"}, {"profile": "aal2"}),
                Rule({"country": "FR"}, {"profile": "aal1"}),
            ],
            PROFILES["aal2"],
        ),
    ],
)
def test_a_profile_holds_for_all_whom_its_rule_is_for(
    rules: list[Rule], expected: Timeouts
) -> None:
    assert timeouts.effective(rules, NURSE) == expected


profiles = st.sampled_from(sorted(PROFILES))
selectors = st.sampled_from(
    [{}, {"role": "nurse"}, {"country": "FR"}, {"role": "nurse", "country": "FR"}]
)


@given(profiles, st.lists(st.builds(Rule, selectors, values), max_size=5))
def test_no_rule_without_a_profile_exceeds_one(profile: str, others: list[Rule]) -> None:
    found = timeouts.effective([Rule({}, {"profile": profile}), *others], NURSE)
    assert found.idle <= PROFILES[profile].idle
    assert found.absolute <= PROFILES[profile].absolute


@given(said)
def test_a_session_always_has_an_end_and_rests_no_longer_than_it_lasts(said: Values) -> None:
    chosen = effective(said)
    assert 0 < chosen.idle <= chosen.absolute <= 30 * DAY


@given(said)
def test_the_order_of_rules_does_not_matter(said: Values) -> None:
    assert effective(said[::-1]) == effective(said)


@given(said, values)
def test_another_rule_beside_one_that_says_both_never_lengthens(
    said: Values, value: dict[str, int]
) -> None:
    said = [{"idle": 3_600, "absolute": 86_400}, *said]
    before, after = effective(said), effective([*said, value])
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
def test_what_is_made_of_seconds_within_bounds_is_a_rule_unless_one_is_never_met(
    value: dict[str, int],
) -> None:
    is_met = "absolute" not in value or max(value.values()) == value["absolute"]
    assert (timeouts.problem_with(value) is None) == is_met


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
        {"temporary": 59},
        {"temporary": 30 * 86_400 + 1},
        {"shared": True},
        {"profile": "aal4"},
        {"profile": 2},
        # More than NIST allows at that level.
        {"profile": "aal2", "idle": 3_601},
        {"profile": "aal2", "absolute": 86_401},
        {"profile": "aal3", "idle": 901},
        {"profile": "aal3", "absolute": 43_201},
        {"profile": "aal3", "temporary": 43_201},
        {"profile": "aal3", "shared": 43_201},
        {"idle": 900, "rest": 900},
        # Never met.
        {"idle": 3_601, "absolute": 3_600},
        {"temporary": 86_401, "absolute": 86_400},
        {"shared": 7_200, "absolute": 3_600, "idle": 600},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = timeouts.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("idle", "warned"),
    [(3_600, 120), (240, 120), (239, 119.5), (60, 30), (40, 20), (20, 20)],
)
def test_people_are_warned_two_minutes_before_the_idle_deadline_or_at_the_half(
    idle: int, warned: float
) -> None:
    assert timeouts.idle_warning(idle * SECOND) == warned * SECOND


def test_the_last_minutes_of_a_session_are_ten() -> None:
    end = 100 * MINUTE
    assert not timeouts.is_in_last_minutes(end, 90 * MINUTE - 1)
    assert timeouts.is_in_last_minutes(end, 90 * MINUTE)
    assert timeouts.END_WARNING < timeouts.LAST_MINUTES

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.policy import timeouts
from idp.policy.timeouts import Timeouts

Rules = list[tuple[str | None, dict[str, Any]]]
ROLES = ["admin", "nurse", "guest"]

seconds = st.integers(60, 30 * 86_400)
values = st.fixed_dictionaries({}, optional={"idle": seconds, "absolute": seconds}).filter(bool)
rules = st.lists(st.tuples(st.none() | st.sampled_from(ROLES), values), max_size=6)
roles = st.lists(st.sampled_from([*ROLES, "unheard of"]), unique=True)


@pytest.mark.parametrize(
    "rules, roles, expected",
    [
        # The defaults of NIST SP 800-63B-4 for AAL2.
        ([], [], Timeouts(HOUR, DAY)),
        ([], ["admin"], Timeouts(HOUR, DAY)),
        # For everybody.
        ([(None, {"idle": 900})], [], Timeouts(15 * MINUTE, DAY)),
        ([(None, {"absolute": 3_600 * 8})], ["admin"], Timeouts(HOUR, 8 * HOUR)),
        ([(None, {"idle": 7_200, "absolute": 172_800})], [], Timeouts(2 * HOUR, 2 * DAY)),
        # A role's rule replaces the general one, in both directions.
        ([(None, {"idle": 900}), ("admin", {"idle": 300})], ["admin"], Timeouts(5 * MINUTE, DAY)),
        ([(None, {"idle": 900}), ("admin", {"idle": 300})], ["nurse"], Timeouts(15 * MINUTE, DAY)),
        ([(None, {"idle": 900}), ("kiosk", {"idle": 7_200})], ["kiosk"], Timeouts(2 * HOUR, DAY)),
        ([("admin", {"idle": 300})], [], Timeouts(HOUR, DAY)),
        # Of several roles the shortest of each counts.
        (
            [
                ("admin", {"idle": 300, "absolute": 7_200}),
                ("nurse", {"idle": 600, "absolute": 3_600}),
            ],
            ["nurse", "admin"],
            Timeouts(5 * MINUTE, HOUR),
        ),
        # A rest is never longer than the whole.
        ([(None, {"idle": 7_200, "absolute": 3_600})], [], Timeouts(HOUR, HOUR)),
        ([(None, {"absolute": 1_800})], [], Timeouts(30 * MINUTE, 30 * MINUTE)),
        # And the whole never longer than 30 days, whatever got into the table.
        ([(None, {"absolute": 90 * 86_400})], [], Timeouts(HOUR, 30 * DAY)),
    ],
)
def test_the_timeouts_in_force(rules: Rules, roles: list[str], expected: Timeouts) -> None:
    assert timeouts.effective(rules, roles) == expected


@given(rules, roles)
def test_a_session_always_has_an_end_and_rests_no_longer_than_it_lasts(
    rules: Rules, roles: list[str]
) -> None:
    chosen = timeouts.effective(rules, roles)
    assert 0 < chosen.idle <= chosen.absolute <= 30 * DAY


@given(rules, roles)
def test_the_order_of_rules_and_roles_does_not_matter(rules: Rules, roles: list[str]) -> None:
    chosen = timeouts.effective(rules, roles)
    assert timeouts.effective(rules[::-1], roles[::-1]) == chosen


@given(rules, roles, values)
def test_another_rule_for_a_role_that_has_one_never_lengthens(
    rules: Rules, roles: list[str], value: dict[str, int]
) -> None:
    rules = [("admin", {"idle": 3_600, "absolute": 86_400}), *rules]
    roles = ["admin", *roles]
    before = timeouts.effective(rules, roles)
    after = timeouts.effective([*rules, ("admin", value)], roles)
    assert after.idle <= before.idle
    assert after.absolute <= before.absolute


@given(rules, roles)
def test_rules_of_roles_a_person_does_not_have_change_nothing(
    rules: Rules, roles: list[str]
) -> None:
    theirs = [rule for rule in rules if rule[0] is None or rule[0] in roles]
    assert timeouts.effective(rules, roles) == timeouts.effective(theirs, roles)


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

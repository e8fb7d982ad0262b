from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import HOUR, MINUTE, SECOND, Instant
from idp.policy import reauthentication
from idp.policy.assurance import Demand, Proof
from idp.policy.reauthentication import Period
from idp.policy.selection import Book, Rule, Subject

NOW: Instant = 1_800_000_000 * SECOND


@dataclass
class Proved:
    proofs: tuple[Proof, ...]


def password(ago: int) -> Proof:
    return Proof("password", ("pwd",), "aal1", NOW - ago)


def code(ago: int) -> Proof:
    return Proof("totp", ("otp",), "aal1", NOW - ago)


def book(*values: dict[str, Any]) -> Book:
    return {"reauthentication": [Rule({}, value) for value in values]}


@pytest.mark.parametrize(
    "values, period",
    [
        ([], None),
        ([{"every": 28_800}], Period(8 * HOUR, "aal1", 5 * MINUTE)),
        ([{"every": 28_800, "acr": "aal2", "grace": 0}], Period(8 * HOUR, "aal2", 0)),
        # The shortest of each, and the highest level.
        (
            [{"every": 28_800, "acr": "aal2", "grace": 3_600}, {"every": 3_600}],
            Period(HOUR, "aal2", 5 * MINUTE),
        ),
    ],
)
def test_how_often_somebody_must_prove_themselves(
    values: list[dict[str, Any]], period: Period | None
) -> None:
    assert reauthentication.period(book(*values), Subject()) == period


@pytest.mark.parametrize(
    "value, proofs, overdue",
    [
        ({"every": 3_600, "grace": 60}, [password(HOUR)], False),
        # The grace is for refreshing only, and ends too.
        ({"every": 3_600, "grace": 60}, [password(HOUR + MINUTE)], False),
        ({"every": 3_600, "grace": 60}, [password(HOUR + MINUTE + 1)], True),
        ({"every": 3_600}, [password(9 * HOUR), password(MINUTE)], False),
        ({"every": 3_600}, [], True),
        # Two factors are as old as the older one.
        ({"every": 3_600, "acr": "aal2"}, [password(2 * HOUR), code(MINUTE)], True),
        ({"every": 3_600, "acr": "aal2"}, [password(HOUR), code(MINUTE)], False),
        ({"every": 3_600, "acr": "aal2"}, [password(MINUTE)], True),
    ],
)
def test_when_proofs_are_too_old_for_new_tokens(
    value: dict[str, Any], proofs: list[Proof], overdue: bool
) -> None:
    found = reauthentication.is_overdue(book(value), Subject(), Proved(tuple(proofs)), NOW)
    assert found == overdue


def test_without_a_rule_nothing_is_asked_and_no_proofs_are_read() -> None:
    class Unread:
        @property
        def proofs(self) -> tuple[Proof, ...]:
            raise AssertionError("read")

    assert reauthentication.demand({}, Subject(), NOW) is None
    assert not reauthentication.is_overdue({}, Subject(), Unread(), NOW)


def test_a_demand_is_of_that_level_and_that_fresh() -> None:
    found = reauthentication.demand(book({"every": 3_600, "acr": "aal2"}), Subject(), NOW)
    assert found == Demand("aal2", NOW - HOUR)


periods = st.builds(
    lambda every, acr, grace: {"every": every, "grace": grace} | ({"acr": acr} if acr else {}),
    st.integers(300, 86_400),
    st.sampled_from([None, "aal1", "aal2", "aal3"]),
    st.integers(0, 3_600),
)


@given(st.lists(periods, min_size=1, max_size=3), periods, st.integers(0, 2 * 86_400))
def test_one_more_rule_never_makes_old_proofs_do(
    values: list[dict[str, Any]], more: dict[str, Any], age: int
) -> None:
    session = Proved((password(age * SECOND), code(age * SECOND)))
    if reauthentication.is_overdue(book(*values), Subject(), session, NOW):
        assert reauthentication.is_overdue(book(*values, more), Subject(), session, NOW)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"acr": "aal2"},
        {"every": 299},
        {"every": 30 * 86_400 + 1},
        {"every": "3600"},
        {"every": True},
        {"every": 3_600, "grace": -1},
        {"every": 3_600, "grace": 86_401},
        {"every": 3_600, "acr": "aal4"},
        {"every": 3_600, "acr": "0"},
        {"every": 3_600, "acr": 2},
        {"every": 3_600, "since": 1},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = reauthentication.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")

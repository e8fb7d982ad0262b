"""How near two devices are by their addresses, and what that asks for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import HOUR, MINUTE
from idp.policy import network, proximity
from idp.policy.proximity import Terms
from idp.policy.selection import Subject


def at(address: str | None, country: str | None = None) -> Subject:
    return Subject(address=network.key(address), country=country)


@pytest.mark.parametrize(
    "asker, approver, found",
    [
        (at("192.0.2.7"), at("192.0.2.7"), "same_network"),
        (at("192.0.2.7"), at("::ffff:192.0.2.7"), "same_network"),
        # Behind one address of version 4 is one household; beside it may be anybody.
        (at("192.0.2.7"), at("192.0.2.8"), "other_network"),
        (at("2001:db8:1:2::3"), at("2001:db8:1:2:4:5:6:7"), "same_network"),
        (at("2001:db8:1:2::3"), at("2001:db8:1:3::3"), "other_network"),
        (at("192.0.2.7"), at("2001:db8::1"), "other_network"),
        (at("192.0.2.7", "FR"), at("198.51.100.9", "FR"), "other_network"),
        (at("192.0.2.7", "FR"), at("198.51.100.9", "DE"), "other_country"),
        (at("192.0.2.7", "FR"), at("198.51.100.9"), "other_network"),
        # One network is one place, whatever a file says.
        (at("192.0.2.7", "FR"), at("192.0.2.7", "DE"), "same_network"),
        (at(None, "FR"), at("198.51.100.9", "DE"), "unknown"),
        (at("192.0.2.7"), at(None), "unknown"),
        (at(None), at(None), "unknown"),
    ],
)
def test_how_two_devices_stand_to_each_other(asker: Subject, approver: Subject, found: str) -> None:
    assert proximity.relation(asker, approver) == found
    assert proximity.relation(approver, asker) == found


@pytest.mark.parametrize(
    "rules, found, wanted",
    [
        ([], "same_network", Terms("pick")),
        ([], "other_network", Terms("type")),
        ([], "other_country", Terms("refuse")),
        # What is not known is not near.
        ([], "unknown", Terms("type")),
        ([{"other_network": "refuse"}], "unknown", Terms("refuse")),
        ([{"other_country": "pick"}], "other_country", Terms("pick")),
        ([{"other_country": "pick"}], "other_network", Terms("type")),
        # Of several the strictest of each value.
        (
            [{"other_network": "pick"}, {"other_network": "refuse"}],
            "other_network",
            Terms("refuse"),
        ),
        ([{"acr": "aal2"}, {"acr": "aal1"}], "same_network", Terms("pick", "aal1")),
        ([{"acr": "aal2"}], "same_network", Terms("pick", "aal2")),
        (
            [{"lasting": 3600}, {"lasting": 600, "same_network": "type"}],
            "same_network",
            Terms("type", "aal1", 10 * MINUTE),
        ),
    ],
)
def test_what_is_asked_and_given(
    rules: list[dict[str, Any]], found: proximity.Relation, wanted: Terms
) -> None:
    assert all(proximity.problem_with(rule) is None for rule in rules)
    assert proximity.terms(rules, found) == wanted


@pytest.mark.parametrize(
    "rules, found, apart_km, ask",
    [
        ([], "other_network", 499.9, "type"),
        ([], "other_network", 500, "refuse"),
        ([], "other_network", None, "type"),
        ([], "unknown", 500, "refuse"),
        # One network is one place, whatever a file says.
        ([], "same_network", 9_000, "pick"),
        ([{"far": "type"}], "other_network", 9_000, "type"),
        # The strictest of what is met.
        ([{"far": "type"}], "other_country", 9_000, "refuse"),
        ([{"other_country": "type"}], "other_country", 9_000, "refuse"),
        ([{"other_country": "type"}], "other_country", 40, "type"),
        ([{"far": "pick", "other_network": "refuse"}], "other_network", 9_000, "refuse"),
        ([{"far": "pick"}, {"far": "type"}], "other_network", 9_000, "type"),
    ],
)
def test_what_is_far_asks_for_more(
    rules: list[dict[str, Any]], found: proximity.Relation, apart_km: float | None, ask: str
) -> None:
    assert all(proximity.problem_with(rule) is None for rule in rules)
    assert proximity.terms(rules, found, apart_km=apart_km).ask == ask


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"near": "pick"},
        {"same_network": "allow"},
        {"same_network": None},
        {"acr": "aal3"},
        {"acr": "0"},
        {"lasting": 299},
        {"lasting": 86_401},
        {"lasting": "3600"},
        {"lasting": True},
        {"lasting": 3600.0},
        {"same_network": "pick", "other_country": ["refuse"]},
    ],
)
def test_what_is_no_rule(value: dict[str, Any]) -> None:
    assert proximity.problem_with(value) is not None


RULES = st.fixed_dictionaries(
    {},
    optional={
        "same_network": st.sampled_from(["pick", "type", "refuse"]),
        "other_network": st.sampled_from(["pick", "type", "refuse"]),
        "other_country": st.sampled_from(["pick", "type", "refuse"]),
        "far": st.sampled_from(["pick", "type", "refuse"]),
        "acr": st.sampled_from(["aal1", "aal2"]),
        "lasting": st.integers(300, 86_400),
    },
)


@given(
    st.lists(RULES, min_size=1),
    RULES,
    st.sampled_from(["same_network", "other_network", "other_country", "unknown"]),
    st.sampled_from([None, 0, 499, 500, 20_000]),
)
def test_a_further_rule_that_says_as_much_never_loosens_one(
    rules: list[dict[str, Any]],
    more: dict[str, Any],
    found: proximity.Relation,
    apart_km: float | None,
) -> None:
    before = proximity.terms(rules, found, apart_km=apart_km)
    said = {name for rule in rules for name in rule}
    further = {k: v for k, v in more.items() if k in said}
    after = proximity.terms([*rules, further], found, apart_km=apart_km)
    order = ["pick", "type", "refuse"]
    assert order.index(after.ask) >= order.index(before.ask)
    assert after.acr <= before.acr
    assert after.lasting <= before.lasting <= 24 * HOUR

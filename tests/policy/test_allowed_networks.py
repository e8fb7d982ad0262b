from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.policy import allowed_networks, network
from idp.policy.selection import Subject

OFFICE = ["192.0.2.0/24", "2001:db8::/32", "AS64496"]


def from_(address: str | None, asn: int | None = None) -> Subject:
    return Subject(address=network.key(address), asn=asn)


@pytest.mark.parametrize(
    "values, address, asn, outside",
    [
        ([], "198.51.100.7", None, None),
        ([], None, None, None),
        ([{"allow": OFFICE}], "192.0.2.7", None, None),
        ([{"allow": OFFICE}], "::ffff:192.0.2.7", None, None),
        ([{"allow": OFFICE}], "2001:db8::1", None, None),
        ([{"allow": OFFICE}], "198.51.100.7", 64_496, None),
        ([{"allow": OFFICE}], "198.51.100.7", 64_497, "refuse"),
        ([{"allow": OFFICE}], "198.51.100.7", None, "refuse"),
        # Who must come from somewhere and comes from nowhere known is outside.
        ([{"allow": OFFICE}], None, None, "refuse"),
        # What is not known is in no denied network.
        ([{"deny": OFFICE}], None, None, None),
        ([{"deny": OFFICE}], "192.0.2.7", None, "refuse"),
        ([{"deny": OFFICE}], "198.51.100.7", None, None),
        # Denied within what is allowed: denied.
        ([{"allow": OFFICE, "deny": ["192.0.2.64/26"]}], "192.0.2.63", None, None),
        ([{"allow": OFFICE, "deny": ["192.0.2.64/26"]}], "192.0.2.64", None, "refuse"),
        # Of several rules each must let them in, and the sternest says what becomes of a session.
        ([{"allow": OFFICE}, {"allow": ["192.0.2.0/25"]}], "192.0.2.200", None, "refuse"),
        ([{"allow": OFFICE}, {"deny": ["192.0.2.7"], "outside": "end"}], "192.0.2.7", None, "end"),
        (
            [{"allow": ["198.51.100.0/24"]}, {"allow": ["203.0.113.0/24"], "outside": "end"}],
            "192.0.2.7",
            None,
            "end",
        ),
        # A rule that lets them in says nothing of the session, however stern.
        (
            [{"allow": OFFICE, "outside": "end"}, {"deny": ["192.0.2.7"]}],
            "192.0.2.7",
            None,
            "refuse",
        ),
        # All of IPv6 is not all there is.
        ([{"deny": ["::/0"]}], "192.0.2.7", None, None),
        ([{"deny": ["::/0"]}], "2001:db8::1", None, "refuse"),
        ([{"allow": ["::/0"]}], "192.0.2.7", None, "refuse"),
        ([{"allow": ["::/0", "0.0.0.0/0"]}], "192.0.2.7", None, None),
        # Whatever got into the table: what cannot be read lets nobody in.
        ([{"allow": ["everything"]}], "192.0.2.7", None, "refuse"),
        ([{"deny": ["everything"]}], "192.0.2.7", None, "refuse"),
    ],
)
def test_who_is_outside(
    values: list[dict[str, Any]], address: str | None, asn: int | None, outside: str | None
) -> None:
    assert allowed_networks.outside(values, from_(address, asn)) == outside


blocks = st.lists(
    st.sampled_from(["192.0.2.0/24", "192.0.2.0/26", "198.51.100.0/24", "0.0.0.0/0", "AS64496"]),
    min_size=1,
    max_size=3,
)
values = st.lists(
    st.fixed_dictionaries({}, optional={"allow": blocks, "deny": blocks}).filter(bool), max_size=4
)
people = st.builds(
    from_,
    st.sampled_from([None, "192.0.2.1", "192.0.2.200", "198.51.100.7", "203.0.113.9"]),
    st.sampled_from([None, 64_496, 64_497]),
)


@given(values, people, values)
def test_one_more_rule_never_lets_anybody_in(
    said: list[dict[str, Any]], who: Subject, more: list[dict[str, Any]]
) -> None:
    if allowed_networks.outside(said, who) is not None:
        assert allowed_networks.outside([*said, *more], who) is not None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"outside": "end"},
        {"allow": []},
        {"allow": "192.0.2.0/24"},
        {"allow": ["192.0.2.1/24"]},
        {"allow": ["192.0.2.0/24", "somewhere"]},
        {"allow": [1]},
        {"deny": ["AS"]},
        {"deny": ["192.0.2.0/24"] * 501},
        {"allow": OFFICE, "outside": "warn"},
        {"allow": OFFICE, "outside": None},
        {"allow": OFFICE, "except": OFFICE},
        # A rule that contradicts itself: nobody could ever come in.
        {"allow": ["192.0.2.0/24"], "deny": ["198.51.100.0/24", "192.0.2.0/24"]},
        {"allow": ["192.0.2.0/24", "AS64496"], "deny": ["192.0.0.0/16", "AS64496"]},
        {"allow": ["192.0.2.0/24"], "deny": ["192.0.2.128/25", "10.0.0.0/8", "192.0.2.0/25"]},
        {"allow": ["2001:db8::/32", "192.0.2.7"], "deny": ["::/0", "0.0.0.0/0"]},
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = allowed_networks.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")


def test_networks_are_allowed_denied_or_both() -> None:
    for value in ({"allow": OFFICE}, {"deny": OFFICE}, {"allow": OFFICE, "deny": ["192.0.2.7"]}):
        assert allowed_networks.problem_with(value) is None
        assert allowed_networks.problem_with(value | {"outside": "end"}) is None


@pytest.mark.parametrize(
    "allow, deny",
    [
        (["192.0.2.0/24"], ["192.0.2.0/25", "192.0.2.129/32"]),
        (["192.0.2.0/24"], ["::/0"]),
        (["AS64496"], ["0.0.0.0/0", "::/0"]),  # its addresses are not known here
        (["192.0.2.0/24", "198.51.100.7"], ["192.0.0.0/16"]),
    ],
)
def test_a_rule_that_leaves_somewhere_to_come_from_is_one(
    allow: list[str], deny: list[str]
) -> None:
    assert allowed_networks.problem_with({"allow": allow, "deny": deny}) is None

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.policy import network, selection
from idp.policy.selection import Rule, Subject, chosen

NURSE = Subject(
    roles=("nurse", "staff"),
    client_id="cli_ward",
    device_type="phone",
    address=network.key("192.0.2.7"),
    asn=64_496,
    country="FR",
)


@pytest.mark.parametrize(
    "applies_to, matching",
    [
        ({}, True),
        ({"role": "nurse"}, True),
        ({"role": "doctor"}, False),
        ({"client": "cli_ward"}, True),
        ({"client": "cli_other"}, False),
        ({"device_type": "phone"}, True),
        ({"device_type": "desktop"}, False),
        ({"network": "192.0.2.0/24"}, True),
        ({"network": "192.0.2.7"}, True),
        ({"network": "192.0.2.8/29"}, False),
        ({"network": "::ffff:192.0.2.0/120"}, True),
        ({"network": "AS64496"}, True),
        ({"network": "AS64497"}, False),
        ({"country": "FR"}, True),
        ({"country": "DE"}, False),
        # All of them, not one of them.
        ({"role": "nurse", "country": "FR"}, True),
        ({"role": "nurse", "country": "DE"}, False),
    ],
)
def test_a_rule_is_for_whom_all_its_selectors_match(
    applies_to: dict[str, str], matching: bool
) -> None:
    assert selection.problem_with(applies_to) is None
    assert selection.matches(applies_to, NURSE) is matching


@pytest.mark.parametrize("name", selection.SELECTORS)
def test_what_is_not_known_matches_no_selector(name: str) -> None:
    wanted = {"network": "::/0", "country": "FR", "device_type": "phone"}.get(name, "any")
    assert not selection.matches({name: wanted}, Subject())


@pytest.mark.parametrize(
    "rules, in_force",
    [
        ([], []),
        # Whoever is named has what is said for them, in both directions.
        ([Rule({}, {"n": 1}), Rule({"role": "nurse"}, {"n": 9})], [{"n": 9}]),
        ([Rule({}, {"n": 1}), Rule({"role": "doctor"}, {"n": 9})], [{"n": 1}]),
        # Two that have nothing to do with each other both count.
        (
            [Rule({"role": "nurse"}, {"n": 1}), Rule({"country": "FR"}, {"n": 9})],
            [{"n": 1}, {"n": 9}],
        ),
        # An exception names what is exceptional.
        (
            [
                Rule({"role": "nurse", "network": "192.0.2.0/24"}, {"n": 9}),
                Rule({"role": "nurse"}, {"n": 1}),
                Rule({}, {"n": 2}),
            ],
            [{"n": 9}],
        ),
        # And does not loosen another's.
        (
            [
                Rule({"role": "nurse", "network": "192.0.2.0/24"}, {"n": 9}),
                Rule({"role": "staff"}, {"n": 1}),
            ],
            [{"n": 1}, {"n": 9}],
        ),
    ],
)
def test_a_rule_gives_way_to_one_that_says_more_about_the_same_people(
    rules: list[Rule], in_force: list[dict[str, int]]
) -> None:
    assert chosen(rules, NURSE) == in_force
    assert sorted(chosen(rules[::-1], NURSE), key=str) == sorted(in_force, key=str)


whom = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["nurse", "staff", "doctor"]),
        "country": st.sampled_from(["FR", "DE"]),
        "device_type": st.sampled_from(["phone", "desktop"]),
    },
)
some = st.lists(whom, max_size=6, unique_by=lambda one: tuple(sorted(one.items())))


@given(some)
def test_where_any_rule_matches_one_is_in_force(found: list[dict[str, str]]) -> None:
    rules = [Rule(one, {"n": number}) for number, one in enumerate(found)]
    matching = [one for one in found if selection.matches(one, NURSE)]
    assert bool(chosen(rules, NURSE)) == bool(matching)


@given(some, whom)
def test_a_rule_for_others_changes_nothing(
    found: list[dict[str, str]], one: dict[str, str]
) -> None:
    rules = [Rule(each, {"n": number}) for number, each in enumerate(found)]
    if not selection.matches(one, NURSE):
        assert chosen([*rules, Rule(one, {"n": 99})], NURSE) == chosen(rules, NURSE)


@given(st.ip_addresses(), st.ip_addresses())
def test_keys_sort_as_addresses_of_one_kind_do(one: object, other: object) -> None:
    first, second = network.key(str(one)), network.key(str(other))
    assert first is not None
    assert second is not None
    if one.version == other.version:  # type: ignore[attr-defined]
        assert (first < second) == (int(one) < int(other))  # type: ignore[call-overload]


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_network_contains_what_lies_between_its_ends(address: object, prefix: int) -> None:
    block = network.parsed(f"{address}/32")
    assert block is not None
    wider = block.supernet(new_prefix=prefix)
    assert network.contains(wider, network.key(str(address)))
    ((first, last),) = network.spans(wider)
    assert first <= last
    assert not network.contains(wider, None)


@pytest.mark.parametrize("text", ["::/0", "::/64", "::/79"])
def test_what_is_wider_than_all_of_ipv4_is_of_ipv6_alone(text: str) -> None:
    block = network.parsed(text)
    assert block is not None
    (first, before), (behind, last) = network.spans(block)
    assert first < before < behind < last
    for address in ("0.0.0.0", "127.0.0.1", "255.255.255.255"):
        key = network.key(address)
        assert key is not None
        assert before < key < behind
        assert not network.contains(block, key)
    assert network.contains(block, network.key("::1"))


@pytest.mark.parametrize("text", [None, "", "localhost", "192.0.2", "1.2.3.4/8"])
def test_what_is_no_address_has_no_key(text: str | None) -> None:
    assert network.key(text) is None

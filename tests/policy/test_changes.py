from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.policy import changes, network
from idp.policy.changes import ANSWERS, CHANGES, DEFAULTS, Judged, Surroundings
from idp.policy.selection import Rule, Subject

AT_HOME = Surroundings(
    address=network.key("192.0.2.7"),
    asn=64_496,
    country="FR",
    browser="Chrome 156",
    os="Windows 11",
    device_hash="d" * 64,
)


@pytest.mark.parametrize(
    "now, changed",
    [
        ({}, ()),
        # A phone that roams: another address, and mostly another network.
        ({"address": network.key("192.0.2.8")}, ("ip",)),
        ({"address": network.key("198.51.100.1"), "asn": 64_497}, ("network", "ip")),
        (
            {"address": network.key("203.0.113.9"), "asn": 64_498, "country": "ES"},
            ("country", "network", "ip"),
        ),
        # Versions change by themselves, and are told more exactly by the second request.
        ({"browser": "Chrome 157"}, ()),
        ({"os": "Windows"}, ()),
        ({"os": "Windows 10", "browser": "Chrome"}, ()),
        # Another browser, another system, or a cookie that was carried into another browser.
        ({"browser": "Firefox 140"}, ("device",)),
        ({"os": "macOS 15"}, ("device",)),
        ({"device_hash": "e" * 64}, ("device",)),
        # The browser's number is the one thing that is missed: a thief would simply leave it out.
        ({"device_hash": None}, ("device",)),
        # What is not known is not a change.
        ({"address": None}, ()),
        ({"asn": None}, ()),
        ({"country": None}, ()),
        ({"browser": None}, ()),
        ({"os": None}, ()),
        (dict.fromkeys(("address", "asn", "country", "browser", "os")), ()),
    ],
)
def test_what_counts_as_a_change(now: dict[str, Any], changed: tuple[str, ...]) -> None:
    assert changes.changed(AT_HOME, replace(AT_HOME, **now)) == changed
    # From the unknown to the known is none either.
    if not changed:
        assert changes.changed(replace(AT_HOME, **now), AT_HOME) == ()


def test_a_session_without_a_browsers_number_is_not_tied_to_the_first_that_shows_up() -> None:
    assert changes.changed(replace(AT_HOME, device_hash=None), AT_HOME) == ()


ELSEWHERE = replace(AT_HOME, address=network.key("203.0.113.9"), asn=64_498, country="ES")
ROAMED = replace(AT_HOME, address=network.key("198.51.100.1"), asn=64_497)


@pytest.mark.parametrize(
    "rules, now, judged",
    [
        # Phones that roam go on; another country, or another device, is asked about.
        ([], AT_HOME, None),
        ([], ROAMED, Judged("network", "continue")),
        ([], ELSEWHERE, Judged("country", "reauthenticate")),
        ([], replace(AT_HOME, os="Linux"), Judged("device", "reauthenticate")),
        ([{"country": "continue"}], ELSEWHERE, Judged("country", "continue")),
        # Of several changes the sternest answer, whatever it is for.
        ([{"ip": "end"}], ELSEWHERE, Judged("ip", "end")),
        ([{"network": "mfa"}], ELSEWHERE, Judged("network", "mfa")),
        ([{"ip": "mfa", "network": "mfa"}], ROAMED, Judged("network", "mfa")),
        # Of several rules in force the sternest of each.
        ([{"ip": "mfa"}, {"ip": "reauthenticate"}], ROAMED, Judged("ip", "mfa")),
        ([{"country": "continue"}, {"country": "end"}], ELSEWHERE, Judged("country", "end")),
    ],
)
def test_what_is_answered(
    rules: list[dict[str, Any]], now: Surroundings, judged: Judged | None
) -> None:
    book = {"changes": [Rule({}, value) for value in rules]}
    assert changes.judged(book, Subject(), AT_HOME, now) == judged


def test_a_rule_is_for_whom_it_selects_and_takes_the_place_of_a_general_one() -> None:
    book = {
        "changes": [Rule({}, {"ip": "end"}), Rule({"device_type": "phone"}, {"ip": "continue"})]
    }
    desktop, phone = Subject(device_type="desktop"), Subject(device_type="phone")
    assert changes.judged(book, desktop, AT_HOME, ROAMED) == Judged("ip", "end")
    assert changes.judged(book, phone, AT_HOME, ROAMED) == Judged("network", "continue")


answers = st.sampled_from(ANSWERS)
values = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(CHANGES, answers)), max_size=4)


@given(values, values)
def test_one_more_rule_never_makes_an_answer_milder_than_another_rule_does(
    said: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    before, after = changes.effective(said), changes.effective([*said, *more])
    for change in CHANGES:
        if any(change in value for value in said):
            assert ANSWERS.index(after[change]) >= ANSWERS.index(before[change])


@pytest.mark.attack("SE-16")
def test_nothing_ends_by_default() -> None:
    assert changes.effective([]) == DEFAULTS
    assert "end" not in DEFAULTS.values()
    assert DEFAULTS["ip"] == DEFAULTS["network"] == "continue"


@pytest.mark.parametrize(
    "value",
    [{}, {"ip": "stop"}, {"ip": None}, {"ip": True}, {"ip": ["end"]}, {"address": "end"},
     {"ip": "end", "agent": "end"}],
)  # fmt: skip
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any]) -> None:
    problem = changes.problem_with(value)
    assert problem is not None
    assert problem.endswith(".")


def test_every_change_may_have_every_answer() -> None:
    for change in CHANGES:
        for answer in ANSWERS:
            assert changes.problem_with({change: answer}) is None

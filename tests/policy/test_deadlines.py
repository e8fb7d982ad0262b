"""When a session ends at the latest, and who may begin one: all kinds of rules together."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.policy import admission, deadlines, network
from idp.policy.admission import Barred
from idp.policy.deadlines import Deadlines
from idp.policy.selection import Book, Rule, Subject

# A Friday, 08:00 in London.
NOW = 1_800_000_000 * SECOND
UNTIL_SIX = {"timezone": "Europe/London", "from": "07:00", "to": "18:00", "grace": 600}
FROM_NINE = UNTIL_SIX | {"from": "09:00"}
NURSE = Subject(roles=("nurse",), address=network.key("192.0.2.7"), country="FR")
OFFICE = {"allow": ["192.0.2.0/24"]}


def book(**kinds: list[dict[str, Any]]) -> Book:
    """Rules for everybody, by kind."""
    return {kind: [Rule({}, value) for value in values] for kind, values in kinds.items()}


@pytest.mark.parametrize(
    "rules, ownership, expected",
    [
        ({}, "own", Deadlines(HOUR, NOW + DAY, None, is_temporary=False)),
        # A device that others use too: an hour, and a quarter of it without activity.
        ({}, "shared", Deadlines(15 * MINUTE, NOW + HOUR, "temporary", is_temporary=True)),
        (
            {"timeouts": [{"shared": 7_200}]},
            "shared",
            Deadlines(15 * MINUTE, NOW + 2 * HOUR, "temporary", is_temporary=True),
        ),
        (
            {"timeouts": [{"shared": 7_200}]},
            "own",
            Deadlines(HOUR, NOW + DAY, None, is_temporary=False),
        ),
        (
            {"timeouts": [{"temporary": 28_800}]},
            "own",
            Deadlines(HOUR, NOW + 8 * HOUR, "temporary", is_temporary=True),
        ),
        (
            {"timeouts": [{"temporary": 1_800, "shared": 3_600}]},
            "shared",
            Deadlines(15 * MINUTE, NOW + 30 * MINUTE, "temporary", is_temporary=True),
        ),
        # Temporary, but its age ends it before.
        (
            {"timeouts": [{"temporary": 28_800, "absolute": 3_600}]},
            "own",
            Deadlines(HOUR, NOW + HOUR, None, is_temporary=True),
        ),
        # Closing time, and the grace.
        (
            {"hours": [UNTIL_SIX]},
            "own",
            Deadlines(HOUR, NOW + 10 * HOUR + 10 * MINUTE, "hours", is_temporary=False),
        ),
        # What comes first.
        (
            {"hours": [UNTIL_SIX], "timeouts": [{"absolute": 7_200}]},
            "own",
            Deadlines(HOUR, NOW + 2 * HOUR, None, is_temporary=False),
        ),
        (
            {"hours": [UNTIL_SIX], "timeouts": [{"temporary": 7_200}]},
            "own",
            Deadlines(HOUR, NOW + 2 * HOUR, "temporary", is_temporary=True),
        ),
        # It is closed (a rule came while somebody was in): the grace, from now.
        (
            {"hours": [FROM_NINE]},
            "own",
            Deadlines(HOUR, NOW + 10 * MINUTE, "hours", is_temporary=False),
        ),
        # Hours that cannot be read are over.
        (
            {"hours": [UNTIL_SIX | {"timezone": "Europe/Atlantis"}]},
            "own",
            Deadlines(HOUR, NOW, "hours", is_temporary=False),
        ),
    ],
)
def test_the_deadlines_of_a_session_that_begins(
    rules: dict[str, list[dict[str, Any]]], ownership: deadlines.Ownership, expected: Deadlines
) -> None:
    found = deadlines.of(book(**rules), NURSE, begun=NOW, now=NOW, ownership=ownership)
    assert found == expected


def test_a_running_session_is_as_old_as_it_is_and_closes_when_it_closes_next() -> None:
    rules = book(timeouts=[{"absolute": 7_200}])
    found = deadlines.of(rules, NURSE, begun=NOW - 5 * HOUR, now=NOW)
    assert found.expires_at == NOW - 3 * HOUR
    rules = book(hours=[UNTIL_SIX])
    found = deadlines.of(rules, NURSE, begun=NOW - 5 * HOUR, now=NOW)
    assert found.expires_at == NOW + 10 * HOUR + 10 * MINUTE


def test_rules_are_for_whom_they_select() -> None:
    rules = {"hours": [Rule({"role": "nurse"}, UNTIL_SIX)]}
    assert deadlines.of(rules, NURSE, begun=NOW, now=NOW).reason == "hours"
    assert deadlines.of(rules, Subject(), begun=NOW, now=NOW).reason is None


@pytest.mark.parametrize(
    "rules, barred",
    [
        ({}, None),
        ({"hours": [UNTIL_SIX]}, None),
        ({"hours": [FROM_NINE]}, Barred("outside_hours", NOW + HOUR, "Europe/London")),
        (
            {"hours": [UNTIL_SIX, UNTIL_SIX | {"days": "sun"}]},
            # They never agree.
            Barred("outside_hours", None, "Europe/London"),
        ),
        ({"hours": [UNTIL_SIX | {"timezone": "Europe/Atlantis"}]}, Barred("outside_hours")),
        ({"networks": [OFFICE]}, None),
        ({"networks": [OFFICE | {"deny": ["192.0.2.7"]}]}, Barred("network_not_allowed")),
        # Where both are against it the network is said: hours are no business of an outsider.
        (
            {"hours": [FROM_NINE], "networks": [{"deny": ["192.0.2.7"]}]},
            Barred("network_not_allowed"),
        ),
    ],
)
def test_who_may_sign_in(rules: dict[str, list[dict[str, Any]]], barred: Barred | None) -> None:
    assert admission.barred(book(**rules), NURSE, NOW) == barred


durations = st.integers(60, 30 * 86_400)
timeouts_values = st.fixed_dictionaries(
    {},
    optional={"idle": durations, "absolute": durations, "temporary": durations, "shared": durations}
    | {"profile": st.sampled_from(["aal1", "aal2", "aal3"])},
).filter(bool)
hours_values = st.builds(
    lambda opens, closes, days: {
        "timezone": "Europe/London",
        "from": f"{opens:02}:00",
        "to": f"{closes:02}:30",
        "days": days,
    },
    st.integers(0, 23),
    st.integers(0, 23),
    st.sampled_from(["mon-fri", "mon-sun", "sat,sun", "wed"]),
)
selectors = st.sampled_from([{}, {"role": "nurse"}, {"network": "192.0.2.0/24"}])
books = st.fixed_dictionaries(
    {
        "timeouts": st.lists(st.builds(Rule, selectors, timeouts_values), max_size=4),
        "hours": st.lists(st.builds(Rule, selectors, hours_values), max_size=2),
    }
)


@given(books, st.integers(0, 40 * DAY), st.sampled_from(["own", "shared"]))
def test_a_session_has_an_end_within_30_days_and_a_reason_only_where_age_is_none(
    rules: Book, age: int, ownership: deadlines.Ownership
) -> None:
    found = deadlines.of(rules, NURSE, begun=NOW - age, now=NOW, ownership=ownership)
    assert 0 < found.idle <= 30 * DAY
    assert found.expires_at <= NOW - age + 30 * DAY
    if found.reason == "temporary":
        assert found.is_temporary


@given(books, hours_values, timeouts_values)
def test_rules_that_have_nothing_to_do_with_each_other_never_loosen_one_another(
    others: Book, hours_value: dict[str, Any], timeouts_value: dict[str, Any]
) -> None:
    rules = {kind: [rule for rule in others[kind] if rule.applies_to] for kind in others}
    rules["timeouts"].append(Rule({"role": "nurse"}, {"idle": 3_600, "absolute": 86_400}))
    before = deadlines.of(rules, NURSE, begun=NOW, now=NOW)
    rules["timeouts"].append(Rule({"country": "FR"}, timeouts_value))
    rules["hours"].append(Rule({"country": "FR"}, hours_value))
    after = deadlines.of(rules, NURSE, begun=NOW, now=NOW)
    assert after.idle <= before.idle
    assert after.expires_at <= before.expires_at


@given(books, st.integers(0, DAY))
def test_asked_again_later_a_session_never_gets_a_nearer_end_by_its_age(
    rules: Book, later: int
) -> None:
    """The end by age is fixed by the beginning; only closing time depends on when it is asked."""
    no_hours = {**rules, "hours": []}
    first = deadlines.of(no_hours, NURSE, begun=NOW, now=NOW)
    assert deadlines.of(no_hours, NURSE, begun=NOW, now=NOW + later) == first

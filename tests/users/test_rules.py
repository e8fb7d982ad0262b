from collections.abc import Sequence
from itertools import combinations

import pytest
from sqlalchemy import select

from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.model import EventRow
from idp.policy import limits
from idp.policy.selection import Book, Rule, Subject
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import queries, rules, rules_of_person
from idp.users.model import Role, User
from idp.users.model import Rule as Row

ADMIN = Actor("admin", "usr_root")


def test_a_rule_that_was_set_is_read_back_for_whom_it_is(work: Work) -> None:
    with work.begin() as unit:
        queries.define_role(unit, "nurse", [])
        rules.set_rule(unit, "timeouts", {}, {"idle": 900}, ADMIN)
        rules.set_rule(unit, "timeouts", {"role": "nurse"}, {"idle": 300}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 3}, ADMIN)
    with work.read() as unit:
        found = rules.rules_of(unit, "timeouts")
        assert sorted(found, key=lambda one: len(one.applies_to)) == [
            Rule({}, {"idle": 900}),
            Rule({"role": "nurse"}, {"idle": 300}),
        ]
        assert rules.rules_of(unit, "limits") == [Rule({}, {"maximum": 3})]
        nurse = Subject(roles=("nurse",))
        assert rules.in_force(unit, "timeouts", nurse) == [{"idle": 300}]
        assert rules.in_force(unit, "timeouts", Subject()) == [{"idle": 900}]


def test_a_change_raises_the_version_and_is_recorded_with_before_and_after(work: Work) -> None:
    with work.begin() as unit:
        assert rules.set_rule(unit, "limits", {}, {"maximum": 3}, ADMIN).version == 1
    with work.begin() as unit:
        rule = rules.set_rule(unit, "limits", {}, {"maximum": 5}, ADMIN)
        assert (rule.version, rule.changed_by) == (2, "usr_root")
    with work.begin() as unit:
        rules.remove_rule(unit, "limits", {}, ADMIN)
    with work.read() as unit:
        assert rules.rules_of(unit, "limits") == []
        changes = unit.orm.scalars(select(EventRow.data).order_by(EventRow.id)).all()
    assert [(change["before"], change["after"]) for change in changes] == [
        (None, {"maximum": 3}),
        ({"maximum": 3}, {"maximum": 5}),
        ({"maximum": 5}, None),
    ]


@pytest.mark.parametrize(
    "kind, value",
    [
        ("nothing", {"idle": 900}),
        ("timeouts", {}),
        ("timeouts", {"idle": 59}),
        ("timeouts", {"idle": "900"}),
        ("timeouts", {"idle": True}),
        ("timeouts", {"idle": 900, "other": 1}),
        ("timeouts", {"absolute": 31 * 86_400}),
        ("limits", {}),
        ("limits", {"maximum": 0}),
        ("limits", {"maximum": 1.5}),
        ("limits", {"maximum": 1_001}),
    ],
)
def test_a_value_that_cannot_be_a_rule_is_refused_with_a_sentence(
    work: Work, kind: str, value: dict[str, object]
) -> None:
    with work.begin() as unit, pytest.raises(Refused) as refused:
        rules.set_rule(unit, kind, {}, value, ADMIN)
    assert refused.value.code == "invalid_rule"
    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "applies_to",
    [
        {"planet": "mars"},
        {"country": "fr"},
        {"country": "FRA"},
        {"device_type": "toaster"},
        {"network": "10.0.0.1/8"},
        {"network": "AS"},
        {"network": "anywhere"},
        {"client": ""},
        {"client": "c" * 65},
        {"role": 1},
    ],
)
def test_selectors_that_select_nothing_are_refused_with_a_sentence(
    work: Work, applies_to: dict[str, str]
) -> None:
    with work.begin() as unit, pytest.raises(Refused) as refused:
        rules.set_rule(unit, "limits", applies_to, {"maximum": 3}, ADMIN)
    assert refused.value.code == "invalid_rule"
    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timeouts", {"idle": 600}),
        ("hours", {"timezone": "UTC", "from": "08:00", "to": "18:00"}),
        ("remember", {"days": 1}),
        ("handoff", {"acr": "aal1"}),
        ("limits", {"maximum": 3}),
    ],
)
def test_a_rule_about_whole_sessions_is_for_no_app(
    work: Work, kind: str, value: dict[str, object]
) -> None:
    with work.begin() as unit:
        rules.set_rule(unit, kind, {"country": "FR"}, value, ADMIN)
        with pytest.raises(Refused) as refused:
            rules.set_rule(unit, kind, {"client": "cli_1"}, value, ADMIN)
    assert refused.value.code == "invalid_rule"
    assert "leave 'client' out" in refused.value.sentence


@pytest.mark.parametrize("somebody_asks_meanwhile", [False, True])
def test_a_change_while_the_rules_are_read_holds_for_the_next_who_asks(
    work: Work, monkeypatch: pytest.MonkeyPatch, *, somebody_asks_meanwhile: bool
) -> None:
    kept, read = rules.RulesInForce(work), rules.book

    def changed_meanwhile(unit: UnitOfWork) -> Book:
        before = read(unit)
        monkeypatch.setattr(rules, "book", read)
        with work.begin() as another:
            rules.set_rule(another, "limits", {}, {"maximum": 3}, ADMIN)
        kept.forget()
        if somebody_asks_meanwhile:
            assert kept.current()["limits"] == [Rule({}, {"maximum": 3})]
        return before

    monkeypatch.setattr(rules, "book", changed_meanwhile)
    assert kept.current()["limits"] == []
    assert kept.current()["limits"] == [Rule({}, {"maximum": 3})]


def test_one_thing_has_one_rule_in_whatever_order_its_selectors_come(work: Work) -> None:
    forth = {"country": "FR", "device_type": "phone"}
    back = {"device_type": "phone", "country": "FR"}
    with work.begin() as unit:
        rules.set_rule(unit, "limits", forth, {"maximum": 3}, ADMIN)
        assert rules.set_rule(unit, "limits", back, {"maximum": 2}, ADMIN).version == 2
    with work.read() as unit:
        assert rules.rules_of(unit, "limits") == [Rule(forth, {"maximum": 2})]


def test_limits_per_something_are_rules_of_their_own(work: Work) -> None:
    with work.begin() as unit:
        for value in (
            {"maximum": 9},
            {"maximum": 3, "per": "ip"},
            {"maximum": 2, "per": "country"},
        ):
            assert rules.set_rule(unit, "limits", {}, value, ADMIN).version == 1
        assert rules.set_rule(unit, "limits", {}, {"maximum": 4, "per": "ip"}, ADMIN).version == 2
        rules.remove_rule(unit, "limits", {}, ADMIN, per="country")
        with pytest.raises(Refused, match="unknown_rule"):
            rules.remove_rule(unit, "limits", {}, ADMIN, per="country")
    with work.read() as unit:
        values = [one.value for one in rules.all_rules(unit)]
    assert values == [{"maximum": 9}, {"maximum": 4, "per": "ip"}]


def test_what_is_shown_of_a_persons_limits_is_what_decides(work: Work) -> None:
    """Row L7: over every choice of five rules, for somebody with two roles."""
    written = [
        ({}, {"maximum": 9}),
        ({"role": "nurse"}, {"maximum": 4, "at_limit": "ask"}),
        ({"role": "other"}, {"maximum": 1}),
        ({"device_type": "tv"}, {"maximum": 3, "per": "ip"}),
        ({"device_type": "tv", "role": "admin"}, {"maximum": 2, "per": "ip"}),
    ]
    for count in range(len(written) + 1):
        for some in combinations(written, count):
            assert _shown(work, some) == _deciding(some), some


def _shown(
    work: Work, some: Sequence[tuple[dict[str, str], dict[str, object]]]
) -> list[tuple[object, ...]]:
    with work.begin() as unit:
        for rule in unit.orm.scalars(select(Row)):
            unit.orm.delete(rule)
        for role in ("nurse", "admin", "other"):
            if unit.orm.get(Role, role) is None:
                queries.define_role(unit, role, [])
        for applies_to, value in some:
            rules.set_rule(unit, "limits", applies_to, dict(value), ADMIN)
        found = rules_of_person.of(unit, User(roles=["nurse", "admin"]))
    return sorted(
        (one.value["maximum"], one.value["at_limit"], one.value.get("per"), dict(one.when))
        for one in found
        if one.kind == "limits"
    )


def _deciding(
    some: Sequence[tuple[dict[str, str], dict[str, object]]],
) -> list[tuple[object, ...]]:
    found = limits.possible([Rule(*one) for one in some], ("nurse", "admin"))
    return sorted((one.maximum, one.at_limit, one.per, dict(one.kind)) for one in found)


def test_a_rule_for_a_role_that_does_not_exist_is_refused(work: Work) -> None:
    with work.begin() as unit, pytest.raises(Refused, match="unknown_role"):
        rules.set_rule(unit, "limits", {"role": "nobody"}, {"maximum": 3}, ADMIN)


def test_a_rule_that_does_not_exist_cannot_be_removed(work: Work) -> None:
    with work.begin() as unit, pytest.raises(Refused, match="unknown_rule"):
        rules.remove_rule(unit, "limits", {}, ADMIN)

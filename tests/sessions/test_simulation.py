"""Who would be affected by a rule, before it is set; and then it is set, and they are."""

from typing import Any

import pytest

from idp.clock import HOUR, MINUTE
from idp.errors import Refused
from idp.policy import limits
from idp.sessions import review, simulation
from idp.sessions.simulation import Proposed
from idp.users import queries, rules
from tests.harness.provider import ADMIN, Idp

NIGHT = {"timezone": "Europe/London", "from": "22:00", "to": "06:00"}
DAY_SHIFT = {"timezone": "Europe/London", "from": "07:00", "to": "12:00"}


@pytest.fixture
def crowd(idp: Idp) -> dict[str, str]:
    """A nurse and a doctor with two sessions each, of different age and place; by name, their ids."""
    with idp.work.begin() as unit:
        for role in ("nurse", "doctor"):
            queries.define_role(unit, role, [])
    nurse, doctor = (idp.person(one, roles=[one]) for one in ("nurse", "doctor"))
    made = {"old nurse": idp.session(nurse), "old doctor": idp.session(doctor)}
    idp.clock.advance(40 * MINUTE)
    made["nurse"] = idp.session(nurse, ip="198.51.100.7")
    made["doctor"] = idp.session(doctor, ip="198.51.100.8")
    return {name: started.session.id for name, started in made.items()}


def simulated(
    idp: Idp, kind: str, value: dict[str, Any] | None, **applies_to: str
) -> simulation.Simulation:
    with idp.work.read() as unit:
        return simulation.of(unit, Proposed(kind, applies_to, value))


def effects(found: simulation.Simulation) -> dict[str, int]:
    return {effect: count for effect, count in found.sessions.items() if count}


@pytest.mark.parametrize(
    "kind, value, applies_to, expected, people",
    [
        ("timeouts", {"absolute": 86_400, "idle": 3_600}, {}, {}, 0),
        ("timeouts", {"absolute": 43_200}, {}, {"ends_sooner": 4}, 2),
        ("timeouts", {"absolute": 43_200}, {"role": "nurse"}, {"ends_sooner": 2}, 1),
        ("timeouts", {"absolute": 1_800}, {}, {"ends": 2, "ends_sooner": 2, "rests_shorter": 2}, 2),
        ("timeouts", {"idle": 1_800}, {"role": "doctor"}, {"ends": 1, "rests_shorter": 1}, 1),
        ("hours", DAY_SHIFT, {}, {"ends_sooner": 4}, 2),
        ("hours", NIGHT, {"role": "nurse"}, {"ends_sooner": 2, "cannot_sign_in": 2}, 1),
        ("hours", NIGHT | {"grace": 0}, {"role": "nurse"}, {"ends": 2, "cannot_sign_in": 2}, 1),
        (
            "networks",
            {"deny": ["198.51.100.7"]},
            {},
            {"is_refused": 1, "cannot_sign_in": 1},
            1,
        ),
        (
            "networks",
            {"allow": ["192.0.2.0/24"], "outside": "end"},
            {},
            {"ends_when_used": 2, "cannot_sign_in": 2},
            2,
        ),
        ("limits", {"maximum": 1}, {"role": "nurse"}, {"is_one_too_many": 2}, 1),
        ("limits", {"maximum": 2}, {}, {}, 0),
        # One for an app holds where that app is opened, and keeps nobody from signing in.
        (
            "networks",
            {"allow": ["192.0.2.0/24"], "outside": "end"},
            {"client": "cli_x"},
            {"ends_when_used": 2},
            2,
        ),
        ("assurance", {"acr": "aal2"}, {"role": "doctor"}, {"must_prove": 2}, 1),
        ("assurance", {"scopes": {"payments": "aal2"}}, {}, {"must_prove": 4}, 2),
        ("assurance", {"acr": "aal1"}, {}, {}, 0),
        ("reauthentication", {"every": 1_800}, {}, {"must_prove": 2}, 2),
        ("reauthentication", {"every": 1_800}, {"client": "cli_x"}, {"must_prove": 2}, 2),
        ("changes", {"ip": "end"}, {}, {}, 0),
    ],
)
def test_who_would_be_affected(
    idp: Idp,
    crowd: dict[str, str],
    kind: str,
    value: dict[str, Any],
    applies_to: dict[str, str],
    expected: dict[str, int],
    people: int,
) -> None:
    found = simulated(idp, kind, value, **applies_to)
    assert effects(found) == expected
    assert (found.people, found.examined, found.is_complete) == (people, 4, True)
    assert {one.session_id for one in found.sample} <= set(crowd.values())
    assert idp.count("rules") == idp.count("reviews") == 0


def test_what_was_simulated_is_what_happens(idp: Idp, crowd: dict[str, str]) -> None:
    value = {"absolute": 1_800}
    found = simulated(idp, "timeouts", value)
    with idp.work.begin() as unit:
        rules.set_rule(unit, "timeouts", {}, value, ADMIN)
        review.go_on(unit)
    with idp.work.read() as unit:
        ended = unit.connection.exec_driver_sql(
            f"SELECT id FROM sessions WHERE expires_at <= {unit.now}"
        ).scalars()
        assert set(ended) == {one.session_id for one in found.sample if "ends" in one.effects}


def test_a_rule_taken_away_and_one_put_in_the_place_of_another_are_simulated_as_such(
    idp: Idp, crowd: dict[str, str]
) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "timeouts", {}, {"absolute": 43_200}, ADMIN)
        rules.set_rule(unit, "timeouts", {"role": "nurse"}, {"absolute": 86_400}, ADMIN)
        review.go_on(unit)
    # For nurses the general one holds again, for nobody else anything changes.
    found = simulated(idp, "timeouts", None, role="nurse")
    nurses = {crowd["nurse"], crowd["old nurse"]}
    assert {one.session_id for one in found.sample} == nurses
    assert all(one.effects == ("ends_sooner",) for one in found.sample)
    assert effects(simulated(idp, "timeouts", {"absolute": 43_200})) == {}


def test_of_several_limits_the_one_that_is_meant_is_taken_away(
    idp: Idp, crowd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAXIMUM_DEFAULT", 1)
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 2}, ADMIN)
        rules.set_rule(unit, "limits", {}, {"maximum": 9, "per": "ip"}, ADMIN)
    with idp.work.read() as unit:
        without_per_ip = simulation.of(unit, Proposed("limits", {}, None, "ip"))
    assert effects(without_per_ip) == {}
    assert effects(simulated(idp, "limits", None)) == {"is_one_too_many": 4}


def test_a_rule_that_cannot_be_set_cannot_be_simulated(idp: Idp) -> None:
    for kind, value, applies_to, code in (
        ("timeouts", {"idle": 1}, {}, "invalid_rule"),
        ("weather", {}, {}, "invalid_rule"),
        ("timeouts", {"idle": 900}, {"role": "nobody"}, "unknown_role"),
    ):
        with pytest.raises(Refused, match=code):
            simulated(idp, kind, value, **applies_to)


def test_the_answer_is_bounded_and_says_so(
    idp: Idp, crowd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "EXAMINED", 3)
    monkeypatch.setattr(simulation, "SAMPLE", 2)
    found = simulated(idp, "timeouts", {"absolute": 43_200})
    assert (found.examined, found.is_complete, len(found.sample)) == (3, False, 2)


def test_ones_own_session_is_asked_about_by_itself(idp: Idp, crowd: dict[str, str]) -> None:
    with idp.work.read() as unit:
        proposed = Proposed("networks", {}, {"allow": ["192.0.2.0/24"]})
        assert simulation.on_session(unit, proposed, crowd["old nurse"]) == ()
        assert simulation.on_session(unit, proposed, crowd["nurse"]) == (
            "cannot_sign_in",
            "is_refused",
        )
        assert simulation.on_session(unit, proposed, "ses_gone") == ()
    assert idp.clock.now() > HOUR

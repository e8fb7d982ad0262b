"""Rules and roles that change while people are signed in."""

from typing import Any

import pytest
from sqlalchemy import update

from idp.clock import DAY, HOUR, MINUTE
from idp.events.actor import SYSTEM
from idp.policy.selection import Book
from idp.sessions import endings, expiry, review
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, rules
from idp.users.model import User
from tests.harness.provider import ADMIN, Idp
from tests.harness.workbench import NOON


def set_rule(idp: Idp, kind: str, value: dict[str, Any], **applies_to: str) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, kind, applies_to, value, ADMIN)


def worked(idp: Idp, batch: int = review.BATCH) -> int:
    """Lets the worker finish; gives how often it looked."""
    times = 0
    while True:
        with idp.work.begin() as unit:
            count = review.go_on(unit, batch=batch)
        times += 1
        if count < batch:
            return times


def deadlines(idp: Idp, session_id: str) -> tuple[int, int, int, str | None]:
    """Idle timeout, idle deadline and end, from the present moment of the session's beginning."""
    with idp.work.read() as unit:
        one = unit.orm.get_one(Session, session_id)
        begun = one.created_at
        return one.idle_timeout, one.idle_at - begun, one.expires_at - begun, one.expiry_reason


def test_a_stricter_rule_reaches_the_sessions_that_run_and_a_looser_one_does_not(
    either_idp: Idp,
) -> None:
    idp = either_idp
    session = idp.session(idp.person()).session.id
    set_rule(idp, "timeouts", {"idle": 900, "absolute": 7_200})
    assert deadlines(idp, session) == (HOUR, HOUR, DAY, None)
    worked(idp)
    assert deadlines(idp, session) == (15 * MINUTE, 15 * MINUTE, 2 * HOUR, None)
    [applied] = idp.events("rule.applied")
    assert '"nearer":1' in applied["data"].replace(" ", "")
    set_rule(idp, "timeouts", {"idle": 86_400, "absolute": 10 * 86_400})
    worked(idp)
    assert deadlines(idp, session) == (15 * MINUTE, 15 * MINUTE, 2 * HOUR, None)
    assert deadlines(idp, idp.session(idp.person("new")).session.id) == (DAY, DAY, 10 * DAY, None)


def test_a_rule_that_is_taken_away_lets_the_stricter_one_behind_it_hold(idp: Idp) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "doctor", [])
    set_rule(idp, "timeouts", {"absolute": 7_200})
    set_rule(idp, "timeouts", {"absolute": 36_000}, role="doctor")
    session = idp.session(idp.person(roles=["doctor"])).session.id
    worked(idp)
    assert deadlines(idp, session)[2] == 10 * HOUR
    with idp.work.begin() as unit:
        rules.remove_rule(unit, "timeouts", {"role": "doctor"}, ADMIN)
    worked(idp)
    assert deadlines(idp, session)[2] == 2 * HOUR


@pytest.mark.parametrize(
    "opens, ends",
    [("07:00", 10 * HOUR + 5 * MINUTE), ("09:00", 5 * MINUTE)],
    ids=["open", "closed"],
)
def test_hours_that_are_new_send_people_away_at_closing_time_or_after_the_grace(
    idp: Idp, opens: str, ends: int
) -> None:
    session = idp.session(idp.person()).session.id
    set_rule(idp, "hours", {"timezone": "Europe/London", "from": opens, "to": "18:00"})
    worked(idp)
    assert deadlines(idp, session)[2:] == (ends, "hours")
    idp.clock.advance(ends)
    with idp.work.begin() as unit:
        expiry.end_expired(unit)
    assert idp.events("session.ended")[0]["reason"] == "hours"


def test_the_grace_is_not_given_again_by_looking_again(idp: Idp) -> None:
    session = idp.session(idp.person()).session.id
    closed = {"timezone": "Europe/London", "from": "09:00", "to": "18:00"}
    set_rule(idp, "hours", closed)
    worked(idp)
    idp.clock.advance(3 * MINUTE)
    set_rule(idp, "hours", closed)
    worked(idp)
    assert deadlines(idp, session)[2:] == (5 * MINUTE, "hours")


def test_other_roles_are_other_rules_at_once(idp: Idp) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "nurse", [])
    set_rule(idp, "timeouts", {"idle": 300, "absolute": 3_600}, role="nurse")
    user = idp.person()
    mine, others = idp.session(user).session.id, idp.session(idp.person("other")).session.id
    with idp.work.begin() as unit:
        queries.set_roles(unit, unit.orm.get_one(User, user.id), ["nurse"], SYSTEM)
    assert deadlines(idp, mine) == (5 * MINUTE, 5 * MINUTE, HOUR, None)
    assert deadlines(idp, others) == (HOUR, HOUR, DAY, None)


def test_many_sessions_are_looked_at_in_batches_each_once_and_a_crash_repeats_nothing(
    either_idp: Idp,
) -> None:
    idp = either_idp
    sessions = []
    for number in range(7):
        idp.clock.advance(MINUTE if number % 2 else 0)
        sessions.append(idp.session(idp.person(f"user{number}")).session.id)
    set_rule(idp, "timeouts", {"absolute": 7_200})
    with idp.work.begin() as unit:
        assert review.go_on(unit, batch=2) == 2

    def die_before_the_commit() -> None:
        with idp.work.begin() as unit:
            review.go_on(unit, batch=2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die_before_the_commit()
    assert worked(idp, batch=2) == 3
    assert {deadlines(idp, one)[2] for one in sessions} == {2 * HOUR}
    [applied] = idp.events("rule.applied")
    assert '"nearer":7' in applied["data"].replace(" ", "")
    assert idp.count("reviews") == 0


def test_another_change_begins_anew(idp: Idp) -> None:
    sessions = [idp.session(idp.person(f"user{number}")).session.id for number in range(4)]
    set_rule(idp, "timeouts", {"absolute": 7_200})
    with idp.work.begin() as unit:
        review.go_on(unit, batch=2)
    set_rule(idp, "timeouts", {"absolute": 3_600})
    worked(idp, batch=2)
    assert {deadlines(idp, one)[2] for one in sessions} == {HOUR}


def test_a_deadline_that_came_nearer_while_a_review_looked_at_it_stays(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = idp.session(idp.person()).session.id
    set_rule(idp, "timeouts", {"idle": 900, "absolute": 7_200})
    read = rules.book

    def meanwhile(unit: UnitOfWork) -> Book:
        """A new password gives it a minute, after its row was read."""
        unit.connection.execute(
            update(Session).values(
                expires_at=Session.created_at + MINUTE,
                expiry_reason=endings.ENDS_SOON,
                idle_timeout=MINUTE,
                idle_at=Session.created_at + MINUTE,
            )
        )
        return read(unit)

    monkeypatch.setattr(rules, "book", meanwhile)
    worked(idp)
    assert deadlines(idp, session) == (MINUTE, MINUTE, MINUTE, endings.ENDS_SOON)


def test_rules_that_are_asked_at_every_use_need_no_review(idp: Idp) -> None:
    set_rule(idp, "changes", {"ip": "end"})
    set_rule(idp, "limits", {"maximum": 3})
    assert idp.count("reviews") == 0


def test_an_ended_session_is_left_as_it_ended(idp: Idp) -> None:
    session = idp.session(idp.person()).session.id
    idp.end(session)
    set_rule(idp, "timeouts", {"absolute": 60})
    worked(idp)
    assert deadlines(idp, session)[2] == DAY
    assert idp.clock.now() == NOON

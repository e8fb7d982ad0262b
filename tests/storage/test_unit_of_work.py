import logging
from dataclasses import replace

import pytest
from sqlalchemy import select

from idp.errors import Refused
from idp.events.catalogue import SessionEnded, UserCreated
from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import User
from tests.harness.workbench import ManualClock, add_user


def names(work: Work) -> list[str]:
    with work.read() as unit:
        return list(unit.orm.scalars(select(User.username)))


def rename(unit: UnitOfWork, user: str, name: str) -> None:
    row = unit.orm.get(User, user)
    assert row is not None
    row.username = name


def test_returning_commits_orm_and_plain_changes_together(work: Work) -> None:
    user = add_user(work)
    with work.begin() as unit:
        rename(unit, user, "new name")
        unit.record(UserCreated(user_id=user))
    assert names(work) == ["new name"]
    with work.read() as unit:
        assert unit.connection.scalar(select(EventRow.user_id)) == user


def test_raising_rolls_everything_back(work: Work) -> None:
    user = add_user(work)

    def refused() -> None:
        with work.begin() as unit:
            rename(unit, user, "new name")
            unit.record(UserCreated(user_id=user))
            raise Refused("no", "No.")

    with pytest.raises(Refused):
        refused()
    assert names(work) == [user]
    with work.read() as unit:
        assert unit.connection.scalar(select(EventRow.id)) is None


def test_what_a_reading_unit_changes_is_not_kept(work: Work) -> None:
    user = add_user(work)
    with work.read() as unit:
        rename(unit, user, "new name")
        unit.flush()
    assert names(work) == [user]


def test_an_event_recorded_in_a_reading_unit_is_not_kept(work: Work) -> None:
    with work.read() as unit:
        unit.record(UserCreated())
    with work.read() as unit:
        assert unit.connection.scalar(select(EventRow.id)) is None


def test_subscribers_see_the_changes_before_them_and_share_their_fate(work: Work) -> None:
    seen: list[str | None] = []

    def subscriber(unit: UnitOfWork, event: UserCreated) -> None:
        seen.append(unit.connection.scalar(select(User.username)))
        raise ZeroDivisionError

    user = add_user(work)
    work.subscribers[UserCreated].append(subscriber)

    def failing() -> None:
        with work.begin() as unit:
            rename(unit, user, "new name")
            unit.record(UserCreated(user_id=user))

    with pytest.raises(ZeroDivisionError):
        failing()
    assert seen == ["new name"]
    assert names(work) == [user]


def test_only_events_of_its_type_reach_a_subscriber(work: Work) -> None:
    seen: list[object] = []
    work.subscribers[UserCreated].append(lambda unit, event: seen.append(event))
    event = UserCreated()
    with work.begin() as unit:
        unit.record(SessionEnded())
        unit.record(event)
    assert seen == [event]


def test_what_waits_for_the_commit_runs_after_it_and_only_then(work: Work) -> None:
    user = add_user(work)
    seen: list[list[str]] = []
    with work.begin() as unit:
        rename(unit, user, "new name")
        unit.after_commit(lambda: seen.append(names(work)))
        assert seen == []
    assert seen == [["new name"]]

    def failing() -> None:
        with work.begin() as unit:
            unit.after_commit(lambda: seen.append([]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert len(seen) == 1


def test_a_failure_after_the_commit_is_logged_and_hides_nothing(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR), work.begin() as unit:
        unit.after_commit(fail)
        unit.after_commit(lambda: ran.append(1))
    assert ran == [1]
    assert "followed a commit" in caplog.text


def test_what_waits_for_the_commit_may_begin_a_unit_of_its_own(work: Work) -> None:
    with work.begin() as unit:
        unit.after_commit(lambda: add_user(work, "usr_later") and None)
    assert names(work) == ["usr_later"]


def test_a_unit_has_one_time(work: Work, clock: ManualClock) -> None:
    with work.begin() as unit:
        now = unit.now
        clock.advance(5)
        assert unit.now == now
    with work.begin() as unit:
        assert unit.now == now + 5


def test_an_event_cannot_be_changed_once_made() -> None:
    event = UserCreated(user_id="usr_1")
    with pytest.raises(AttributeError):
        event.user_id = "usr_2"  # type: ignore[misc]
    assert replace(event, user_id="usr_2").event_id == event.event_id

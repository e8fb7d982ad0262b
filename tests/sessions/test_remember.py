"""The credential of a browser that stays signed in, on both databases, alone and in crowds."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from idp import ids
from idp.clock import DAY, HOUR, MINUTE
from idp.errors import Refused
from idp.events.actor import SYSTEM
from idp.policy import remember as policy
from idp.policy.limits import Blocked
from idp.sessions import (
    beginning,
    forgetting,
    lifecycle,
    prove,
    remember,
    remember_cookie,
    remembering,
    rotation,
    sign_in,
)
from idp.sessions.device import Visit
from idp.sessions.model import RememberedBrowser, Session
from idp.sessions.sign_in import SignedIn
from idp.users import queries, rules
from idp.users.model import User
from tests.harness.provider import ADMIN, Idp

HERE = Visit(ip="192.0.2.1", device_hash=ids.digest("here"))
THREADS = 20


def stays(idp: Idp, name: str = "alice", visit: Visit = HERE) -> tuple[User, str]:
    """Somebody who stays signed in in a browser, and its cookie."""
    user = idp.person(name)
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        started = beginning.start(unit, fresh, [prove.PASSWORD], visit)
        kept = remembering.make(unit, fresh, started.session_id, [prove.PASSWORD], visit)
        assert kept is not None
        lifecycle.end(unit, [started.session_id], reason="idle_timeout", actor=SYSTEM)
    return user, kept.cookie


def enter(idp: Idp, cookie: str, visit: Visit = HERE) -> SignedIn | None:
    outcome = sign_in.with_cookie(idp.work, cookie=cookie, visit=visit)
    assert outcome is None or isinstance(outcome, SignedIn)
    return outcome


def cookie_in(entered: SignedIn | None) -> str:
    assert entered is not None
    assert entered.keepsake is not None
    return entered.keepsake.cookie


def see(idp: Idp, entered: SignedIn | None) -> None:
    """A page of the session is opened: the answer has arrived."""
    assert entered is not None
    with idp.work.begin() as unit:
        assert lifecycle.resume(unit, entered.secret) is not None


def state(idp: Idp, cookie: str, visit: Visit = HERE) -> str | None:
    with idp.work.read() as unit:
        shown = remember.read(unit, cookie, visit)
        return shown.state if shown is not None else None


# --- One after the other ----------------------------------------------------------------------


def test_a_cookie_begins_a_session_that_proves_nothing(either_idp: Idp) -> None:
    idp = either_idp
    user, cookie = stays(idp)
    earned_at = idp.clock.now()
    idp.clock.advance(5 * DAY)
    entered = enter(idp, cookie)
    assert entered is not None
    with idp.work.read() as unit:
        session = unit.orm.get_one(Session, entered.session_id)
        assert (session.user_id, session.acr, session.remembered) == (user.id, "0", 1)
        assert session.auth_time == earned_at
        assert [one["at"] for one in session.authentications] == [earned_at]
        series = unit.orm.query(RememberedBrowser).one()
        assert (series.generation, series.session_id) == (2, session.id)
        assert series.expires_at == earned_at + 30 * DAY
    assert state(idp, cookie) == "again"
    assert state(idp, cookie_in(entered)) == "current"


def test_the_cookie_before_is_honoured_until_a_minute_after_the_next_was_seen(
    either_idp: Idp,
) -> None:
    idp = either_idp
    _, cookie = stays(idp)
    first = enter(idp, cookie)
    idp.clock.advance(10 * MINUTE)
    again = enter(idp, cookie)
    assert first is not None
    assert again is not None
    assert (again.secret, cookie_in(again)) == (first.secret, cookie_in(first))
    see(idp, first)
    idp.clock.advance(MINUTE - 1)
    assert state(idp, cookie) == "again"
    idp.clock.advance(1)
    assert state(idp, cookie) == "spent"
    assert enter(idp, cookie) is None
    assert state(idp, cookie_in(first)) == "over"
    (noticed,) = idp.events("remember.reuse_detected")
    assert noticed["reason"] == "spent"


def test_a_session_that_nobody_saw_is_begun_anew_under_the_same_cookie(either_idp: Idp) -> None:
    idp = either_idp
    _, cookie = stays(idp)
    lost = enter(idp, cookie)
    idp.clock.advance(2 * HOUR)
    again = enter(idp, cookie)
    assert lost is not None
    assert again is not None
    assert again.session_id != lost.session_id
    assert cookie_in(again) == cookie_in(lost)
    see(idp, again)
    idp.clock.advance(2 * MINUTE)
    assert state(idp, cookie) == "spent"
    assert state(idp, cookie_in(lost)) == "current"


@pytest.mark.parametrize("change", ["a proof", "a quarter of an hour"])
def test_a_new_secret_of_its_session_shows_that_the_answer_arrived(
    either_idp: Idp, change: str
) -> None:
    idp = either_idp
    _, cookie = stays(idp)
    entered = enter(idp, cookie)
    assert entered is not None
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, entered.session_id)
        if change == "a proof":
            lifecycle.reauthenticate(unit, session, [prove.PASSWORD], Visit())
        else:
            unit.now += rotation.ROTATE_EVERY
            assert rotation.rotate_if_old(unit, session, entered.secret)
    assert state(idp, cookie) == "spent"


def test_the_first_secret_of_a_session_is_another_for_each(idp: Idp) -> None:
    _, cookie = stays(idp)
    with idp.work.read() as unit:
        series = unit.orm.query(RememberedBrowser).one()
        made = {
            remember_cookie.session_secret(series, session_id, idp.work.vault)
            for session_id in ("ses_1", "ses_2")
        }
        assert len(made) == 2
        assert not made & {cookie}
        assert {len(one) for one in made} == {43}


@pytest.mark.parametrize("change", ["salt", "user", "series"])
def test_a_cookie_is_good_for_its_series_alone(idp: Idp, change: str) -> None:
    _, cookie = stays(idp)
    _, other = stays(idp, "bob", Visit(ip="192.0.2.1", device_hash=ids.digest("there")))
    if change == "salt":
        idp.execute("UPDATE remembered_browsers SET salt = x'00'")
        assert state(idp, cookie) is None
    elif change == "series":
        # The first 22 characters and a bit name the series.
        assert state(idp, other[:21] + cookie[21:]) is None
    else:
        assert state(idp, other) == "foreign"


def test_a_cookie_of_a_restored_database_is_no_evidence(idp: Idp) -> None:
    _, cookie = stays(idp)
    entered = enter(idp, cookie)
    idp.execute("UPDATE remembered_browsers SET generation = 1")
    assert state(idp, cookie_in(entered)) is None
    assert idp.events("remember.reuse_detected") == []


# --- Many at once -----------------------------------------------------------------------------


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """What each gives, begun together; a refusal counts as its code."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return work()
        except Refused as refused:
            return refused.code

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@pytest.mark.attack("RT-02")
def test_twenty_uses_of_one_cookie_have_one_successor_and_one_session(either_idp: Idp) -> None:
    """RT-02, I2: no fork, whoever is first; nobody is signed out and nothing looks like a theft."""
    idp = either_idp
    _, cookie = stays(idp)
    for round_ in range(3):
        answers = at_once([partial(enter, idp, cookie)] * THREADS)
        (answer,) = set(answers)
        with idp.work.read() as unit:
            begun = unit.orm.query(Session).filter(Session.remembered == 1).count()
            series = unit.orm.query(RememberedBrowser).one()
        assert begun == round_ + 1
        assert series.generation == round_ + 2
        assert len(idp.events("remember.used")) == round_ + 1
        see(idp, answer)
        cookie = cookie_in(answer)
        idp.clock.advance(2 * MINUTE)
    assert idp.events("remember.reuse_detected") == []


@pytest.mark.attack("RT-02")
def test_owner_and_thief_at_one_moment_are_noticed_once(either_idp: Idp) -> None:
    """Twenty copies of a spent cookie: one notice, one end, no session."""
    idp = either_idp
    _, cookie = stays(idp)
    see(idp, enter(idp, cookie))
    idp.clock.advance(2 * MINUTE)
    pressed: list[Callable[[], Any]] = [partial(enter, idp, cookie)] * 10
    looked: list[Callable[[], Any]] = [partial(remember.recognise, idp.work, cookie, HERE)] * 10
    answers = at_once(pressed + looked)
    assert set(answers[:10]) == {None}
    assert len(idp.events("remember.reuse_detected")) == 1
    with idp.work.read() as unit:
        assert unit.orm.query(Session).filter(Session.ended_at.is_(None)).count() == 0


def test_whatever_ends_it_meanwhile_wins_or_comes_after(either_idp: Idp) -> None:
    """Locks in one order (person, sessions, series): no deadlock, and nothing lives past its end."""
    idp = either_idp
    user, cookie = stays(idp)
    entered = enter(idp, cookie)
    assert entered is not None
    others = [lifecycle_of(idp, user, number) for number in range(3)]

    def password() -> None:
        with idp.work.begin() as unit:
            fresh = unit.orm.get_one(User, user.id, with_for_update=True)
            queries.set_password(unit, fresh, "x", ADMIN)
            lifecycle.end_all_of(unit, user.id, reason="password_changed", actor=ADMIN)

    def everywhere() -> None:
        with idp.work.begin() as unit:
            lifecycle.end_all_of(unit, user.id, reason="signed_out_everywhere", actor=SYSTEM)

    def one(session_id: str) -> Callable[[], None]:
        def end() -> None:
            with idp.work.begin() as unit:
                lifecycle.end(unit, [session_id], reason="signed_out", actor=SYSTEM)

        return end

    next_cookie = cookie_in(entered)
    works: list[Callable[[], Any]] = [
        *[partial(enter, idp, next_cookie)] * 4, password, everywhere, one(entered.session_id),
        *[one(session_id) for session_id in others],
    ]  # fmt: skip
    outcomes = at_once(works)
    assert {type(one) for one in outcomes} <= {type(None), SignedIn, str}
    assert set(filter(lambda one: isinstance(one, str), outcomes)) <= {"signed_out_meanwhile"}
    assert state(idp, next_cookie) == "over"
    assert enter(idp, next_cookie) is None
    with idp.work.read() as unit:
        living = unit.orm.query(RememberedBrowser).filter_by(revoked_at=None).count()
    assert living == 0


def lifecycle_of(idp: Idp, user: User, number: int) -> str:
    """Another browser in which this person stays signed in; gives its session."""
    visit = Visit(device_hash=ids.digest(str(number)))
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        started = beginning.start(unit, fresh, [prove.PASSWORD], visit)
        remembering.make(unit, fresh, started.session_id, [prove.PASSWORD], visit)
        return started.session_id


# --- At a limit -------------------------------------------------------------------------------


@pytest.mark.attack("SE-13")
def test_a_cookie_alone_signs_its_owner_out_nowhere(either_idp: Idp) -> None:
    """One session at a time, and a browser in a drawer: whoever opens it must sign in."""
    idp = either_idp
    user, cookie = stays(idp)
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 1}, ADMIN)
    at_work = idp.session(user).session.id
    outcome = sign_in.with_cookie(idp.work, cookie=cookie, visit=HERE)
    assert isinstance(outcome, Blocked)
    assert outcome.counted == (at_work,)
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, at_work).ended_at is None
    # Nothing was used up: once there is room, the button works.
    idp.end(at_work)
    assert enter(idp, cookie) is not None


def test_of_two_browsers_that_stay_signed_in_the_later_has_the_place(idp: Idp) -> None:
    user, cookie = stays(idp)
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 1}, ADMIN)
    there = Visit(ip="192.0.2.9", device_hash=ids.digest("there"))
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        started = beginning.start(unit, fresh, [prove.PASSWORD], there)
        assert isinstance(started, beginning.Started)
        kept = remembering.make(unit, fresh, started.session_id, [prove.PASSWORD], there)
        lifecycle.end(unit, [started.session_id], reason="idle_timeout", actor=SYSTEM)
    assert kept is not None
    first = enter(idp, cookie)
    second = enter(idp, kept.cookie, there)
    assert first is not None
    assert second is not None
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, first.session_id).end_reason == "limit"


# --- What is kept -----------------------------------------------------------------------------


def test_who_is_deleted_stays_signed_in_nowhere(either_idp: Idp) -> None:
    idp = either_idp
    user, cookie = stays(idp)
    with idp.work.begin() as unit:
        queries.delete_user(unit, unit.orm.get_one(User, user.id), ADMIN)
    assert state(idp, cookie) is None
    assert idp.count("remembered_browsers") == 0


def test_old_series_are_deleted_and_no_others(either_idp: Idp) -> None:
    idp = either_idp
    stays(idp)
    idp.clock.advance(20 * DAY)
    stays(idp, "bob")
    idp.clock.advance(11 * DAY)
    with idp.work.begin() as unit:
        assert forgetting.forget_past(unit) == 1
    assert idp.count("remembered_browsers") == 1


@pytest.mark.parametrize(
    "value, says",
    [
        ({}, "days"),
        ({"days": 31}, "between 0 and 30"),
        ({"days": -1}, "between 0 and 30"),
        ({"days": True}, "whole number"),
        ({"days": "7"}, "whole number"),
        ({"days": 7, "more": 1}, "days"),
    ],
)
def test_what_cannot_be_a_rule_is_told_in_a_sentence(value: dict[str, Any], says: str) -> None:
    assert says in (policy.problem_with(value) or "")


def test_of_several_rules_the_shortest_counts() -> None:
    assert policy.effective([]) == 30 * DAY
    assert policy.effective([{"days": 7}, {"days": 3}]) == 3 * DAY
    assert policy.effective([{"days": 7}, {"days": 0}]) == 0
    assert Counter([policy.problem_with({"days": days}) for days in (0, 1, 30)]) == {None: 3}

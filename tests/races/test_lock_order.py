"""Two transactions that come to the same sessions from different ends: neither has to give up.

On PostgreSQL two orders of locks are a deadlock, which ends one of the transactions. Each test holds
one of them at the moment at which it used to have one session and want the other. SQLite has one
writer at a time.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event, get_ident
from typing import Any

import pytest

from idp.clock import MINUTE
from idp.events.actor import SYSTEM
from idp.events.catalogue import SessionEnded, SessionStarted
from idp.sessions import expiry, lifecycle, locks, prove, remembering, review, rotation, sign_in
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules
from idp.users.model import User
from tests.harness.provider import ADMIN, PASSWORD, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.sessions.test_remember import HERE

pytestmark = pytest.mark.postgres
# How long the first waits for the second to get as far as it can.
PATIENCE = 0.5


@pytest.fixture
def idp(templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    with templates.postgres() as url:
        made = Idp(settings_for(url), clock)
        yield made
        made.close()


def two_sessions(idp: Idp, user: User) -> tuple[str, str]:
    """Two sessions in the order of their ids, of which the database finds the second first."""
    first, second = sorted(idp.session(user).session.id for _ in range(2))
    idp.execute(
        "UPDATE sessions SET last_active_at = last_active_at + 1, idle_at = idle_at + 1 "
        f"WHERE id = '{first}'"
    )
    return first, second


def meeting(
    idp: Idp, first: Callable[[UnitOfWork], Any], second: Callable[[UnitOfWork], Any]
) -> list[Any]:
    """What both give; `first` is held at its first end until `second` has ended one, or cannot."""
    has_one, other_has_one = Event(), Event()
    threads: dict[str, int] = {}

    def before_others(unit: UnitOfWork, event: SessionEnded) -> None:
        del unit, event
        if get_ident() == threads["second"]:
            other_has_one.set()

    def after_others(unit: UnitOfWork, event: SessionEnded) -> None:
        del unit, event
        if get_ident() == threads["first"] and not has_one.is_set():
            has_one.set()
            other_has_one.wait(PATIENCE)

    subscribers = idp.work.subscribers[SessionEnded]
    subscribers.insert(0, before_others)
    subscribers.append(after_others)

    def run(name: str, work: Callable[[UnitOfWork], Any]) -> Any:
        threads[name] = get_ident()
        if name == "second":
            has_one.wait(10)
        with idp.work.begin() as unit:
            return work(unit)

    threads["second"] = 0
    with ThreadPoolExecutor(2) as pool:
        return [one.result(30) for one in
                (pool.submit(run, "first", first), pool.submit(run, "second", second))]  # fmt: skip


def ending(*ids: str) -> Callable[[UnitOfWork], list[str]]:
    return lambda unit: lifecycle.end(unit, ids, reason="signed_out", actor=SYSTEM)


def running(idp: Idp) -> int:
    with idp.work.read() as unit:
        return unit.orm.query(Session).filter(Session.ended_at.is_(None)).count()


def test_what_time_ends_and_what_somebody_ends(idp: Idp) -> None:
    both = two_sessions(idp, idp.person("alice"))
    idp.clock.advance(61 * MINUTE)
    by_time, by_hand = meeting(idp, expiry.end_expired, ending(*both))
    assert (by_time, by_hand) == (2, [])
    assert running(idp) == 0


def test_two_sessions_of_one_browser_that_stays_signed_in(idp: Idp) -> None:
    """The series hangs on both: whoever has it must not want a session any more."""
    user = idp.person("alice")
    first, second = two_sessions(idp, user)
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, first)
        assert remembering.make(unit, user, session.id, [prove.PASSWORD], HERE) is not None
        unit.orm.get_one(Session, second).remembered_id = session.remembered_id
    ended, again = meeting(idp, ending(first, second), ending(second))
    assert (ended, again) == ([first, second], [])
    assert len(idp.events("remember.forgotten")) == 1


def one_by_one(*ids: str) -> Callable[[UnitOfWork], list[str]]:
    """As a sign-in does, which holds its person: one at a limit, then the one in its browser."""

    def end(unit: UnitOfWork) -> list[str]:
        locks.person(unit, unit.orm.get_one(Session, ids[0]).user_id)
        return [ended for one in ids for ended in ending(one)(unit)]

    return end


def test_a_sign_in_that_ends_two_and_somebody_who_ends_both(idp: Idp) -> None:
    first, second = two_sessions(idp, idp.person("alice"))
    ended, again = meeting(idp, one_by_one(second, first), ending(first, second))
    assert (ended, again) == ([second, first], [])


def test_a_sign_in_that_ends_two_and_a_rule_that_is_applied(idp: Idp) -> None:
    first, second = two_sessions(idp, idp.person("alice"))
    with idp.work.begin() as unit:
        rules.set_rule(unit, "timeouts", {}, {"idle": 600, "absolute": 3600}, ADMIN)
    ended, looked_at = meeting(idp, one_by_one(second, first), review.go_on)
    assert (ended, looked_at) == ([second, first], 2)


def side_by_side(*works: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result(30) for one in [pool.submit(work) for work in works]]


def test_a_browser_that_shows_its_new_secret_and_somebody_who_ends_all(idp: Idp) -> None:
    """That it was seen is written down last: until then nobody's session is held."""
    user = idp.person("alice")
    started = idp.session(user)
    idp.clock.advance(rotation.ROTATE_EVERY)
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, started.session.id)
        secret = rotation.rotate_if_old(unit, session, started.secret)
    resumed, never = Event(), Event()

    def from_the_browser() -> list[str]:
        with idp.work.begin() as unit:
            assert lifecycle.resume(unit, secret) is not None
            resumed.set()
            never.wait(PATIENCE)
            return lifecycle.end_all_of(unit, user.id, reason="signed_out", actor=SYSTEM)

    def from_elsewhere() -> list[str]:
        resumed.wait(10)
        with idp.work.begin() as unit:
            return lifecycle.end_all_of(unit, user.id, reason="signed_out", actor=SYSTEM)

    ended = side_by_side(from_the_browser, from_elsewhere)
    assert sorted(ended) == [[], [session.id]]


def test_two_people_who_sign_in_in_each_others_browser(idp: Idp) -> None:
    """Each ends the other's session and what that let in, for which its person is held."""
    present, children = dict[str, str](), list[str]()
    for name in ("alice", "bob"):
        user = idp.person(name)
        started, child = idp.session(user), idp.session(user)
        present[name] = started.secret
        idp.execute(
            f"UPDATE sessions SET parent_id = '{started.session.id}' WHERE id = '{child.session.id}'"
        )
        children.append(child.session.id)
    both_began = Barrier(2)

    def wait_for_the_other(unit: UnitOfWork, event: SessionStarted) -> None:
        del unit, event
        # Whoever holds both people is alone here, and goes on after a while.
        with contextlib.suppress(BrokenBarrierError):
            both_began.wait(PATIENCE)

    idp.work.subscribers[SessionStarted].append(wait_for_the_other)

    def signing_in(name: str, there: str) -> Any:
        entry = sign_in.Entry(HERE, present[there])
        return sign_in.with_password(
            idp.work, idp.hasher, name=name, password=PASSWORD, entry=entry
        )

    outcomes = side_by_side(lambda: signing_in("alice", "bob"), lambda: signing_in("bob", "alice"))
    assert [type(one) for one in outcomes] == [sign_in.SignedIn, sign_in.SignedIn]
    assert running(idp) == 2
    with idp.work.read() as unit:
        reasons = {unit.orm.get_one(Session, one).end_reason for one in children}
    assert reasons == {"parent_ended"}

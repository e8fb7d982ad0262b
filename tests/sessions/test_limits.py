"""Signing in at a limit of sessions: who gives way, who is asked, who is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from idp.clock import HOUR, MINUTE, SECOND
from idp.events.actor import Actor
from idp.events.model import EventRow
from idp.policy.assurance import Authentication
from idp.policy.limits import Blocked, MustChoose
from idp.sessions import lifecycle, marks, sign_in
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.sign_in import AtLimit, Entry, Rejected, SignedIn
from idp.storage.unit_of_work import Work
from idp.users import queries as users
from idp.users import rules, trusted_devices
from idp.users.passwords import PasswordHasher
from tests.harness.workbench import ManualClock

PASSWORD = "correct horse battery"
ADMIN = Actor("admin", "cli")
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile Safari/604.1"
on_either_database = pytest.mark.parametrize(
    "work", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


class World:
    """One person who signs in again and again, each time in another browser."""

    def __init__(self, work: Work, hasher: PasswordHasher, clock: ManualClock) -> None:
        self.work, self.hasher, self.clock = work, hasher, clock
        self.seen = 0
        self.person = self.create("anna")

    def create(self, username: str) -> str:
        with self.work.begin() as unit:
            return users.create_user(
                unit, username=username, password_hash=self.hasher.hash(PASSWORD)
            ).id

    def rule(self, maximum: int, at_limit: str, *, per: str | None = None, **applies: str) -> None:
        value: dict[str, Any] = {"maximum": maximum, "at_limit": at_limit}
        with self.work.begin() as unit:
            rules.set_rule(unit, "limits", applies, value | ({"per": per} if per else {}), ADMIN)

    def visit(self, **where: Any) -> Visit:
        self.seen += 1
        self.clock.advance(SECOND)
        return Visit(**({"ip": "192.0.2.1", "device_hash": f"{self.seen:064x}"} | where))

    def sign_in(
        self, name: str = "anna", *, visit: Visit | None = None, current: str | None = None
    ) -> Any:
        return sign_in.with_password(
            self.work,
            self.hasher,
            name=name,
            password=PASSWORD,
            entry=Entry(visit or self.visit(), current),
        )

    def session(self, **where: Any) -> str:
        """A session that began just now; gives its id."""
        made = self.sign_in(visit=self.visit(**where))
        assert isinstance(made, SignedIn), made
        return made.session_id

    def choose(self, asked: AtLimit, *ids: str, **changes: Any) -> Any:
        visit = Visit(ip="192.0.2.1", device_hash=asked.ceremony.browser_hash)
        return sign_in.with_choice(
            self.work,
            **(
                {
                    "ceremony": asked.ceremony,
                    "giving_way": ids,
                    "entry": Entry(visit, None),
                    "trust": None,
                }
                | changes
            ),
        )

    def running(self, person: str | None = None) -> set[str]:
        with self.work.read() as unit:
            return set(
                unit.orm.scalars(
                    select(Session.id).where(
                        Session.user_id == (person or self.person), Session.ended_at.is_(None)
                    )
                )
            )

    def row(self, session_id: str) -> Session:
        with self.work.read() as unit:
            return unit.orm.get_one(Session, session_id)

    def mark(self, session_id: str, how: Callable[..., None] = marks.keep) -> None:
        with self.work.begin() as unit:
            how(unit, unit.orm.get_one(Session, session_id), Actor("user", session_id))

    def events(self, type_: str) -> list[EventRow]:
        with self.work.read() as unit:
            found = select(EventRow).where(EventRow.type == type_).order_by(EventRow.id)
            return list(unit.orm.scalars(found))


@pytest.fixture
def world(work: Work, hasher: PasswordHasher, clock: ManualClock) -> World:
    return World(work, hasher, clock)


# --- end_oldest -----------------------------------------------------------------------------------


def test_the_session_that_rested_longest_gives_way(world: World) -> None:
    world.rule(2, "end_oldest")
    one, two = world.session(), world.session()
    three = world.session()
    assert world.running() == {two, three}
    ended = world.row(one)
    assert (ended.end_reason, ended.ended_by) == ("limit", "system")
    (noted,) = world.events("session.limit_reached")
    assert (noted.session_id, noted.data) == (
        three,
        {"limit": 2, "at_limit": "end_oldest", "ended": 1},
    )


def test_one_session_at_a_time_is_the_newest(world: World) -> None:
    """Row L6."""
    world.rule(1, "end_oldest")
    for _ in range(3):
        newest = world.session()
        assert world.running() == {newest}


def test_what_its_person_keeps_and_what_is_on_a_trusted_device_goes_last(world: World) -> None:
    """Row L4."""
    world.rule(3, "end_oldest")
    kept, trusted, other = world.session(), world.session(), world.session()
    world.mark(kept)
    with world.work.begin() as unit:
        person = users.by_id(unit, world.person)
        assert person is not None
        device = trusted_devices.trust(
            unit, person, device_hash="t" * 64, name="Laptop", actor=ADMIN
        )
        marks.note_trusted_device(unit, trusted, device.id)
    world.session()
    newer = world.session()
    assert world.running() == {kept, trusted, newer}
    assert world.row(other).end_reason == "limit"
    # The mark is taken back, and the device is trusted no more: they are like any other.
    world.mark(kept, marks.let_go)
    with world.work.begin() as unit:
        trusted_devices.forget_all(unit, world.person, ADMIN)
    newest = world.session()
    assert world.running() == {trusted, newer, newest}
    newest_of_all = world.session()
    assert world.running() == {newer, newest, newest_of_all}
    assert [one.data["kept"] for one in world.events("session.marked")] == [True, False]


def test_a_session_begun_on_a_trusted_device_knows_it(world: World) -> None:
    with world.work.begin() as unit:
        person = users.by_id(unit, world.person)
        assert person is not None
        device = trusted_devices.trust(
            unit, person, device_hash="t" * 64, name="Laptop", actor=ADMIN
        )
    world.create("bob")
    assert world.row(world.session(trust_hash="t" * 64)).trusted_device_id == device.id
    theirs = world.sign_in("bob", visit=world.visit(trust_hash="t" * 64))
    assert world.row(theirs.session_id).trusted_device_id is None


def test_phones_are_counted_by_themselves(world: World) -> None:
    """Row L2: per device type."""
    world.rule(1, "end_oldest", device_type="phone")
    laptop, phone = world.session(), world.session(agent=PHONE)
    newer = world.session(agent=PHONE)
    assert world.running() == {laptop, newer}
    assert world.row(phone).end_reason == "limit"


def test_each_address_is_counted_by_itself(world: World) -> None:
    """Row L2: per IP."""
    world.rule(2, "end_oldest", per="ip")
    home = [world.session(ip="192.0.2.1") for _ in range(2)]
    office = world.session(ip="198.51.100.7")
    newest = world.session(ip="192.0.2.1")
    assert world.running() == {home[1], office, newest}


def test_sessions_past_their_deadline_take_no_place_and_end_for_that_reason(world: World) -> None:
    world.rule(1, "block")
    rested = world.session()
    world.clock.advance(HOUR)
    assert isinstance(world.sign_in(), SignedIn)
    assert world.row(rested).end_reason == "idle_timeout"


def test_another_persons_sessions_are_not_counted(world: World) -> None:
    bob = world.create("bob")
    world.rule(1, "end_oldest")
    mine = world.session()
    world.sign_in("bob")
    assert world.running() == {mine}
    assert len(world.running(bob)) == 1


def test_going_on_in_ones_own_session_meets_no_limit(world: World) -> None:
    world.rule(1, "block")
    visit = world.visit()
    first = world.sign_in(visit=visit)
    again = world.sign_in(visit=visit, current=first.secret)
    assert (again.session_id, again.is_new_session) == (first.session_id, False)


# --- block ----------------------------------------------------------------------------------------


@on_either_database
def test_a_blocked_sign_in_begins_nothing_and_ends_nothing(world: World) -> None:
    world.rule(2, "block")
    running = {world.session(), world.session()}
    refused = world.sign_in()
    assert isinstance(refused, AtLimit)
    assert isinstance(refused.full, Blocked)
    assert set(refused.full.counted) == running == world.running()
    (noted,) = world.events("session.limit_reached")
    assert (noted.session_id, noted.data) == (None, {"limit": 2, "at_limit": "block", "ended": 0})
    with world.work.begin() as unit:
        lifecycle.end(unit, [running.pop()], reason="signed_out", actor=ADMIN)
    assert isinstance(world.sign_in(), SignedIn)


def test_a_blocked_sign_in_does_not_become_one_by_choosing(world: World) -> None:
    world.rule(1, "ask")
    running = world.session()
    asked = world.sign_in()
    world.rule(1, "block")
    refused = world.choose(asked, running)
    assert isinstance(refused, AtLimit)
    assert isinstance(refused.full, Blocked)
    assert world.running() == {running}


def test_somebody_elses_session_in_the_browser_stays_when_nothing_begins(world: World) -> None:
    bob = world.create("bob")
    visit = world.visit()
    theirs = world.sign_in("bob", visit=visit)
    world.rule(1, "block")
    world.session()
    assert isinstance(world.sign_in(visit=visit, current=theirs.secret), AtLimit)
    assert world.running(bob) == {theirs.session_id}


# --- ask ------------------------------------------------------------------------------------------


@pytest.fixture
def asked(world: World) -> AtLimit:
    """At a limit of two, by somebody with two sessions, who must choose."""
    world.rule(2, "ask")
    world.session()
    world.session()
    outcome = world.sign_in()
    assert isinstance(outcome, AtLimit)
    return outcome


def candidates(asked: AtLimit) -> tuple[str, ...]:
    assert isinstance(asked.full, MustChoose)
    return asked.full.candidates


@on_either_database
def test_who_is_asked_and_chooses_is_signed_in_and_the_chosen_one_ends(
    world: World, asked: AtLimit
) -> None:
    first, second = candidates(asked)
    assert asked.full == replace(asked.full, suggested=(first,))
    assert world.running() == {first, second}
    made = world.choose(asked, second)
    assert isinstance(made, SignedIn)
    assert world.running() == {first, made.session_id}
    ended = world.row(second)
    assert (ended.end_reason, ended.ended_by, ended.ended_by_id) == (
        "limit",
        "user",
        made.session_id,
    )
    noted = [(one.session_id, one.data["ended"]) for one in world.events("session.limit_reached")]
    assert noted == [(None, 0), (made.session_id, 1)]


def test_what_was_proved_is_as_old_as_it_is_and_not_as_the_choice(
    world: World, asked: AtLimit
) -> None:
    """MF-02: nobody becomes fresher by waiting on the page."""
    proved_at = world.clock.now()
    world.clock.advance(9 * MINUTE)
    made = world.choose(asked, *candidates(asked))
    session = world.row(made.session_id)
    assert session.auth_time == proved_at
    assert [one["at"] for one in session.authentications] == [proved_at]
    assert session.created_at == world.clock.now()


@pytest.mark.attack("AD-02")
def test_sessions_of_others_count_for_nothing(world: World, asked: AtLimit) -> None:
    bob = world.create("bob")
    theirs = world.sign_in("bob").session_id
    again = world.choose(asked, theirs, "ses_" + "0" * 32, "")
    assert isinstance(again, AtLimit)
    assert world.running(bob) == {theirs}
    made = world.choose(asked, theirs, candidates(asked)[0])
    assert isinstance(made, SignedIn)
    assert world.running(bob) == {theirs}
    assert len(world.running()) == 2


def test_where_there_is_room_by_now_nobody_goes(world: World, asked: AtLimit) -> None:
    first, second = candidates(asked)
    with world.work.begin() as unit:
        lifecycle.end(unit, [first], reason="signed_out", actor=ADMIN)
    made = world.choose(asked, second)
    assert world.running() == {second, made.session_id}


def test_too_few_or_ended_ones_are_asked_for_again_as_long_as_before(
    world: World, asked: AtLimit
) -> None:
    first, second = candidates(asked)
    made = world.choose(asked, first)
    other = world.sign_in()
    world.clock.advance(MINUTE)
    # One that ended meanwhile makes no room.
    again = world.choose(other, first)
    assert isinstance(again, AtLimit)
    assert again.ceremony == other.ceremony
    world.rule(1, "ask")
    again = world.choose(other, second)
    assert isinstance(again, AtLimit)
    # The one that was chosen is offered again: nothing of the choice was carried out.
    assert set(candidates(again)) == {second, made.session_id} == world.running()
    assert isinstance(world.choose(other, second, made.session_id), SignedIn)


def test_a_choice_is_carried_out_once(world: World, asked: AtLimit) -> None:
    first, second = candidates(asked)
    assert isinstance(world.choose(asked, first), SignedIn)
    again = world.choose(asked, second)
    assert isinstance(again, Rejected)
    assert again.is_over
    assert second in world.running()


def test_a_limit_that_takes_by_itself_takes_after_the_choice(world: World) -> None:
    rested, newer, phone = world.session(), world.session(), world.session(agent=PHONE)
    world.rule(2, "end_oldest")
    world.rule(1, "ask", device_type="phone")
    asked = world.sign_in(visit=world.visit(agent=PHONE))
    assert candidates(asked) == (phone,)
    visit = Visit(agent=PHONE, device_hash=asked.ceremony.browser_hash)
    made = world.choose(asked, phone, entry=Entry(visit, None))
    assert world.running() == {newer, made.session_id}
    assert (world.row(phone).ended_by, world.row(rested).ended_by) == ("user", "system")


# --- what ends a choice under way -----------------------------------------------------------------


def over(world: World, asked: AtLimit) -> None:
    before = world.running()
    outcome = world.choose(asked, *candidates(asked))
    assert isinstance(outcome, Rejected)
    assert outcome.is_over
    assert world.running() <= before


def test_a_new_password_ends_it(world: World, asked: AtLimit) -> None:
    world.clock.advance(SECOND)
    with world.work.begin() as unit:
        person = users.by_id(unit, world.person)
        assert person is not None
        users.set_password(unit, person, world.hasher.hash("another one entirely"), ADMIN)
    over(world, asked)


def test_a_disabled_account_ends_it(world: World, asked: AtLimit) -> None:
    with world.work.begin() as unit:
        person = users.by_id(unit, world.person)
        assert person is not None
        users.set_status(unit, person, "disabled", ADMIN)
    over(world, asked)


def test_signing_out_everywhere_ends_it(world: World, asked: AtLimit) -> None:
    """Its session would be over, had it begun at once."""
    world.clock.advance(SECOND)
    with world.work.begin() as unit:
        lifecycle.end_all_of(
            unit, world.person, reason="signed_out_everywhere", actor=Actor("user", "ses_x")
        )
    over(world, asked)


def test_a_passkey_that_was_removed_meanwhile_ends_it(world: World, asked: AtLimit) -> None:
    by_passkey = Authentication("passkey", ("hwk", "user"), "aal3", credential="psk_gone")
    over(world, AtLimit(replace(asked.ceremony, proved=(by_passkey,)), asked.full))


def test_one_proof_is_not_enough_to_trust_a_browser(world: World, asked: AtLimit) -> None:
    made = world.choose(asked, *candidates(asked), trust="device")
    assert isinstance(made, SignedIn)
    assert made.trust is None


def test_two_proofs_are_and_the_session_is_on_a_trusted_device(
    world: World, asked: AtLimit
) -> None:
    by_code = Authentication("totp", ("otp",), "aal1")
    both = replace(asked.ceremony, proved=(*asked.ceremony.proved, by_code))
    made = world.choose(asked, *candidates(asked), ceremony=both, trust="device")
    assert isinstance(made, SignedIn)
    assert made.trust is not None
    with world.work.read() as unit:
        (device,) = trusted_devices.of(unit, world.person)
    assert world.row(made.session_id).trusted_device_id == device.id

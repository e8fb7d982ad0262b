"""Closing time, temporary sessions, shared devices and networks: who gets in, and until when."""

from typing import Any

import pytest

from idp.clock import DAY, HOUR, MINUTE, SECOND, Instant
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.sessions import expiry, lifecycle, sign_in
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.sign_in import Entry, Rejected, SignedIn
from idp.users import queries, rules
from tests.harness.enrolled import with_totp
from tests.harness.provider import PASSWORD, Idp
from tests.harness.workbench import NOON

# The clock of tests stands on Friday, 15 January 2027, 08:00 in London.
OFFICE = {"timezone": "Europe/London", "from": "07:00", "to": "18:00", "grace": 600}
AFTERNOON = OFFICE | {"from": "13:00"}
CLOSING: Instant = NOON + 10 * HOUR
HERE = Visit(ip="192.0.2.1", agent="curl/8.17.0", device_hash="d" * 64)


def rule(idp: Idp, kind: str, value: dict[str, Any], **applies_to: str) -> None:
    with idp.work.begin() as unit:
        if "role" in applies_to:
            queries.define_role(unit, applies_to["role"], [])
        rules.set_rule(unit, kind, applies_to, value, Actor("admin", "cli"))


def attempt(idp: Idp, name: str = "alice", **entry: Any) -> SignedIn | Rejected:
    at = Entry(**({"visit": HERE, "current": None} | entry))
    outcome = sign_in.with_password(idp.work, idp.hasher, name=name, password=PASSWORD, entry=at)
    assert isinstance(outcome, SignedIn | Rejected)
    return outcome


def session(idp: Idp, session_id: str) -> Session:
    with idp.work.read() as unit:
        return unit.orm.get_one(Session, session_id)


def run_worker(idp: Idp) -> None:
    with idp.work.begin() as unit:
        expiry.end_expired(unit)


def test_outside_the_hours_nobody_signs_in_and_is_told_when_they_can(idp: Idp) -> None:
    idp.person()
    rule(idp, "hours", AFTERNOON)
    outcome = attempt(idp)
    assert outcome == Rejected(
        "You cannot sign in at this time. "
        "You can again from Friday, 15 January, 13:00 (Europe/London).",
        403,
    )
    assert idp.count("sessions") == 0
    assert [one["reason"] for one in idp.events("login.failed")] == ["outside_hours"]
    idp.clock.advance(5 * HOUR)
    assert isinstance(attempt(idp), SignedIn)


def test_only_whoever_proved_who_they_are_learns_of_the_hours(idp: Idp) -> None:
    idp.person()
    rule(idp, "hours", AFTERNOON)
    outcome = sign_in.with_password(
        idp.work, idp.hasher, name="alice", password="wrong", entry=Entry(HERE, None)
    )
    assert isinstance(outcome, Rejected)
    assert outcome.sentence == "The user name or password is wrong."


def test_a_right_password_at_the_wrong_time_is_no_wrong_password(idp: Idp) -> None:
    idp.person()
    rule(idp, "hours", AFTERNOON)
    for _ in range(2 * idp.settings.throttle.per_account):
        outcome = attempt(idp)
        assert isinstance(outcome, Rejected)
        assert outcome.status == 403
    idp.clock.advance(5 * HOUR)
    assert isinstance(attempt(idp), SignedIn)


@pytest.mark.attack("BF-05")
def test_no_other_way_in_leads_around_the_hours(idp: Idp) -> None:
    """Whatever begins a session begins it in `beginning.start`, which asks too."""
    user = idp.person()
    rule(idp, "hours", AFTERNOON)
    with pytest.raises(Refused) as refused:
        idp.session(user)
    assert (refused.value.code, refused.value.status) == ("outside_hours", 403)


def test_hours_hold_for_whom_they_are_written(idp: Idp) -> None:
    idp.person("doctor")
    idp.person("nurse")
    rule(idp, "hours", AFTERNOON, role="nurse")
    with idp.work.begin() as unit:
        found = queries.by_identifier(unit, "nurse")
        assert found is not None
        queries.set_roles(unit, found, ["nurse"], SYSTEM)
    assert isinstance(attempt(idp, "doctor"), SignedIn)
    assert isinstance(attempt(idp, "nurse"), Rejected)


@pytest.mark.attack("LO-02")
def test_at_closing_time_the_session_ends_with_every_token_and_its_apps_are_told(
    either_idp: Idp,
) -> None:
    idp = either_idp
    app = idp.register(backchannel_logout_uri="http://127.0.0.1:1/logout")
    rule(idp, "hours", OFFICE)
    rule(idp, "timeouts", {"idle": 86_400})
    started = idp.session(idp.person())
    idp.clock.instant = CLOSING + 9 * MINUTE
    online = idp.grant(app, started)
    offline = idp.grant(app, started, scope="openid offline_access")
    assert session(idp, started.session.id).expires_at == CLOSING + 10 * MINUTE

    # From the very moment on, whether the worker has been here or not.
    idp.clock.instant = CLOSING + 10 * MINUTE
    for tokens in (online, offline):
        assert not idp.is_active(app, tokens["access_token"])
        status, body = idp.refresh(app, tokens["refresh_token"])
        assert (status, body["error"]) == (400, "invalid_grant")
        assert "(hours)" in body["error_description"]
    run_worker(idp)
    [ended] = idp.events("session.ended")
    assert (ended["reason"], ended["actor"]) == ("hours", "system")
    assert idp.count("deliveries") == 1
    for tokens in (online, offline):
        assert idp.refresh(app, tokens["refresh_token"])[0] == 400


def test_activity_does_not_move_closing_time(idp: Idp) -> None:
    rule(idp, "hours", OFFICE)
    app, started = idp.register(), idp.session(idp.person())
    token = idp.grant(app, started)["refresh_token"]
    while idp.clock.now() < CLOSING - HOUR:
        idp.clock.advance(30 * MINUTE)
        status, body = idp.refresh(app, token)
        assert status == 200
        token = body["refresh_token"]
    with idp.work.begin() as unit:
        there = unit.orm.get_one(Session, started.session.id)
        assert lifecycle.extend(unit, there, SYSTEM)
        lifecycle.reauthenticate(unit, there, [sign_in.prove.PASSWORD], Visit())
    assert session(idp, started.session.id).expires_at == CLOSING + 10 * MINUTE


def test_in_the_grace_whoever_is_in_proves_themselves_and_gets_no_longer_stay(idp: Idp) -> None:
    idp.person()
    rule(idp, "hours", OFFICE)
    rule(idp, "timeouts", {"idle": 86_400})
    first = attempt(idp)
    assert isinstance(first, SignedIn)
    idp.clock.instant = CLOSING + MINUTE
    again = attempt(idp, current=first.secret)
    assert isinstance(again, SignedIn)
    assert (again.session_id, again.is_new_session) == (first.session_id, False)
    assert session(idp, first.session_id).expires_at == CLOSING + 10 * MINUTE
    assert isinstance(attempt(idp), Rejected)


def test_who_is_turned_away_ends_nobody_elses_session(idp: Idp) -> None:
    owner = idp.session(idp.person("owner"))
    idp.person("alice", email="a@example.com")
    rule(idp, "networks", {"deny": ["192.0.2.0/24"]})
    assert isinstance(attempt(idp, current=owner.secret), Rejected)
    assert session(idp, owner.session.id).ended_at is None


def test_hours_that_cannot_be_read_let_nobody_in_and_are_said_in_the_log(
    idp: Idp, caplog: pytest.LogCaptureFixture
) -> None:
    idp.person()
    rule(idp, "hours", OFFICE)
    idp.execute("UPDATE rules SET value = replace(value, 'London', 'Atlantis')")
    assert attempt(idp) == Rejected("You cannot sign in at this time.", 403)
    assert "hours rule cannot be read" in caplog.text


@pytest.mark.parametrize(
    "value, ip, lets_in",
    [
        ({"allow": ["192.0.2.0/24"]}, "192.0.2.1", True),
        ({"allow": ["192.0.2.0/24"]}, "198.51.100.1", False),
        ({"allow": ["192.0.2.0/24"]}, None, False),
        ({"deny": ["192.0.2.0/24"]}, "192.0.2.1", False),
        ({"deny": ["192.0.2.0/24"]}, None, True),
    ],
)
def test_people_sign_in_from_where_they_may(
    idp: Idp, value: dict[str, Any], ip: str | None, lets_in: bool
) -> None:
    idp.person()
    rule(idp, "networks", value)
    outcome = attempt(idp, visit=Visit(ip=ip))
    assert isinstance(outcome, SignedIn) == lets_in
    if isinstance(outcome, Rejected):
        assert "network" in outcome.sentence
        assert [one["reason"] for one in idp.events("login.failed")] == ["network_not_allowed"]


def test_a_second_factor_is_asked_for_before_anybody_is_turned_away(idp: Idp) -> None:
    """Else a stolen password alone would tell for whom there are rules."""
    user = idp.person()
    factors = with_totp(idp, user)
    rule(idp, "networks", {"deny": ["192.0.2.0/24"]})
    asked = sign_in.with_password(
        idp.work, idp.hasher, name="alice", password=PASSWORD, entry=Entry(HERE, None)
    )
    assert isinstance(asked, sign_in.SecondFactor)
    outcome = sign_in.with_code(
        idp.work,
        ceremony=asked.ceremony,
        method="totp",
        code=factors.code(),
        entry=Entry(HERE, None),
        trust="device",
    )
    assert isinstance(outcome, Rejected)
    assert idp.count("sessions") == 0
    assert idp.events("device.trusted") == []


def test_a_temporary_session_ends_after_so_long_whatever_happens(idp: Idp) -> None:
    rule(idp, "timeouts", {"temporary": 7_200}, role="guest")
    app, user = idp.register(), idp.person("guest", roles=["guest"])
    started = idp.session(user)
    assert started.session.temporary
    tokens = idp.grant(app, started, scope="openid offline_access")
    token = tokens["refresh_token"]
    for _ in range(3):
        idp.clock.advance(39 * MINUTE)
        status, body = idp.refresh(app, token)
        assert status == 200
        token = body["refresh_token"]
    idp.clock.advance(3 * MINUTE)
    assert idp.refresh(app, token)[0] == 400
    run_worker(idp)
    assert session(idp, started.session.id).end_reason == "temporary"


def test_on_a_shared_device_the_session_is_short_and_leaves_nothing_behind(idp: Idp) -> None:
    user = idp.person()
    factors = with_totp(idp, user)
    at = Entry(HERE, None, ownership="shared")
    asked = sign_in.with_password(idp.work, idp.hasher, name="alice", password=PASSWORD, entry=at)
    assert isinstance(asked, sign_in.SecondFactor)
    outcome = sign_in.with_code(
        idp.work,
        ceremony=asked.ceremony,
        method="totp",
        code=factors.code(),
        entry=at,
        trust="device",
    )
    assert isinstance(outcome, SignedIn)
    there = session(idp, outcome.session_id)
    assert (there.temporary, there.expiry_reason) == (1, "temporary")
    assert there.expires_at == there.created_at + HOUR
    assert there.idle_timeout == 15 * MINUTE
    # Whoever comes after is a stranger: not a device that signed in before, and not trusted.
    assert there.device_hash is None
    assert outcome.trust is None
    assert idp.count("trusted_devices") == 0


def test_rules_of_an_unknown_kind_are_passed_over(idp: Idp) -> None:
    """While a newer version of us runs beside this one."""
    user = idp.person()
    rule(idp, "limits", {"maximum": 3})
    idp.execute("UPDATE rules SET kind = 'weather'")
    assert idp.session(user).session.expires_at == NOON + DAY


def test_the_clock_of_these_tests_is_where_they_think() -> None:
    assert NOON == 1_800_000_000 * SECOND

"""What administrators may do about somebody's second factors, and what they never see (row D8)."""

import json

import pytest

from idp.clock import SECOND
from idp.sessions import prove
from idp.sessions.model import Session
from idp.users import passkeys, trusted_devices
from idp.users.model import User
from tests.cli.test_cli import Terminal, environment, idp_cli, ready
from tests.flows.pages import Person
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import ADMIN, Idp

__all__ = ["environment", "idp_cli", "ready"]


@pytest.fixture
def anna(idp: Idp) -> User:
    return idp.person("anna")


@pytest.fixture
def factors(idp: Idp, anna: User) -> Factors:
    """A code app with recovery codes, a passkey, and a browser that is trusted."""
    made = with_totp(idp, anna)
    with_passkey(idp, anna)
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, anna.id)
        trusted_devices.trust(unit, fresh, device_hash="x" * 43, name="Laptop", actor=ADMIN)
    return made


def kinds(listed: dict) -> list[str]:
    return [one["kind"] for one in listed["factors"]]


def test_factors_are_listed_without_anything_secret(ready: Terminal, factors: Factors) -> None:
    listed = ready.ok("factors", "list", "anna")
    assert kinds(listed) == ["passkey", "totp", "trusted_device"]
    assert listed["recovery_codes_left"] == 10
    text = json.dumps(listed) + ready("factors", "list", "anna").out
    assert not [one for one in [*factors.secrets, *factors.codes] if one in text]
    assert set(listed["factors"][0]) == {
        "kind", "id", "name", "created_at", "last_used_at", "suspended_at",
    }  # fmt: skip


def test_no_command_makes_or_shows_a_code(ready: Terminal) -> None:
    """Row D8: who administers accounts cannot sign in as anybody."""
    from typer.main import get_command

    from idp.cli.commands import app

    assert set(get_command(app).commands["factors"].commands) == {"list", "remove", "reset"}


@pytest.mark.usefixtures("factors")
def test_one_factor_is_removed_and_its_proofs_count_no_more(
    ready: Terminal, idp: Idp, anna: User
) -> None:
    with idp.work.read() as unit:
        (passkey,) = passkeys.of(unit, anna.id)
        (device,) = trusted_devices.of(unit, anna.id)
    shown = passkeys.Authentication("passkey", ("hwk", "user"), "aal3", passkey.id)
    session = idp.session(anna, proved=[prove.PASSWORD, shown]).session
    alone = idp.session(anna, proved=[shown]).session
    assert (session.acr, alone.acr) == ("aal3", "aal3")
    assert ready("factors", "remove", "anna", passkey.id, typed="n\n").code == 1
    assert ready.ok("factors", "remove", "anna", passkey.id, "--yes")["removed"] == passkey.id
    ready.ok("factors", "remove", "anna", device.id, "--yes")
    assert kinds(ready.ok("factors", "list", "anna")) == ["totp"]
    with idp.work.read() as unit:
        after = unit.orm.get_one(Session, session.id)
        assert (after.acr, after.ended_at) == ("aal1", None)
        # What rested on it alone is over.
        assert unit.orm.get_one(Session, alone.id).end_reason == "factor_removed"
    (event,) = idp.events("factor.removed")
    assert (event["actor"], event["actor_id"], event["user_id"]) == ("admin", "cli", anna.id)


@pytest.mark.usefixtures("factors")
def test_a_factor_is_removed_from_whom_it_belongs_to_only(ready: Terminal, idp: Idp) -> None:
    idp.person("bob")
    (theirs, *_) = ready.ok("factors", "list", "anna")["factors"]
    for name, factor in (("bob", theirs["id"]), ("anna", "pky_nothing"), ("anna", "")):
        assert "no factor" in ready.refused("factors", "remove", name, factor, "--yes")
    assert "no user" in ready.refused("factors", "remove", "nobody", theirs["id"], "--yes")
    assert len(ready.ok("factors", "list", "anna")["factors"]) == 3


def test_a_reset_leaves_the_password_and_no_session(
    ready: Terminal, idp: Idp, anna: User, factors: Factors
) -> None:
    """ASVS 6.4.4: everything that stood in for the second factor goes with it."""
    idp.session(anna)
    idp.session(anna)
    assert ready("factors", "reset", "anna", typed="\n").code == 1
    assert len(ready.ok("factors", "list", "anna")["factors"]) == 3
    assert ready.ok("factors", "reset", "anna", "--yes") == {
        "id": anna.id,
        "removed": 2,
        "devices_forgotten": 1,
        "sessions_ended": 2,
    }
    listed = ready.ok("factors", "list", "anna")
    assert (listed["factors"], listed["recovery_codes_left"]) == ([], 0)
    told = idp.events("session.ended", "factor.removed", "device.forgotten", "user.signed_out")
    assert {(one["actor"], one["actor_id"]) for one in told} == {("admin", "cli")}
    assert len(idp.events("factor.removed")) == 2
    assert {one["reason"] for one in idp.events("session.ended")} == {"admin"}
    # The password alone signs in, to one factor, until they enrol again.
    assert Person(idp).open("/account/sessions").sign_in("anna").at == "/account/sessions"
    assert factors.code()


def test_the_question_says_what_to_make_sure_of(ready: Terminal, anna: User) -> None:
    ran = ready("factors", "reset", "anna", typed="n\n")
    assert (ran.code, ran.out) == (1, "")
    assert "Be sure that it is they who ask" in ran.err


def test_nobody_is_locked_out_by_a_reset(ready: Terminal, idp: Idp, anna: User) -> None:
    """A passkey is no second factor where it is the only one."""
    with_passkey(idp, anna)
    idp.execute("UPDATE users SET password_hash = NULL")
    started = idp.session(anna)
    assert "They need a password first" in ready.refused("factors", "reset", "anna", "--yes")
    (passkey,) = ready.ok("factors", "list", "anna")["factors"]
    assert "another way first" in ready.refused("factors", "remove", "anna", passkey["id"], "--yes")
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, started.session.id).ended_at is None


def test_a_reset_of_nothing_still_ends_the_sessions(ready: Terminal, idp: Idp, anna: User) -> None:
    idp.session(anna)
    idp.clock.advance(SECOND)
    done = ready.ok("factors", "reset", "anna", "--yes")
    assert (done["removed"], done["sessions_ended"]) == (0, 1)

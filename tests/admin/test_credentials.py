"""What people prove themselves with, over the management API (row D7 for credentials)."""

import pytest

from idp.users import trusted_devices
from tests.admin.conftest import Caller, good, problem, program
from tests.admin.test_users import reasons
from tests.harness.enrolled import with_passkey, with_totp
from tests.harness.mails import owed
from tests.harness.provider import ADMIN, Idp


@pytest.mark.attack("MF-07")
def test_factors_are_seen_and_their_secrets_are_not(idp: Idp, root: Caller) -> None:
    anna = idp.person("anna")
    factors = with_totp(idp, anna)
    with_passkey(idp, anna)
    with idp.work.begin() as unit:
        trusted_devices.trust(unit, anna, device_hash="d" * 64, name="Laptop", actor=ADMIN)
    response = root("GET", f"/users/{anna.id}/factors")
    shown = good(response)
    assert [(one["kind"], one["name"]) for one in shown["items"]] == [
        ("passkey", "Key"), ("totp", "App"), ("trusted_device", "Laptop"),
    ]  # fmt: skip
    assert shown["recovery_codes_left"] == 10
    for secret in (factors.secrets[0], *factors.codes, "d" * 64):
        assert secret not in response.text


def test_one_factor_is_removed_and_its_owner_is_told(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    with_totp(idp, anna)
    (totp,) = robot.get(f"/users/{anna.id}/factors")["items"]
    removing = f"/users/{anna.id}/factors/{totp['id']}"
    left = good(robot("DELETE", removing, params={"reason": "lost the phone"}))
    assert left == {"items": [], "recovery_codes_left": 0}
    assert [one.to for one in owed(idp, "factor_removed")] == ["anna@example.com"]
    ((_, _, why),) = reasons(idp, "factor.removed")
    assert why == "lost the phone"
    again = robot("DELETE", removing, params={"reason": "x"})
    assert problem(again) == (404, "unknown_factor")


def test_a_factor_of_somebody_else_is_not_theirs(idp: Idp, robot: Caller) -> None:
    anna, bob = idp.person("anna"), idp.person("bob")
    with_totp(idp, anna)
    (totp,) = robot.get(f"/users/{anna.id}/factors")["items"]
    crossed = robot("DELETE", f"/users/{bob.id}/factors/{totp['id']}", params={"reason": "x"})
    assert problem(crossed) == (404, "unknown_factor")
    assert len(robot.get(f"/users/{anna.id}/factors")["items"]) == 1


def test_everything_is_set_back_at_once(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "credentials:write", "users:read")
    anna = idp.person("anna")
    with_totp(idp, anna)
    with_passkey(idp, anna)
    idp.session(anna)
    done = caller.post(f"/users/{anna.id}/factors/reset", reason="shown to be them at the desk")
    assert (done["factors_removed"], done["sessions_ended"]) == (2, 1)
    assert caller.get(f"/users/{anna.id}/factors") == {"items": [], "recovery_codes_left": 0}
    whys = {why for _, _, why in reasons(idp, "factor.removed") + reasons(idp, "session.ended")}
    assert whys == {"shown to be them at the desk"}
    assert len(owed(idp, "factor_removed")) == 2


def test_nobody_is_locked_out_by_it(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    with_passkey(idp, anna)
    idp.execute("UPDATE users SET password_hash = NULL")
    refused = robot("POST", f"/users/{anna.id}/factors/reset", json={"reason": "x"})
    assert problem(refused) == (409, "last_factor")
    assert len(robot.get(f"/users/{anna.id}/factors")["items"]) == 1


def test_an_address_is_verified_by_its_owner(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    response = robot("POST", f"/users/{anna.id}/email-verification")
    assert good(response) == {"email": "anna@example.com", "expires_in": 86_400}
    (mail,) = owed(idp, "verify_email")
    assert mail.values["link"].rpartition("=")[2] not in response.text
    assert robot.get(f"/users/{anna.id}")["email_verified"] is False

"""Passkeys as honest people use them; what is done to them otherwise is in `tests/attacks`."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from idp.clock import MINUTE
from idp.errors import Refused
from idp.events.actor import Actor
from idp.settings import Settings
from idp.storage.unit_of_work import Work
from idp.users import factors, passkeys, queries
from idp.users.credentials import Passkey
from idp.users.model import User
from idp.users.passkeys import Suspended, Verified
from tests.harness.authenticator import BE, BS, ED, UP, UV, Authenticator, base64url
from tests.harness.backends import postgres_with_tables
from tests.harness.workbench import SECRET, ManualClock, make_work

CHALLENGE = bytes(range(32))
ANNA = Actor("user", "usr_anna")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def work(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Work]:
    if request.param == "sqlite":
        made = make_work(f"sqlite:///{tmp_path / 'idp.db'}", clock)
        yield made
        made.database.close()
        return
    with postgres_with_tables() as url:
        made = make_work(url, clock)
        yield made
        made.database.close()


@pytest.fixture
def anna(work: Work) -> User:
    with work.begin() as unit:
        return queries.create_user(unit, username="anna", claims={"name": "Anna Arendt"})


def creation_options(work: Work, user: User) -> str:
    with work.read() as unit:
        return passkeys.registration_options(unit, user, challenge=CHALLENGE)


def request_options(work: Work, user: User | None = None) -> str:
    with work.read() as unit:
        return passkeys.request_options(
            unit, challenge=CHALLENGE, user_id=user.id if user is not None else None
        )


def enrol(
    work: Work, user: User, device: Authenticator, name: str = "Laptop", **changes: Any
) -> Passkey:
    answer = device.create(creation_options(work, user), **changes)
    with work.begin() as unit:
        return passkeys.register(
            unit, user, credential=answer, challenge=CHALLENGE, name=name, actor=ANNA
        )


def prove(
    work: Work, device: Authenticator, user: User | None = None, **changes: Any
) -> Verified | Suspended:
    answer = device.get(request_options(work, user), **changes)
    with work.begin() as unit:
        return passkeys.verify(
            unit,
            credential=answer,
            challenge=CHALLENGE,
            user_id=user.id if user is not None else None,
        )


def verified(outcome: Verified | Suspended) -> Verified:
    assert isinstance(outcome, Verified)
    return outcome


def stored(work: Work, passkey: Passkey) -> Passkey:
    with work.read() as unit:
        found = unit.orm.get(Passkey, passkey.id)
        assert found is not None
        return found


def events(work: Work, kind: str) -> list[dict[str, Any]]:
    with work.read() as unit:
        rows = unit.connection.execute(
            sa.text("SELECT user_id, data FROM events WHERE type = :kind ORDER BY id"),
            {"kind": kind},
        ).all()
    return [{"user_id": user_id, **json.loads(data)} for user_id, data in rows]


# --- enrolling ----------------------------------------------------------------------------


def test_a_browser_is_asked_for_a_discoverable_passkey_that_verifies_its_user(
    work: Work, anna: User
) -> None:
    asked = json.loads(creation_options(work, anna))
    assert asked["rp"] == {"id": "localhost", "name": work.settings.name}
    assert asked["user"]["id"] == base64url(anna.id.encode())
    assert asked["user"]["name"] == "anna"
    assert asked["user"]["displayName"] == "Anna Arendt"
    assert asked["challenge"] == base64url(CHALLENGE)
    assert [one["alg"] for one in asked["pubKeyCredParams"]] == [-7, -8, -257]
    assert asked["attestation"] == "none"
    wanted = asked["authenticatorSelection"]
    assert wanted["residentKey"] == wanted["userVerification"] == "required"
    assert wanted["requireResidentKey"] is True


def test_a_browser_is_told_which_passkeys_somebody_has(work: Work, anna: User) -> None:
    device = Authenticator()
    enrol(work, anna, device, transports=["usb", "nfc", "carrier-pigeon", 7])
    asked = json.loads(creation_options(work, anna))
    [mine] = asked["excludeCredentials"]
    assert mine["id"] == base64url(device.credential_id)
    assert sorted(mine["transports"]) == ["nfc", "usb"]


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_a_passkey_of_each_offered_algorithm_signs_in(work: Work, anna: User, alg: str) -> None:
    device = Authenticator(alg)
    passkey = enrol(work, anna, device)
    proof = verified(prove(work, device))
    assert proof.user_id == anna.id
    assert proof.passkey.id == passkey.id
    assert proof.authentication.method == "passkey"
    assert proof.authentication.credential == passkey.id


def test_what_a_passkey_said_of_itself_is_kept(work: Work, anna: User, clock: ManualClock) -> None:
    """MF-08 R16: every member of the credential record."""
    device = Authenticator(backup="done")
    aaguid = bytes.fromhex("fbfc3007154e4ecc8c0b6e020557d7bd")
    made = enrol(work, anna, device, "My phone", aaguid=aaguid, sign_count=7)
    kept = stored(work, made)
    assert kept.credential_id == base64url(device.credential_id)
    assert kept.user_id == anna.id
    assert kept.name == "My phone"
    assert kept.sign_count == 7
    assert kept.transports == ["internal"]
    assert (kept.backup_eligible, kept.backed_up, kept.user_verified) == (1, 1, 1)
    assert kept.aaguid == "fbfc3007-154e-4ecc-8c0b-6e020557d7bd"
    assert kept.created_at == clock.instant
    assert kept.last_used_at is kept.suspended_at is None
    [event] = events(work, "factor.added")
    expected = {"user_id": anna.id, "kind": "passkey", "name": "My phone", "credential": made.id}
    assert event == expected


def test_the_largest_counter_there_is_can_be_kept(work: Work, anna: User) -> None:
    """WebAuthn section 6.1: signCount is 32 bits without a sign."""
    device = Authenticator()
    made = enrol(work, anna, device, sign_count=2**32 - 2)
    assert verified(prove(work, device, sign_count=2**32 - 1)).passkey.sign_count == 2**32 - 1
    assert stored(work, made).sign_count == 2**32 - 1


def test_a_key_may_vouch_for_itself(work: Work, anna: User) -> None:
    """WebAuthn section 5.4.7: what a client may leave in although "none" was asked for."""
    for alg in ("ES256", "EdDSA", "RS256"):
        device = Authenticator(alg)
        enrol(work, anna, device, fmt="packed")
        verified(prove(work, device))


def test_extensions_that_nobody_asked_for_are_left_alone(work: Work, anna: User) -> None:
    """Security keys add credProtect by themselves (section 7.1 step 19: may be ignored)."""
    device = Authenticator()
    cred_protect = b"\xa1\x6bcredProtect\x02"
    enrol(work, anna, device, flags=UP | UV | 64 | ED, extensions=cred_protect)
    verified(prove(work, device, flags=UP | UV | ED, extensions=b"\xa1\x6bhmac-secret\xf5"))


def test_a_passkey_without_a_name_gets_one(work: Work, anna: User) -> None:
    assert enrol(work, anna, Authenticator(), "  ").name == "Passkey"


def test_a_name_with_what_cannot_be_seen_is_refused(work: Work, anna: User) -> None:
    with pytest.raises(Refused, match="invalid_label"):
        enrol(work, anna, Authenticator(), "Lap\u202etop")


def test_nobody_has_more_passkeys_than_a_browser_can_be_told_of(work: Work, anna: User) -> None:
    for _ in range(passkeys.MOST):
        enrol(work, anna, Authenticator())
    with pytest.raises(Refused, match="too_many_passkeys") as refused:
        enrol(work, anna, Authenticator())
    assert refused.value.status == 409


# --- signing in ----------------------------------------------------------------------------


def test_a_browser_is_not_told_whose_passkeys_before_a_password_was_right(
    work: Work, anna: User
) -> None:
    enrol(work, anna, Authenticator())
    asked = json.loads(request_options(work))
    assert asked["allowCredentials"] == []
    assert asked["userVerification"] == "required"
    assert asked["rpId"] == "localhost"
    assert asked["challenge"] == base64url(CHALLENGE)


def test_beside_a_password_a_browser_is_told_and_presence_will_do(work: Work, anna: User) -> None:
    device = Authenticator()
    enrol(work, anna, device)
    asked = json.loads(request_options(work, anna))
    assert [one["id"] for one in asked["allowCredentials"]] == [base64url(device.credential_id)]
    assert asked["userVerification"] == "preferred"
    outcome = verified(prove(work, device, anna, flags=UP))
    assert outcome.authentication.acr == "aal1"


@pytest.mark.parametrize(
    ("backup", "amr", "acr"),
    [
        ("none", ("hwk", "user"), "aal3"),
        ("eligible", ("swk", "user"), "aal2"),
        ("done", ("swk", "user"), "aal2"),
    ],
)
def test_what_a_passkey_earns_depends_on_where_its_key_may_go(
    work: Work, anna: User, backup: str, amr: tuple[str, ...], acr: str
) -> None:
    """NIST SP 800-63B-4 sections 2.2 and 2.3: only a key that cannot be exported is aal3."""
    device = Authenticator(backup=backup)
    enrol(work, anna, device)
    proof = verified(prove(work, device)).authentication
    assert (proof.amr, proof.acr) == (amr, acr)
    with work.read() as unit:
        assert factors.enrolled(unit, anna.id)["passkey"] == acr


def test_a_security_key_need_not_say_whose_it_is_beside_a_password(work: Work, anna: User) -> None:
    """Section 7.2 step 6: with a list, the userHandle may be missing."""
    device = Authenticator()
    enrol(work, anna, device)
    device.user_handle = None
    assert verified(prove(work, device, anna)).user_id == anna.id


def test_each_use_is_noted(work: Work, anna: User, clock: ManualClock) -> None:
    device = Authenticator(backup="eligible")
    made = enrol(work, anna, device)
    clock.advance(MINUTE)
    verified(prove(work, device, flags=UP | UV | BE | BS))
    kept = stored(work, made)
    assert kept.last_used_at == clock.instant
    assert kept.backed_up == 1
    verified(prove(work, device, flags=UP | UV | BE))
    assert stored(work, made).backed_up == 0


def test_a_passkey_that_does_not_count_is_used_again_and_again(work: Work, anna: User) -> None:
    device = Authenticator(backup="done")
    made = enrol(work, anna, device)
    for _ in range(3):
        verified(prove(work, device))
    assert stored(work, made).sign_count == 0


def test_of_many_at_once_each_counter_is_taken_once(work: Work, anna: User) -> None:
    """MF-08 A12: the counter is moved by one conditional statement, in no order but upwards."""
    device = Authenticator()
    made = enrol(work, anna, device)
    answers = [device.get(request_options(work)) for _ in range(2)] * 4
    outcomes: list[Verified | Suspended] = []

    def answer(credential: str) -> None:
        with work.begin() as unit:
            outcomes.append(
                passkeys.verify(unit, credential=credential, challenge=CHALLENGE, user_id=None)
            )

    threads = [threading.Thread(target=answer, args=(one,)) for one in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == len(answers)
    assert 1 <= sum(isinstance(one, Verified) for one in outcomes) <= 2
    assert stored(work, made).suspended_at is not None
    assert len(events(work, "factor.suspended")) == 1


# --- keeping them ----------------------------------------------------------------------------


def test_a_passkey_is_found_by_its_owner_only(work: Work, anna: User) -> None:
    made = enrol(work, anna, Authenticator())
    with work.read() as unit:
        assert [one.id for one in passkeys.of(unit, anna.id)] == [made.id]
        assert passkeys.one_of(unit, anna.id, made.id) is not None
        assert passkeys.one_of(unit, "usr_bert", made.id) is None
        assert passkeys.of(unit, "usr_bert") == []


def test_a_passkey_is_renamed(work: Work, anna: User) -> None:
    made = enrol(work, anna, Authenticator())
    for name in ("Office", "Office"):
        with work.begin() as unit:
            mine = passkeys.one_of(unit, anna.id, made.id)
            assert mine is not None
            passkeys.rename(unit, mine, name, ANNA)
    assert stored(work, made).name == "Office"
    assert [one["name"] for one in events(work, "factor.renamed")] == ["Office"]


def test_a_removed_passkey_is_taken_no_more(work: Work, anna: User) -> None:
    device, other = Authenticator(), Authenticator()
    made = enrol(work, anna, device)
    enrol(work, anna, other)
    remove(work, anna, made)
    with pytest.raises(Refused, match="invalid_passkey"):
        prove(work, device)
    verified(prove(work, other))
    [event] = events(work, "factor.removed")
    assert (event["user_id"], event["kind"], event["credential"]) == (anna.id, "passkey", made.id)


def test_the_last_way_to_sign_in_cannot_be_removed(work: Work, anna: User) -> None:
    device = Authenticator()
    made = enrol(work, anna, device)
    with pytest.raises(Refused, match="last_factor") as refused:
        remove(work, anna, made)
    assert refused.value.status == 409
    verified(prove(work, device))


def test_a_suspended_passkey_is_no_other_way_to_sign_in_and_may_go(work: Work, anna: User) -> None:
    device, other = Authenticator(), Authenticator()
    made, gone = enrol(work, anna, device), enrol(work, anna, other, sign_count=5)
    assert isinstance(prove(work, other, sign_count=5), Suspended)
    with pytest.raises(Refused, match="last_factor"):
        remove(work, anna, made)
    remove(work, anna, gone)


def test_with_a_password_the_last_passkey_may_go(work: Work, anna: User) -> None:
    made = enrol(work, anna, Authenticator())
    with work.begin() as unit:
        unit.orm.get_one(User, anna.id).password_hash = "$argon2id$…"
    remove(work, anna, made)
    with work.read() as unit:
        assert "passkey" not in factors.enrolled(unit, anna.id)


def test_of_two_who_remove_the_last_two_at_once_one_is_refused(work: Work, anna: User) -> None:
    made = [enrol(work, anna, Authenticator()) for _ in range(2)]
    begun = threading.Barrier(2)
    outcomes: list[str] = []

    def go(passkey: Passkey) -> None:
        begun.wait()
        try:
            remove(work, anna, passkey)
            outcomes.append("removed")
        except Refused as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=go, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["last_factor", "removed"]


def remove(work: Work, user: User, passkey: Passkey) -> None:
    with work.begin() as unit:
        mine = passkeys.one_of(unit, user.id, passkey.id)
        assert mine is not None
        passkeys.remove(unit, mine, ANNA)


# --- which site they belong to ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://id.example.com", "https://id.example.com"),
        ("https://ID.Example.com:443", "https://id.example.com"),
        ("https://id.example.com:8443/", "https://id.example.com:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_our_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    settings = Settings(secret_key=SECRET, database_url="sqlite:///idp.db", url=url)
    assert passkeys.origins(settings) == [origin]


def test_the_domain_is_our_host_unless_another_is_set() -> None:
    made: dict[str, Any] = {"secret_key": SECRET, "url": "https://id.example.com:8443"}
    assert passkeys.rp_id(Settings(**made)) == "id.example.com"
    apex = {"rp_id": "example.com", "origins": ["https://shop.example"]}
    settings = Settings(**made, passkeys=apex)
    assert passkeys.rp_id(settings) == "example.com"
    assert passkeys.origins(settings) == ["https://id.example.com:8443", "https://shop.example"]


def test_a_passkey_is_taken_from_a_further_origin(tmp_path: Path, clock: ManualClock) -> None:
    further = {"origins": ["https://shop.example"]}
    work = make_work(f"sqlite:///{tmp_path / 'idp.db'}", clock, passkeys=further)
    with work.begin() as unit:
        anna = queries.create_user(unit, username="anna")
    device = Authenticator(origin="https://shop.example")
    enrol(work, anna, device)
    verified(prove(work, device))
    work.database.close()

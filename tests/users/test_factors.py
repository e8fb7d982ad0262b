import threading

import pyotp
import pytest

from idp import ids
from idp.events.actor import Actor
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, recovery_codes, totp, trusted_devices
from idp.users.credentials import Passkey
from idp.users.model import User
from tests.harness.provider import Idp

ACTOR = Actor("user")


def add_passkey(
    unit: UnitOfWork,
    user: User,
    *,
    verified: int = 1,
    backup_eligible: int = 0,
    suspended_at: int | None = None,
) -> Passkey:
    passkey = Passkey(
        id=ids.new("psk"),
        credential_id=ids.new_secret(),
        user_id=user.id,
        name="Key",
        public_key=b"",
        sign_count=0,
        transports=[],
        backup_eligible=backup_eligible,
        backed_up=0,
        user_verified=verified,
        aaguid="00000000-0000-0000-0000-000000000000",
        created_at=unit.now,
        suspended_at=suspended_at,
    )
    unit.orm.add(passkey)
    return passkey


def add_totp(unit: UnitOfWork, user: User) -> str:
    secret = totp.propose(unit.settings, user).secret
    code = pyotp.TOTP(secret).generate_otp(unit.now // totp.PERIOD)
    return totp.enrol(unit, user, secret=secret, code=code, name="", actor=ACTOR).id


def trust(unit: UnitOfWork, user: User, name: str = "Browser") -> None:
    trusted_devices.trust(
        unit, user, device_hash=ids.digest(ids.new_secret()), name=name, actor=ACTOR
    )


def enrolled(idp: Idp, user: User) -> dict[str, str]:
    with idp.work.read() as unit:
        return factors.enrolled(unit, user.id)


def remove(idp: Idp, user: User, totp_id: str) -> None:
    with idp.work.begin() as unit:
        mine = totp.one_of(unit, user.id, totp_id)
        assert mine is not None
        totp.remove(unit, mine, ACTOR)


def test_each_method_is_listed_with_the_most_it_earns_alone(either_idp: Idp) -> None:
    idp = either_idp
    alice = idp.person("alice")
    idp.person("bob")
    assert enrolled(idp, alice) == {"password": "aal1"}
    with idp.work.begin() as unit:
        add_totp(unit, alice)
        recovery_codes.make(unit, alice, ACTOR)
    assert enrolled(idp, alice) == {"password": "aal1", "totp": "aal1", "recovery_code": "aal1"}
    with idp.work.begin() as unit:
        add_passkey(unit, alice, verified=1, backup_eligible=1)
    assert enrolled(idp, alice)["passkey"] == "aal2"


@pytest.mark.parametrize(
    "kinds, level",
    [
        ([(0, 0)], "aal1"),
        ([(0, 1)], "aal1"),
        ([(1, 1)], "aal2"),
        ([(1, 0)], "aal3"),
        ([(0, 0), (1, 1)], "aal2"),
        ([(1, 1), (1, 0)], "aal3"),
    ],
)
def test_of_several_passkeys_the_best_counts(
    idp: Idp, kinds: list[tuple[int, int]], level: str
) -> None:
    alice = idp.person("alice")
    with idp.work.begin() as unit:
        for verified, backup_eligible in kinds:
            add_passkey(unit, alice, verified=verified, backup_eligible=backup_eligible)
    assert enrolled(idp, alice)["passkey"] == level


def test_a_suspended_passkey_cannot_be_used_and_is_still_asked_for(idp: Idp) -> None:
    """Whoever copied a passkey does not get rid of the second factor by having it suspended."""
    alice = idp.person("alice")
    with idp.work.begin() as unit:
        add_passkey(unit, alice, suspended_at=unit.now)
    named = {"password": "aal1", factors.SUSPENDED: "aal1"}
    assert enrolled(idp, alice) == named
    with idp.work.begin() as unit:
        recovery_codes.make(unit, alice, ACTOR)
    assert enrolled(idp, alice) == named | {"recovery_code": "aal1"}
    with idp.work.begin() as unit:
        add_passkey(unit, alice)
    assert enrolled(idp, alice)[factors.SUSPENDED] == "aal1"


def test_recovery_codes_count_only_while_some_are_left(idp: Idp) -> None:
    alice = idp.person("alice")
    with idp.work.begin() as unit:
        add_totp(unit, alice)
        codes = recovery_codes.make(unit, alice, ACTOR)
    for code in codes:
        assert "recovery_code" in enrolled(idp, alice)
        with idp.work.begin() as unit:
            recovery_codes.burn(unit, alice.id, code)
    assert "recovery_code" not in enrolled(idp, alice)


@pytest.mark.parametrize(
    "able, second",
    [
        ({}, False),
        ({"password": "aal1"}, False),
        ({"password": "aal1", factors.SUSPENDED: "aal1"}, True),
        # Alone they are none: there are some only beside one.
        ({"password": "aal1", "recovery_code": "aal1"}, False),
        ({"password": "aal1", "totp": "aal1"}, True),
        ({"passkey": "aal1"}, True),
    ],
)
def test_what_is_a_second_factor(able: dict[str, str], second: bool) -> None:
    assert factors.has_second(able) is second


def test_the_last_second_factor_takes_codes_and_trusted_devices_with_it(either_idp: Idp) -> None:
    idp = either_idp
    alice, bob = idp.person("alice"), idp.person("bob")
    with idp.work.begin() as unit:
        first, last = add_totp(unit, alice), add_totp(unit, alice)
        add_totp(unit, bob)
        for user in (alice, bob):
            recovery_codes.make(unit, user, ACTOR)
            trust(unit, user)
            trust(unit, user)
    remove(idp, alice, first)
    assert (idp.count("recovery_codes"), idp.count("trusted_devices")) == (20, 4)
    remove(idp, alice, last)
    assert (idp.count("recovery_codes"), idp.count("trusted_devices")) == (10, 2)
    assert [one["user_id"] for one in idp.events("device.forgotten")] == [alice.id] * 2
    # With a new one they do not come back to life.
    with idp.work.begin() as unit:
        add_totp(unit, alice)
    assert enrolled(idp, alice) == {"password": "aal1", "totp": "aal1"}


def test_a_passkey_that_stays_keeps_codes_and_devices(idp: Idp) -> None:
    alice = idp.person("alice")
    with idp.work.begin() as unit:
        only = add_totp(unit, alice)
        add_passkey(unit, alice)
        recovery_codes.make(unit, alice, ACTOR)
        trust(unit, alice)
    remove(idp, alice, only)
    assert (idp.count("recovery_codes"), idp.count("trusted_devices")) == (10, 1)


def test_two_who_remove_the_last_two_at_once_leave_nothing(either_idp: Idp) -> None:
    idp = either_idp
    for number in range(5):
        user = idp.person(f"person{number}")
        with idp.work.begin() as unit:
            both = [add_totp(unit, user), add_totp(unit, user)]
            recovery_codes.make(unit, user, ACTOR)
            trust(unit, user)
        together = threading.Barrier(2)

        def attempt(
            totp_id: str, user: User = user, together: threading.Barrier = together
        ) -> None:
            together.wait()
            remove(idp, user, totp_id)

        threads = [threading.Thread(target=attempt, args=(one,)) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (idp.count("totps"), idp.count("recovery_codes")) == (0, 0)
        assert idp.count("trusted_devices") == 0

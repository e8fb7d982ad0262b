import pytest

from idp import ids
from idp.clock import DAY, HOUR
from idp.errors import Refused
from idp.events.actor import Actor
from idp.users import trusted_devices
from idp.users.credentials import TrustedDevice
from idp.users.model import User
from tests.harness.provider import Idp

MINE = ids.digest("the cookie of my browser")
OTHER = ids.digest("the cookie of another browser")


@pytest.fixture
def alice(idp: Idp) -> User:
    return idp.person("alice")


def trust(
    idp: Idp, user: User, device_hash: str = MINE, name: str = "Firefox on Linux"
) -> TrustedDevice:
    with idp.work.begin() as unit:
        return trusted_devices.trust(
            unit, user, device_hash=device_hash, name=name, actor=Actor("user", user.id)
        )


def recognises(idp: Idp, user: User, device_hash: str | None = MINE) -> bool:
    with idp.work.begin() as unit:
        return trusted_devices.recognises(unit, user.id, device_hash)


def listed(idp: Idp, user: User) -> list[str]:
    with idp.work.read() as unit:
        return [one.name for one in trusted_devices.of(unit, user.id)]


def test_a_trusted_browser_is_recognised_and_its_use_noted(either_idp: Idp) -> None:
    idp = either_idp
    alice = idp.person("alice")
    assert not recognises(idp, alice)
    device = trust(idp, alice)
    idp.clock.advance(DAY)
    assert recognises(idp, alice)
    with idp.work.read() as unit:
        found = trusted_devices.one_of(unit, alice.id, device.id)
        assert found is not None
        assert (found.created_at, found.last_used_at) == (idp.clock.now() - DAY, idp.clock.now())
    [event] = idp.events("device.trusted")
    assert (event["user_id"], event["actor_id"]) == (alice.id, alice.id)


@pytest.mark.attack("MF-10")
def test_a_browser_is_trusted_by_one_person_only(idp: Idp, alice: User) -> None:
    """MF-10: trust of one person excuses nobody else who uses the browser."""
    bob = idp.person("bob")
    trust(idp, alice)
    assert not recognises(idp, bob)
    assert not recognises(idp, alice, OTHER)
    assert not recognises(idp, alice, "")
    assert not recognises(idp, alice, None)


def test_trust_lasts_its_days_and_is_then_as_if_gone(idp: Idp, alice: User) -> None:
    device = trust(idp, alice)
    lifetime = idp.settings.assurance.trusted_device_days * DAY
    idp.clock.advance(lifetime - 1)
    # Being used does not make it last longer.
    assert recognises(idp, alice)
    assert listed(idp, alice) == ["Firefox on Linux"]
    idp.clock.advance(1)
    assert not recognises(idp, alice)
    assert listed(idp, alice) == []
    with idp.work.begin() as unit:
        assert trusted_devices.one_of(unit, alice.id, device.id) is None
        assert trusted_devices.forget_all(unit, alice.id, Actor("user", alice.id)) == 0
    assert idp.events("device.forgotten") == []


def test_a_cookie_that_is_trusted_again_belongs_to_whom_trusted_it_last(
    idp: Idp, alice: User
) -> None:
    bob = idp.person("bob")
    trust(idp, alice)
    idp.clock.advance(29 * DAY)
    trust(idp, alice, name="Again")
    idp.clock.advance(29 * DAY)
    assert recognises(idp, alice)
    assert listed(idp, alice) == ["Again"]
    trust(idp, bob)
    assert recognises(idp, bob)
    assert not recognises(idp, alice)
    assert [one["user_id"] for one in idp.events("device.forgotten")] == [alice.id, alice.id]


def test_a_forgotten_browser_is_not_recognised(idp: Idp, alice: User) -> None:
    """ASVS 6.5.6: what excuses from a factor can be revoked."""
    device = trust(idp, alice)
    trust(idp, alice, OTHER, "Phone")
    for _ in range(2):
        with idp.work.begin() as unit:
            trusted_devices.forget(unit, device, Actor("user", alice.id))
    assert not recognises(idp, alice)
    assert recognises(idp, alice, OTHER)
    assert len(idp.events("device.forgotten")) == 1


def test_all_of_a_persons_browsers_are_forgotten_and_nobody_elses(idp: Idp, alice: User) -> None:
    bob = idp.person("bob")
    for number in range(3):
        trust(idp, alice, ids.digest(str(number)))
    trust(idp, bob)
    with idp.work.begin() as unit:
        assert trusted_devices.forget_all(unit, alice.id, Actor("admin", "cli")) == 3
    assert listed(idp, alice) == []
    assert recognises(idp, bob)
    assert [one["actor"] for one in idp.events("device.forgotten")] == ["admin"] * 3


def test_the_one_used_last_is_listed_first(idp: Idp, alice: User) -> None:
    trust(idp, alice, MINE, "Laptop")
    idp.clock.advance(HOUR)
    trust(idp, alice, OTHER, "Phone")
    assert listed(idp, alice) == ["Phone", "Laptop"]
    idp.clock.advance(HOUR)
    assert recognises(idp, alice)
    assert listed(idp, alice) == ["Laptop", "Phone"]


def test_a_device_is_named_and_only_by_what_can_be_seen(idp: Idp, alice: User) -> None:
    device = trust(idp, alice, name=" ")
    assert listed(idp, alice) == ["Browser"]
    with idp.work.begin() as unit:
        trusted_devices.rename(unit, device, "  Kitchen   tablet ", Actor("user", alice.id))
    assert listed(idp, alice) == ["Kitchen tablet"]
    for name in ("x" * 61, "\u202eevil"):
        with pytest.raises(Refused, match="invalid_label"), idp.work.begin() as unit:
            trusted_devices.rename(unit, device, name, Actor("user", alice.id))


def test_somebody_elses_device_is_not_found(idp: Idp, alice: User) -> None:
    device = trust(idp, alice)
    with idp.work.read() as unit:
        assert trusted_devices.one_of(unit, alice.id, device.id) is not None
        assert trusted_devices.one_of(unit, "usr_bob", device.id) is None


def test_what_expired_long_ago_is_deleted(idp: Idp, alice: User) -> None:
    trust(idp, alice)
    idp.clock.advance(2 * DAY)
    trust(idp, alice, OTHER, "Phone")
    idp.clock.advance(29 * DAY)
    with idp.work.begin() as unit:
        assert trusted_devices.forget_past(unit) == 1
        assert trusted_devices.forget_past(unit) == 0
    assert recognises(idp, alice, OTHER)
    assert idp.events("device.forgotten") == []

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.storage.vault import Vault
from idp.users import recovery_codes
from idp.users.model import User
from tests.harness.provider import Idp
from tests.harness.workbench import SECRET

ANOTHER_SECRET = "another secret for tests, also long enough"
CODE = "7f3k-9m2q-c4xt-0b8h"
USED = Authentication("recovery_code", ("otp",), "aal1")
typed_codes = st.text(recovery_codes.ALPHABET, min_size=16, max_size=16)


@pytest.fixture
def alice(idp: Idp) -> User:
    return idp.person("alice")


def make(idp: Idp, user: User) -> list[str]:
    with idp.work.begin() as unit:
        return recovery_codes.make(unit, user, Actor("user", user.id))


def burn(idp: Idp, user: User, code: str) -> Authentication | None:
    with idp.work.begin() as unit:
        return recovery_codes.burn(unit, user.id, code)


def left(idp: Idp, user: User) -> int:
    with idp.work.read() as unit:
        return recovery_codes.left(unit, user.id)


def test_ten_codes_are_made_of_sixteen_characters_in_groups_of_four(idp: Idp, alice: User) -> None:
    codes = make(idp, alice)
    assert len(set(codes)) == 10
    for code in codes:
        assert [len(group) for group in code.split("-")] == [4, 4, 4, 4]
        assert set(code) <= set(recovery_codes.ALPHABET) | {"-"}
    assert left(idp, alice) == 10
    [event] = idp.events("recovery_codes.made")
    assert (event["user_id"], event["actor_id"]) == (alice.id, alice.id)


def test_each_code_is_good_once(either_idp: Idp) -> None:
    """ASVS 6.5.1: look-up secrets are usable once."""
    idp = either_idp
    alice = idp.person("alice")
    for number, code in enumerate(make(idp, alice), start=1):
        assert burn(idp, alice, code) == USED
        assert burn(idp, alice, code) is None
        assert left(idp, alice) == 10 - number
    assert len(idp.events("recovery_codes.used")) == 10


def test_a_new_set_replaces_the_old_one_also_what_was_used_of_it(idp: Idp, alice: User) -> None:
    old = make(idp, alice)
    assert burn(idp, alice, old[0]) == USED
    new = make(idp, alice)
    assert left(idp, alice) == 10
    assert all(burn(idp, alice, code) is None for code in old)
    assert burn(idp, alice, new[9]) == USED


@pytest.mark.attack("MF-10")
def test_a_code_of_one_person_is_worth_nothing_for_another(idp: Idp, alice: User) -> None:
    """MF-10: the person is in the digest and in the condition."""
    bob = idp.person("bob")
    mine, theirs = make(idp, alice), make(idp, bob)
    assert burn(idp, bob, mine[0]) is None
    assert burn(idp, alice, theirs[0]) is None
    # Not even where the row was given to somebody else.
    idp.execute("UPDATE recovery_codes SET user_id = :bob", bob=bob.id)
    assert burn(idp, bob, mine[0]) is None
    assert burn(idp, bob, theirs[0]) == USED


@given(typed_codes, st.randoms(use_true_random=False))
def test_how_a_code_is_typed_does_not_matter(code: str, chance: object) -> None:
    pick = chance.choice  # type: ignore[attr-defined]
    alike = {"1": "1ilIL", "0": "0oO"}
    typed = "".join(
        pick(alike.get(one, one + one.upper())) + pick(["", "", " ", "-", "\u2013", "\u00a0"])
        for one in code
    )
    assert recovery_codes._normalised(typed) == code


@given(st.text(max_size=80))
def test_what_cannot_be_a_code_is_not_looked_up(typed: str) -> None:
    found = recovery_codes._normalised(typed)
    assert found is None or (len(found) == 16 and set(found) <= set(recovery_codes.ALPHABET))


@pytest.mark.parametrize(
    "wrong", ["", "-", CODE[:-1], CODE + "0", "u" * 16, "\ud800" * 16, "x" * 100_000, "%" * 16]
)
def test_what_is_no_code_burns_nothing(idp: Idp, alice: User, wrong: str) -> None:
    make(idp, alice)
    assert burn(idp, alice, wrong) is None
    assert left(idp, alice) == 10


def test_codes_survive_a_new_secret_key(idp: Idp, alice: User) -> None:
    codes = make(idp, alice)
    idp.work.vault = Vault(ANOTHER_SECRET, (SECRET,))
    assert burn(idp, alice, codes[0]) == USED
    assert burn(idp, alice, codes[0]) is None
    # A set that is made now needs the new key only.
    newer = make(idp, alice)
    idp.work.vault = Vault(ANOTHER_SECRET)
    assert burn(idp, alice, newer[0]) == USED


def test_without_the_secret_key_codes_cannot_be_checked(idp: Idp, alice: User) -> None:
    """ASVS 6.5.2: a copy of the database alone is worth nothing."""
    codes = make(idp, alice)
    idp.work.vault = Vault(ANOTHER_SECRET)
    assert all(burn(idp, alice, code) is None for code in codes)


def test_codes_are_evenly_random() -> None:
    """ASVS 6.5.3, 6.5.4: 10 000 codes, none twice, each character as frequent as the others."""
    codes = [recovery_codes.new_code().replace("-", "") for _ in range(10_000)]
    assert len(set(codes)) == 10_000
    for place in range(16):
        counts = Counter(code[place] for code in codes)
        expected = 10_000 / 32
        chi_square = sum(
            (counts[one] - expected) ** 2 / expected for one in recovery_codes.ALPHABET
        )
        # 31 degrees of freedom: an honest source passes this in all but one of 10^10 runs.
        assert chi_square < 115

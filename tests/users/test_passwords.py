import threading
import unicodedata
from contextlib import ExitStack
from random import Random

import argon2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from idp.errors import Refused, Unavailable
from idp.sections import PasswordSettings
from idp.settings import Settings
from idp.users import passwords
from idp.users.passwords import PasswordHasher, SecondFactor

CHEAP = PasswordSettings(memory_kib=8_192, time_cost=1, workers=2, queue=100)
SETTINGS = Settings(url="https://login.meadow.example", name="Meadow", secret_key="x" * 40)


@pytest.fixture(scope="module")
def hasher() -> PasswordHasher:
    return PasswordHasher(CHEAP)


def test_a_hash_is_argon2id_of_the_configured_cost(hasher: PasswordHasher) -> None:
    assert hasher.hash("correct horse").startswith("$argon2id$v=19$m=8192,t=1,p=1$")


def test_two_hashes_of_one_password_differ(hasher: PasswordHasher) -> None:
    assert hasher.hash("correct horse") != hasher.hash("correct horse")


def test_a_password_is_verified_exactly_as_it_was_received(hasher: PasswordHasher) -> None:
    password = "Correct Horse Battery Staple, 72 bytes and more: " + "x" * 50
    stored = hasher.hash(password)
    assert hasher.verify(stored, password)
    for other in (
        password[:72],
        password[:-1],
        password + " ",
        " " + password,
        password + "x",
        password.lower(),
        password.upper(),
        password + "\x00",
    ):
        assert not hasher.verify(stored, other)


def test_what_follows_a_null_character_counts(hasher: PasswordHasher) -> None:
    stored = hasher.hash("before\x00after")
    assert hasher.verify(stored, "before\x00after")
    assert not hasher.verify(stored, "before\x00other")
    assert not hasher.verify(stored, "before")


def test_composed_and_decomposed_letters_are_one_password(hasher: PasswordHasher) -> None:
    stored = hasher.hash(unicodedata.normalize("NFD", "schöne grüße"))
    assert hasher.verify(stored, unicodedata.normalize("NFC", "schöne grüße"))
    # NFC, not NFKC: a ligature is not the letters it shows.
    assert not hasher.verify(hasher.hash("ﬁnal answer"), "final answer")


@pytest.mark.parametrize("length", [64, 128, 256, 4_096])
def test_long_passwords_are_hashed_whole(hasher: PasswordHasher, length: int) -> None:
    stored = hasher.hash("x" * length)
    assert hasher.verify(stored, "x" * length)
    assert not hasher.verify(stored, "x" * (length - 1))


def test_an_oversized_new_password_is_refused_without_a_hash(hasher: PasswordHasher) -> None:
    before = hasher.computed
    for oversized in ("x" * 4_097, "ü" * 2_049, "x" * 5_000_000):
        with pytest.raises(Refused, match="invalid_password"):
            hasher.hash(oversized)
    assert hasher.computed == before


STORED = ["right", None, "", "garbage", "$2b$12$abc", "$argon2id$v=19$m=8192,t=1,p=1$c2FsdA$x"]
ATTEMPTS = ["right one", "wrong one", "", "\x00", "x" * 5_120, "ü" * 4_000, "\ud800", " "]


@pytest.mark.attack("BF-11")
@pytest.mark.parametrize("password", ATTEMPTS)
@pytest.mark.parametrize("stored", STORED)
def test_every_combination_costs_exactly_one_hash(
    hasher: PasswordHasher, stored: str | None, password: str
) -> None:
    known = hasher.hash("right one") if stored == "right" else stored
    before = hasher.computed
    assert hasher.verify(known, password) is (stored == "right" and password == "right one")
    assert hasher.computed == before + 1


def test_what_is_hashed_instead_of_an_oversized_password_opens_no_account(
    hasher: PasswordHasher,
) -> None:
    stored = hasher.hash(passwords._INSTEAD.decode())
    assert not hasher.verify(stored, "x" * 5_120)


@pytest.mark.attack("BF-11")
def test_the_hash_for_nobody_costs_what_a_real_one_does(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []
    real = argon2.low_level.verify_secret

    def watched(stored: bytes, secret: bytes, kind: argon2.Type) -> bool:
        verified.append(stored)
        return real(stored, secret, kind)

    monkeypatch.setattr(passwords, "verify_secret", watched)
    stored = hasher.hash("right one")
    hasher.verify(None, "anything")
    hasher.verify(stored, "x" * 10_000)
    for against in verified:
        assert argon2.extract_parameters(against.decode()) == argon2.extract_parameters(stored)


@pytest.mark.attack("DS-02")
@pytest.mark.parametrize("cost", ["m=1048576,t=1,p=1", "m=8192,t=1000000,p=1", "m=8192,t=1,p=255"])
def test_a_stored_hash_that_costs_too_much_is_not_computed(
    hasher: PasswordHasher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cost: str,
) -> None:
    verified: list[bytes] = []

    def watched(stored: bytes, secret: bytes, kind: argon2.Type) -> bool:
        verified.append(stored)
        raise argon2.exceptions.VerifyMismatchError

    monkeypatch.setattr(passwords, "verify_secret", watched)
    planted = f"$argon2id$v=19${cost}$c2FsdHNhbHRzYWx0$" + "A" * 43
    assert not hasher.verify(planted, "anything")
    assert len(verified) == 1
    assert b"m=8192,t=1,p=1" in verified[0]
    assert "costs too much" in caplog.text
    assert planted not in caplog.text


def test_hashes_of_other_argon2_profiles_are_verified_and_then_renewed(
    hasher: PasswordHasher,
) -> None:
    imported = argon2.PasswordHasher(time_cost=2, memory_cost=1_024, parallelism=2).hash("moved in")
    assert hasher.verify(imported, "moved in")
    assert hasher.needs_rehash(imported)
    assert not hasher.needs_rehash(hasher.hash("moved in"))


@pytest.mark.attack("DS-01")
def test_beyond_the_queue_the_answer_is_busy_at_once_and_no_more_run_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasher = PasswordHasher(PasswordSettings(workers=2, queue=3))
    entered = threading.Semaphore(0)
    release = threading.Event()
    running, most = 0, 0
    counting = threading.Lock()

    def slow(stored: bytes, secret: bytes, kind: argon2.Type) -> bool:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        entered.release()
        release.wait(10)
        with counting:
            running -= 1
        raise argon2.exceptions.VerifyMismatchError

    monkeypatch.setattr(passwords, "verify_secret", slow)
    outcomes: list[str] = []
    refused = threading.Event()

    def attempt() -> None:
        try:
            with hasher.place():
                outcomes.append(str(hasher.verify(None, "x")))
        except Unavailable as unavailable:
            outcomes.append(str(unavailable.status))
            if outcomes.count("503") == 15:
                refused.set()

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=10)
    assert entered.acquire(timeout=10)
    # 2 compute, 3 wait, the other 15 are told to come back while nothing has moved.
    assert refused.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert outcomes.count("503") == 15
    assert outcomes.count("False") == 5
    assert most == 2
    assert hasher.computed == 5
    # The places are free again.
    assert hasher.verify(None, "x") is False


ENROLLED: SecondFactor = "enrolled"


@pytest.mark.parametrize(
    "second_factor, least, configured",
    [("none", 15, {}), ("enrolled", 8, {}), ("none", 20, {"minimum_length": 20})],
)
@pytest.mark.parametrize(
    "letters",
    ["hq7wzkvbnxtjrcgmpsdf", "ôüéçñåøžšłđğıțșќўґѓњ", "龍鳳龜麟鶴鷹狼豹熊鹿𠀀𠀁𠀂𠀃𠀄𠀅𠀆𠀇𠀈𠀉"],
)
def test_length_is_counted_in_code_points_by_what_stands_beside_the_password(
    second_factor: SecondFactor, least: int, configured: dict[str, int], letters: str
) -> None:
    """ASVS 6.2.1, N-14: 15 alone, 8 beside a second factor, whatever bytes or forms they have."""
    settings = SETTINGS.model_copy(update={"password": PasswordSettings(**configured)})
    for form in ("NFC", "NFD"):
        long, short = (unicodedata.normalize(form, letters[:count]) for count in (least, least - 1))
        assert passwords.problem_with(long, settings, [], second_factor=second_factor) is None
        refused = passwords.problem_with(short, settings, [], second_factor=second_factor)
        assert refused == f"A password has at least {least} characters."


@pytest.mark.parametrize(
    "password, sentence",
    [
        ("", "at least 8 characters"),
        ("seven77", "at least 8 characters"),
        ("ü" * 7, "at least 8 characters"),
        ("u\u0308" * 7, "at least 8 characters"),  # seven letters, in whichever form
        ("x" * 4_097, "at most 4096 bytes"),
        ("password", "most used"),
        ("PassWord", "most used"),
        ("12345678", "most used"),
        ("iloveyou", "most used"),
        ("meadow12", "built on a name"),
        ("MEADOW-2026", "built on a name"),
        ("login.meadow.example", "built on a name"),
        ("annameier", "built on a name"),
        ("annameier1!", "built on a name"),
        ("annameier+annameier", "built on a name"),
        ("anna@mail.example", "built on a name"),
        ("aaaaaaa!", "too easy to guess"),
        ("x" * 256, "too easy to guess"),
        ("P@$$w0rd1", "too easy to guess"),
        ("qwertyuiop[]", "too easy to guess"),
        ("abcdefghijklmnop", "too easy to guess"),
        ("drowssap1990", "too easy to guess"),
    ],
)
def test_a_weak_new_password_is_refused_with_its_reason(password: str, sentence: str) -> None:
    """ASVS 6.2.4, 6.2.11; NIST N-14."""
    words = ["annameier", "anna@mail.example"]
    problem = passwords.problem_with(password, SETTINGS, words, second_factor=ENROLLED)
    assert problem is not None
    assert sentence in problem


@pytest.mark.parametrize(
    "password",
    [
        "tr0ub4dor and three",
        "susannameier likes meadows a lot",
        "ⅷ ⅸ ⅹ ⅺ ⅻ ⅼ ⅽ",
        "🐎🔋📎✅🎷🪁🧂🪵",
        "correct horse battery staple",
        "nur kleine buchstaben",
        "        x       ",
        "one sentence that is used as a password " * 6,
    ],
)
def test_a_password_without_digits_capitals_or_signs_is_as_good(password: str) -> None:
    words = ["annameier"]
    assert passwords.problem_with(password, SETTINGS, words, second_factor=ENROLLED) is None


GUESSED = "This password is too easy to guess; please choose another."


@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=16, max_size=64))
def test_no_composition_rule_refuses_a_long_password(password: str) -> None:
    """ASVS 6.2.5: whatever it is made of, only being guessed soon is a reason."""
    assume(len(unicodedata.normalize("NFC", password)) >= 16)
    assume("meadow" not in password.casefold())
    assert passwords.problem_with(password, SETTINGS, ["annameier"]) in (None, GUESSED)


@given(
    st.sampled_from(["qhxzvkwj", "QHXZVKWJ", "7294", "龍鳳龜麟鶴", "~^#;", "αβγδεζ", "🐎🔋📎✅"]),
    st.randoms(use_true_random=False),
)
def test_letters_of_one_kind_alone_make_a_good_password(alphabet: str, draw: Random) -> None:
    """ASVS 6.2.5: drawn by chance from one kind of character, nothing else is asked for."""
    password = "".join(draw.choice(alphabet) for _ in range(40))
    assume(len({password[start : start + 4] for start in range(37)}) > 12)
    assert passwords.problem_with(password, SETTINGS, ["annameier"]) is None


def test_the_list_of_common_passwords_has_three_thousand_that_the_length_rule_lets_through() -> (
    None
):
    """ASVS 6.2.4: at the least length a deployment can have, and the list itself says so."""
    listed = passwords._common()
    assert len(listed) >= 3_000
    assert all(len(one) >= 8 and one == one.casefold() for one in listed)
    for one in sorted(listed)[:: len(listed) // 200]:
        problem = passwords.problem_with(one, SETTINGS, [], second_factor=ENROLLED)
        assert problem is not None
        assert "most used" in problem


def test_some_places_are_kept_for_people_on_devices_they_signed_in_on_before() -> None:
    """DS-01: a flood that takes every common place does not keep them out."""
    hasher = PasswordHasher(PasswordSettings(workers=1, queue=2))
    with ExitStack() as flood:
        for _ in range(3):
            flood.enter_context(hasher.place("anybody"))
        with pytest.raises(Unavailable):
            flood.enter_context(hasher.place("anybody"))
        for _ in range(2):
            flood.enter_context(hasher.place("known"))
        with pytest.raises(Unavailable):
            flood.enter_context(hasher.place("known"))
    with hasher.place("anybody"):
        pass

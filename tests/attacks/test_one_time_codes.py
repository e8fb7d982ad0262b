"""Codes of a second factor (attack groups MF and BF): app codes, recovery codes, their counters."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pyotp
import pytest
import sqlalchemy as sa

from idp.errors import Refused
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.sessions import prove
from idp.users import queries, recovery_codes, throttle, totp
from idp.users.model import User
from idp.users.throttle import Refusal
from tests.harness.provider import Idp

Result = TypeVar("Result")
Check = Callable[..., Authentication | None]
AT_ONCE = 20


def actor(user: User) -> Actor:
    return Actor("user", user.id)


def enrol(idp: Idp, user: User, secret: str, code: str) -> None:
    with idp.work.begin() as unit:
        totp.enrol(unit, user, secret=secret, code=code, name="", actor=actor(user))


def add_app(idp: Idp, user: User) -> str:
    """Gives the secret of an app that was added; the code that added it is out of its window."""
    secret = totp.propose(idp.settings, user).secret
    enrol(idp, user, secret, shown(idp, secret))
    idp.clock.advance(10 * totp.PERIOD)
    return secret


def shown(idp: Idp, secret: str) -> str:
    return pyotp.TOTP(secret).generate_otp(idp.clock.now() // totp.PERIOD)


def make_codes(idp: Idp, user: User) -> list[str]:
    with idp.work.begin() as unit:
        return recovery_codes.make(unit, user, actor(user))


def check(idp: Idp, how: Check, user: User, code: str) -> Authentication | None:
    with idp.work.begin() as unit:
        return how(unit, user.id, code)


def at_once(number: int, attempt: Callable[[int], Result]) -> list[Result]:
    """What so many threads got that began together."""
    together = threading.Barrier(number)
    results: list[Result] = []

    def one(which: int) -> None:
        together.wait()
        results.append(attempt(which))

    threads = [threading.Thread(target=one, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == number
    return results


# --- Replay ---------------------------------------------------------------------------------


@pytest.mark.attack("MF-05")
def test_a_replayed_code_is_refused(either_idp: Idp) -> None:
    """MF-05: of one code that comes again and again, the first is taken. ASVS 6.5.1."""
    idp = either_idp
    alice = idp.person()
    code = shown(idp, add_app(idp, alice))
    recovery = make_codes(idp, alice)[0]
    for how, typed in ((totp.verify, code), (recovery_codes.burn, recovery)):
        outcomes = [check(idp, how, alice, typed) for _ in range(5)]
        assert [one is not None for one in outcomes] == [True] + [False] * 4


@pytest.mark.attack("MF-05")
def test_of_twenty_with_one_code_exactly_one_gets_in(either_idp: Idp) -> None:
    """MF-05: twenty at once are one. ASVS 6.5.1."""
    idp = either_idp
    alice = idp.person()
    code = shown(idp, add_app(idp, alice))
    recovery = make_codes(idp, alice)[0]
    for how, typed in ((totp.verify, code), (recovery_codes.burn, recovery)):
        outcomes = at_once(AT_ONCE, lambda _, how=how, typed=typed: check(idp, how, alice, typed))
        assert sum(one is not None for one in outcomes) == 1
    [used] = idp.events("recovery_codes.used")
    assert used["user_id"] == alice.id


@pytest.mark.attack("MF-05")
def test_ten_codes_at_once_are_ten_uses_and_none_is_lost(either_idp: Idp) -> None:
    """MF-05: codes of one person that are used side by side are counted each."""
    idp = either_idp
    alice = idp.person()
    codes = make_codes(idp, alice)
    outcomes = at_once(
        AT_ONCE, lambda which: check(idp, recovery_codes.burn, alice, codes[which // 2])
    )
    assert sum(one is not None for one in outcomes) == 10
    with idp.work.read() as unit:
        assert recovery_codes.left(unit, alice.id) == 0


@pytest.mark.attack("MF-05")
def test_of_sets_that_are_made_at_once_one_is_good(either_idp: Idp) -> None:
    """MF-05: two tabs that both ask for new codes do not leave twenty."""
    idp = either_idp
    alice = idp.person()
    sets = at_once(6, lambda _: make_codes(idp, alice))
    assert idp.count("recovery_codes") == 10
    good = [check(idp, recovery_codes.burn, alice, codes[0]) is not None for codes in sets]
    assert sum(good) == 1


@pytest.mark.attack("MF-05")
def test_a_form_that_is_sent_twice_adds_one_app(either_idp: Idp) -> None:
    """MF-05: one secret in two rows would take each of its codes twice."""
    idp = either_idp
    alice = idp.person()
    secret = totp.propose(idp.settings, alice).secret

    def add(_: int) -> str:
        try:
            enrol(idp, alice, secret, shown(idp, secret))
        except Refused as refused:
            return refused.code
        return "added"

    assert sorted(at_once(6, add)) == ["added"] + ["already_added"] * 5
    assert idp.count("totps") == 1


# --- Nothing tells a code -------------------------------------------------------------------


@pytest.mark.attack("MF-07")
def test_no_code_or_secret_is_in_a_log_an_event_or_the_database(
    either_idp: Idp, caplog: pytest.LogCaptureFixture
) -> None:
    """MF-07: what proves somebody is told to nobody. ASVS 6.5.2: look-up secrets are kept hashed."""
    idp = either_idp
    alice = idp.person()
    with caplog.at_level(logging.DEBUG):
        secret = add_app(idp, alice)
        recovery = make_codes(idp, alice)
        right, wrong = shown(idp, secret), "000001"
        assert check(idp, totp.verify, alice, right) is not None
        told = [check(idp, totp.verify, alice, code) for code in (right, wrong)]
        told += [check(idp, recovery_codes.burn, alice, code) for code in recovery[:2] * 2]
        said = []
        for code in ("", "0", wrong):
            another = totp.propose(idp.settings, alice).secret
            with pytest.raises(Refused) as caught:
                enrol(idp, alice, another, code)
            said.append(f"{caught.value} {caught.value.detail}")
            assert another not in said[-1]
    canaries = [secret, right, wrong]
    canaries += [form for code in recovery for form in (code, code.replace("-", ""))]
    places = {
        "log": caplog.text + " ".join(str(record.args) for record in caplog.records),
        "answers": repr(told),
        "refusals": " ".join(said),
        **{f"table {name}": rows for name, rows in dump(idp).items()},
    }
    for place, text in places.items():
        # Six digits may stand by chance in ids and times, so only whole words are looked for.
        words = set(text.replace("'", " ").replace('"', " ").replace(",", " ").split())
        for canary in canaries:
            assert canary not in words, (place, canary)
            assert len(canary) == 6 or canary not in text, (place, canary)


def dump(idp: Idp) -> dict[str, str]:
    with idp.work.read() as unit:
        names = sa.inspect(unit.connection).get_table_names()
        return {
            name: repr(
                [tuple(row) for row in unit.connection.execute(sa.text(f"SELECT * FROM {name}"))]
            )
            for name in names
        }


@pytest.mark.attack("MF-07")
def test_a_wrong_a_used_and_a_foreign_code_are_answered_alike(idp: Idp) -> None:
    """MF-07: the answer is yes or no; why not, and how near, is not in it."""
    alice, bob = idp.person("alice"), idp.person("bob")
    mine, theirs = add_app(idp, alice), add_app(idp, bob)
    used = shown(idp, mine)
    check(idp, totp.verify, alice, used)
    burnt = make_codes(idp, alice)[0]
    check(idp, recovery_codes.burn, alice, burnt)
    answers: list[Any] = [
        check(idp, totp.verify, alice, code)
        for code in (used, shown(idp, theirs), "", "x", "1" * 10_000, burnt)
    ]
    answers += [
        check(idp, recovery_codes.burn, alice, code) for code in (burnt, "", used, "\ud800")
    ]
    assert answers == [None] * len(answers)


# --- Guessing -------------------------------------------------------------------------------


def try_code(idp: Idp, user: User, how: Check, code: str, *, ip: str = "192.0.2.1") -> str:
    """One try as sign-in and step-up make it: counted first, then looked at."""
    with idp.work.begin() as unit:
        kind: prove.Code = "totp" if how is totp.verify else "recovery_code"
        counted = throttle.reserve_code(unit, user_id=user.id, ip=ip, device=None, kind=kind)
    if isinstance(counted, Refusal):
        return "refused"
    with idp.work.begin() as unit:
        if how(unit, user.id, code) is None:
            return "wrong"
        throttle.succeeded(unit, counted)
        return "right"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every code that was compared with anything."""
    seen: list[str] = []
    for module, name in ((totp, "_digits"), (recovery_codes, "_normalised")):
        real = getattr(module, name)

        def noting(typed: str, real: Callable[[str], str | None] = real) -> str | None:
            seen.append(typed)
            return real(typed)

        monkeypatch.setattr(module, name, noting)
    return seen


@pytest.mark.attack("BF-01")
def test_no_more_codes_are_looked_at_than_the_limit_allows(
    either_idp: Idp, looked_at: list[str]
) -> None:
    """BF-01: five tries of each kind a window; the right one is refused after them."""
    idp = either_idp
    limit = idp.settings.throttle.per_account_codes
    alice = idp.person()
    secret = add_app(idp, alice)
    recovery = make_codes(idp, alice)
    looked_at.clear()
    answers = [
        try_code(idp, alice, how, code, ip=f"192.0.2.{number}")
        for number, (how, code) in enumerate(
            [(totp.verify, "000000"), (recovery_codes.burn, "0" * 16)] * 10
        )
    ]
    assert answers == ["wrong"] * 2 * limit + ["refused"] * (20 - 2 * limit)
    assert try_code(idp, alice, totp.verify, shown(idp, secret)) == "refused"
    assert try_code(idp, alice, recovery_codes.burn, recovery[0]) == "refused"
    assert len(looked_at) == 2 * limit
    # No failed try cost a code.
    idp.clock.advance(idp.settings.throttle.window * 1_000_000)
    assert try_code(idp, alice, totp.verify, shown(idp, secret)) == "right"
    assert try_code(idp, alice, recovery_codes.burn, recovery[0]) == "right"


@pytest.mark.attack("BF-02")
def test_tries_side_by_side_do_not_pass_the_limit(either_idp: Idp, looked_at: list[str]) -> None:
    """BF-02: sixty at once, the right code among them, are five."""
    idp = either_idp
    limit = idp.settings.throttle.per_account_codes
    alice = idp.person()
    add_app(idp, alice)
    looked_at.clear()
    answers = at_once(
        60,
        lambda number: try_code(idp, alice, totp.verify, f"{number:06}", ip=f"192.0.2.{number}"),
    )
    assert len(looked_at) == limit
    assert answers.count("refused") == 60 - limit


@pytest.mark.attack("BF-04")
def test_codes_are_counted_for_the_person_whatever_name_led_to_them(idp: Idp) -> None:
    """BF-04: user name and address, however spelled, share one count."""
    limit = idp.settings.throttle.per_account_codes
    alice = idp.person("alice")
    add_app(idp, alice)
    answers = []
    for name in (
        "alice",
        "ALICE",
        "alice@example.com",
        "Alice@EXAMPLE.com",
        "ａｌｉｃｅ",
        " alice ",
    ):
        with idp.work.read() as unit:
            found = queries.by_identifier(unit, name)
        assert found is not None
        answers.append(try_code(idp, found, totp.verify, "000000"))
    assert answers == ["wrong"] * limit + ["refused"]
    assert len([key for key in counters(idp) if key.startswith("totp:")]) == 1


@pytest.mark.attack("BF-07")
def test_who_has_no_password_cannot_spend_the_owners_codes(idp: Idp) -> None:
    """BF-07: wrong passwords and floods of an address leave the count of codes alone."""
    alice = idp.person()
    secret = add_app(idp, alice)
    for number in range(150):
        with idp.work.begin() as unit:
            throttle.reserve(
                unit, user_id=alice.id, name_key="alice", ip="198.51.100.7", device=None
            )
        if number % 10 == 0:
            assert "totp:" + alice.id not in counters(idp)
    assert try_code(idp, alice, totp.verify, shown(idp, secret), ip="198.51.100.7") == "refused"
    assert "totp:" + alice.id not in counters(idp)
    assert try_code(idp, alice, totp.verify, shown(idp, secret)) == "right"


@pytest.mark.attack("BF-08")
def test_counts_survive_a_flush_and_a_restart(idp: Idp) -> None:
    """BF-08: what may be lost at any time holds no count."""
    limit = idp.settings.throttle.per_account_codes
    alice = idp.person()
    secret = add_app(idp, alice)
    for _ in range(limit):
        assert try_code(idp, alice, totp.verify, "000000") == "wrong"
        idp.app.provider.store.flush()
    again = Idp(idp.settings, idp.clock)
    try:
        again.app.provider.store.flush()
        assert try_code(again, alice, totp.verify, shown(idp, secret)) == "refused"
    finally:
        again.close()


def counters(idp: Idp) -> dict[str, int]:
    with idp.work.read() as unit:
        rows = unit.connection.execute(sa.text("SELECT key, count FROM throttles"))
        return {row[0]: row[1] for row in rows}

"""Factors at one moment: what may be used once is used once, and nobody ends up without any way in."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.bench.wire import Answer
from tests.harness.authenticator import Authenticator, base64url
from tests.harness.deployment import Deployment
from tests.harness.enrolled_at import Person, outcome, person
from tests.harness.load_clients import Browser, Burst, burst
from tests.harness.provider import PASSWORD
from tests.races.conftest import LONGER, Deploy

Say = Callable[[str], None]
AT_ONCE = 20
ROUNDS = 3 * LONGER
CHANGES = 8 * LONGER
_RUNNING = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"
SECURITY = "/account/security"


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    """Twenty codes may be tried, so that it is not their number that stops them."""
    made = deploy(IDP_THROTTLE__PER_ACCOUNT_CODES="20")
    made.limit_sessions(1_000)
    return made


def sessions(deployment: Deployment) -> int:
    return int(deployment.scalar("SELECT count(*) FROM sessions"))


def require_one_in(made: Burst, number: int) -> None:
    """One was signed in; the others were refused, or sent back to the beginning."""
    outcomes = Counter(outcome(one) for one in made.answers)
    assert outcomes["in"] == 1
    assert outcomes["again"] + outcomes["403"] == number - 1, outcomes


def twenty(one: Person, method: str, code: str, *, pages: str) -> list[bytes]:
    """Requests that all bring one code: by one form many times, or each by a form of its own."""
    browsers = [one.on.browser() for _ in range(AT_ONCE if pages == "own" else 1)]
    shown = [one.after_password(browser) for browser in browsers]
    requests = [
        one.showing(browser, page, method, code)
        for browser, page in zip(browsers, shown, strict=True)
    ]
    return requests * (AT_ONCE // len(requests))


@pytest.mark.attack("MF-05")
@pytest.mark.parametrize("pages", ["own", "same"])
@pytest.mark.parametrize("method", ["totp", "recovery_code"])
def test_of_twenty_that_bring_one_code_at_once_one_gets_a_session(
    deployment: Deployment, method: str, pages: str, say: Say
) -> None:
    """MF-05: in twenty browsers that all know the password, and twenty times from one form."""
    alice = person(deployment, "alice").with_totp()
    for round_ in range(1, ROUNDS + 1):
        alice.renew()
        code = alice.code() if method == "totp" else alice.codes[round_]
        made = burst(deployment.ports, twenty(alice, method, code, pages=pages))
        require_one_in(made, AT_ONCE)
        assert sessions(deployment) == round_
        used = deployment.scalar("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL")
        assert used == (round_ if method == "recovery_code" else 0)
    say(f"{method}, {pages} forms: n={ROUNDS}x{AT_ONCE}, sessions {ROUNDS}")


@pytest.mark.attack("MF-05")
def test_of_eight_codes_that_one_form_brings_at_once_one_is_used_up(deployment: Deployment) -> None:
    """A sign-in is finished once: the other codes are still there for the next one."""
    for round_ in range(1, ROUNDS + 1):
        alice = person(deployment, f"alice{round_}").with_totp()
        browser = deployment.browser()
        page = alice.after_password(browser)
        requests = [alice.showing(browser, page, "recovery_code", code) for code in alice.codes[:8]]
        made = burst(deployment.ports, requests)
        require_one_in(made, 8)
        assert sessions(deployment) == round_
        used = "SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL"
        assert deployment.scalar(used) == round_


@pytest.mark.attack("BF-02")
def test_of_twenty_wrong_codes_at_once_five_are_looked_at(deploy: Deploy) -> None:
    """BF-02: the attempt is counted before the code is looked at, in any number of browsers."""
    deployment = deploy()
    alice = person(deployment, "alice").with_totp()
    made = burst(deployment.ports, twenty(alice, "totp", "abcdef", pages="own"))
    assert Counter(made.statuses) == {403: 5, 429: AT_ONCE - 5}
    assert deployment.count_events("login.failed") == 5
    assert sessions(deployment) == 0


@pytest.mark.attack("MF-16")
def test_of_one_assertion_that_comes_twenty_times_one_is_taken(
    deployment: Deployment, say: Say
) -> None:
    """MF-16: and the others do not look like a copy of the passkey."""
    alice = person(deployment, "alice")
    device = alice.with_passkey()
    for round_ in range(1, ROUNDS + 1):
        browser = deployment.browser()
        made = burst(deployment.ports, [alice.with_key(browser, device)] * AT_ONCE)
        assert Counter(made.statuses) == {303: 1, 400: AT_ONCE - 1}
        assert sessions(deployment) == round_
    assert deployment.scalar("SELECT count(*) FROM passkeys WHERE suspended_at IS NULL") == 1
    say(f"passkey: n={ROUNDS}x{AT_ONCE}, sessions {ROUNDS}, suspended 0")


def removing(browser: Browser, kind: str, factor_id: str) -> bytes:
    """The bytes that remove a factor, in a session that has just proved everything."""
    path = f"{SECURITY}/{kind}/{factor_id}/remove"
    page = browser.get(path)
    assert page.status == 200, page
    return browser.posting(path, page.hidden_fields())


def test_the_last_two_passkeys_that_are_removed_at_once_leave_one(
    deployment: Deployment, say: Say
) -> None:
    """Each from a session that the other one proved; nobody has locked themselves out."""
    outcomes: Counter[int] = Counter()
    for round_ in range(ROUNDS):
        bob = person(deployment, f"bob{round_}")
        keys = [bob.with_passkey() for _ in range(2)]
        bob.without_password()
        mine = [
            str(row["id"])
            for row in deployment.rows(
                "SELECT id FROM passkeys WHERE user_id = :id ORDER BY created_at", id=bob.id
            )
        ]
        browsers = [bob.signed_in_with_key(key) for key in reversed(keys)]
        requests = [
            removing(browser, "passkeys", one) for browser, one in zip(browsers, mine, strict=True)
        ]
        made = burst(deployment.ports, requests * 5)
        outcomes.update(made.statuses)
        assert set(made.statuses) <= {200, 303, 403, 404, 409}, made.statuses
        left = deployment.rows("SELECT credential_id FROM passkeys WHERE user_id = :id", id=bob.id)
        assert len(left) == 1
        assert deployment.count_events("factor.removed") == round_ + 1
        # And it is a way in.
        bob.signed_in_with_key(by_id(keys, str(left[0]["credential_id"])))
    say(f"last two passkeys: n={ROUNDS}x10, answers {dict(outcomes)}, locked out 0")


def by_id(keys: list[Authenticator], credential_id: str) -> Authenticator:
    return next(key for key in keys if base64url(key.credential_id) == credential_id)


def test_the_last_two_second_factors_that_are_removed_at_once_leave_nothing_behind(
    deployment: Deployment,
) -> None:
    """The later sees both gone: no recovery code stays to come back to life with the next factor."""
    for round_ in range(ROUNDS):
        bob = person(deployment, f"bob{round_}").with_totp()
        device = bob.with_passkey()
        # Each is removed in a session that it proved itself: the other's removal takes nothing away.
        by_code, by_key = deployment.browser(), bob.signed_in_with_key(device)
        page = bob.after_password(by_code)
        by_code.keep(by_code.wire.exchange(bob.showing(by_code, page, "totp", bob.code())))
        requests = []
        for browser, kind, table in (
            (by_code, "totp", "totps"),
            (by_key, "passkeys", "passkeys"),
        ):
            [row] = deployment.rows(f"SELECT id FROM {table} WHERE user_id = :id", id=bob.id)
            requests.append(removing(browser, kind, str(row["id"])))
        made = burst(deployment.ports, requests * 5)
        assert set(made.statuses) <= {200, 303, 403, 404, 409}, made.statuses
        for table in ("passkeys", "totps", "recovery_codes"):
            count = f"SELECT count(*) FROM {table} WHERE user_id = :id"
            assert deployment.scalar(count, id=bob.id) == 0, table
        # The password is all there is, and it is enough.
        deployment.signed_in(f"bob{round_}")


@pytest.mark.attack("SE-10")
def test_a_password_change_ends_every_sign_in_that_is_under_way_with_the_old_one(
    deployment: Deployment, say: Say
) -> None:
    """What committed before it ended with it; what came after was refused, and used up no code."""
    before, answers, on = 0, list[Answer](), deployment.ask
    for round_ in range(CHANGES):
        alice = person(deployment, f"alice{round_}").with_totp()
        device = alice.with_passkey()
        changer = alice.signed_in_with_key(device)
        page = changer.get(f"{SECURITY}/password")
        assert page.status == 200, page
        change = changer.posting(
            f"{SECURITY}/password",
            page.hidden_fields()
            | {
                "current_password": PASSWORD,
                "new_password": "an entirely new password 1",
                "others": "keep_this",
            },
        )
        browsers = [deployment.browser() for _ in range(9)]
        pages = [alice.after_password(browser) for browser in browsers]
        codes = [
            alice.showing(browser, page, "recovery_code", code)
            for browser, page, code in zip(browsers, pages, alice.codes, strict=False)
        ]
        late = codes.pop()
        # The change takes two hashes: sign-ins that begin a little later meet it anywhere in it.
        changing = threading.Thread(target=lambda change=change: answers.append(on(change)))
        changing.start()
        time.sleep(0.004 * round_)
        made = burst(deployment.ports, codes)
        changing.join()
        assert answers.pop().status == 303
        outcomes = Counter(outcome(one) for one in made.answers)
        assert outcomes.keys() <= {"in", "again", "403"}
        signed_in = outcomes["in"]
        before += signed_in
        mine = {"id": alice.id}
        running = f"{_RUNNING} AND user_id = :id"
        assert deployment.scalar(running, **mine) == 1
        used = "SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL AND user_id = :id"
        assert deployment.scalar(used, **mine) == signed_in
        assert outcome(deployment.ask(late)) in ("again", "403")
        assert deployment.scalar(used, **mine) == signed_in
        assert deployment.scalar(running, **mine) == 1
    say(f"password change: n={CHANGES}x8 sign-ins under way, {before} came first; left running 0")

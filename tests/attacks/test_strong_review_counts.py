"""What a review of strong sign-in found, each kept as a test: counts, and locks."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response

from idp.clock import DAY, MINUTE
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, passkeys
from idp.web.factor_changes import changing
from tests.attacks.test_strong_review import asked, at_home, ends, passkey_of, show, sign_out
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import Flow, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.html import Page

# --- counts that must not keep the owner out (H3, M8) ---------------------------------------------


@pytest.fixture
def counted(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider whose long counts are full after ten wrong tries."""
    limits = {"per_account_ever": 10, "per_account": 5, "per_account_codes": 5}
    url = templates.sqlite(tmp_path / "counted.db")
    made = Idp(settings_for(url, throttle=limits), clock)
    yield made
    made.close()


@pytest.fixture
def alice(counted: Idp) -> Factors:
    return with_totp(counted, counted.person("alice"))


def wrong_codes(idp: Idp, number: int) -> Response:
    """A stranger who knows the password tries digits, as many as each window allows."""
    stranger = idp.browser()
    response = None
    for tried in range(number):
        if tried % 5 == 0 and tried:
            idp.clock.advance(16 * MINUTE)
        response = show(stranger, asked(stranger), "totp", "000000")
    assert response is not None
    return response


@pytest.mark.attack("BF-07")
def test_wrong_digits_from_elsewhere_leave_recovery_codes_alone(
    counted: Idp, alice: Factors
) -> None:
    """BF-07: whoever knows the password types wrong digits, and no recovery code is taken."""
    for _ in range(7):
        stranger = counted.browser()
        last = show(stranger, asked(stranger), "totp", "000000")
    assert last.status_code == 429
    owner = counted.browser()
    assert show(owner, asked(owner), "recovery_code", alice.codes[0]).status_code == 303


@pytest.mark.attack("BF-07")
def test_wrong_digits_from_elsewhere_leave_a_known_device_alone(
    counted: Idp, alice: Factors
) -> None:
    """BF-07: whoever knows the password types wrong digits, and the owner's laptop is kept out."""
    owner = counted.browser()
    assert show(owner, asked(owner), "totp", alice.code()).status_code == 303
    sign_out(owner)
    wrong_codes(counted, 11)
    stranger = counted.browser()
    assert show(stranger, asked(stranger), "totp", alice.code()).status_code == 429
    assert show(owner, asked(owner), "totp", alice.code()).status_code == 303
    # The laptop's own tries are counted all the same.
    sign_out(owner)
    statuses = [show(owner, asked(owner), "totp", "000000").status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]


@pytest.mark.attack("BF-07")
def test_a_recovery_code_forgets_the_month_of_wrong_digits(counted: Idp, alice: Factors) -> None:
    """BF-07: after a month's worth of wrong digits the owner's app is refused for the month."""
    wrong_codes(counted, 11)
    counted.clock.advance(DAY)
    owner = counted.browser()
    refused = show(owner, asked(owner), "totp", alice.code())
    assert refused.status_code == 429
    assert "recovery code" in Page(refused).text
    assert show(owner, asked(owner), "recovery_code", alice.codes[0]).status_code == 303
    counted.clock.advance(16 * MINUTE)
    phone = counted.browser()
    assert show(phone, asked(phone), "totp", alice.code()).status_code == 303


@pytest.mark.attack("BF-01")
def test_a_known_device_does_not_guess_without_end(counted: Idp) -> None:
    """BF-01: whoever sits at a browser its owner once used guesses passwords week after week."""
    counted.person("alice")
    browser = counted.browser()
    assert at_home(browser).status_code == 303
    sign_out(browser)
    looked_at = 0
    for _ in range(8):
        for _ in range(3):
            looked_at += at_home(browser, password="not this one").status_code == 403
        counted.clock.advance(16 * MINUTE)
    assert looked_at == 10


@pytest.mark.attack("BF-07")
def test_a_browser_that_was_turned_out_is_no_known_device(counted: Idp) -> None:
    """BF-07: a thief whose session was disowned guesses on by the count of a known device."""
    counted.person("alice")
    thief, owner = counted.browser(), counted.browser()
    assert at_home(thief).status_code == 303
    (session_id,) = ends(counted)
    assert at_home(owner).status_code == 303
    counted.end(session_id, reason="disowned")
    stranger = counted.browser()
    for _ in range(6):
        at_home(stranger, password="not this one")
    assert at_home(stranger).status_code == 429
    for browser in (thief, owner):
        sign_out(browser)
    assert at_home(owner).status_code == 303
    assert at_home(thief).status_code == 429


# --- locks (M5) -----------------------------------------------------------------------------------


@pytest.fixture
def served(templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider on PostgreSQL."""
    with templates.postgres() as url:
        made = Idp(settings_for(url), clock)
        yield made
        made.close()


@pytest.mark.postgres
@pytest.mark.attack("OP-10")
@pytest.mark.parametrize("holding", ["changing", "hold"])
def test_an_app_need_not_wait_for_a_change_of_factors(served: Idp, holding: str) -> None:
    """OP-10: whoever keeps a change of factors open keeps every app of that person waiting."""
    user, app = served.person("alice"), served.register()
    # Proved enough for changing factors also while there is a passkey.
    proved = [BY_PASSWORD, Authentication("totp", ("otp",), "aal1")]
    started = served.session(user, proved=proved)
    visitor: Any = SimpleNamespace(user=user, session=started.session)
    hold: dict[str, Callable[[UnitOfWork], Any]] = {
        "changing": lambda unit: changing(unit, visitor, "change_factors"),
        "hold": lambda unit: factors.hold(unit, user.id),
    }
    answered = threading.Event()
    browser, flow = served.signed_in_browser(started), Flow(app)

    def ask() -> None:
        if "code" in served.authorize(browser, flow.parameters()):
            answered.set()

    asking = threading.Thread(target=ask)
    with served.work.begin() as unit:
        hold[holding](unit)
        asking.start()
        was_answered = answered.wait(5)
    asking.join()
    assert was_answered


@pytest.mark.postgres
@pytest.mark.attack("OP-10")
def test_factors_and_apps_do_not_lock_each_other_out(served: Idp) -> None:
    """OP-10: factors are changed while apps are signed in to, and one of the two is refused."""
    user, app = served.person("alice"), served.register()
    # Proved enough for changing factors also while there is a passkey.
    proved = [BY_PASSWORD, Authentication("totp", ("otp",), "aal1")]
    started = served.session(user, proved=proved)
    visitor: Any = SimpleNamespace(user=user, session=started.session)
    until, seen = time.monotonic() + 3, Counter[str]()

    def use_apps() -> None:
        browser = served.signed_in_browser(started)
        while time.monotonic() < until:
            response = browser.get("/authorize?" + urlencode(Flow(app).parameters()))
            seen[f"app {response.status_code}"] += 1

    def change_factors() -> None:
        while time.monotonic() < until:
            key = with_passkey(served, user)
            with served.work.begin() as unit:
                changing(unit, visitor, "change_factors")
                passkeys.remove(unit, passkey_of(unit, user), Actor("user", started.session.id))
            assert key is not None
            seen["change"] += 1

    # Threads end with what they raise; what they did not do is counted.
    failed: list[BaseException] = []

    def noting(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:
                failed.append(error)

        return run

    works = (use_apps, use_apps, change_factors)
    threads = [threading.Thread(target=noting(work)) for work in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert set(seen) == {"app 303", "change"}
    with served.work.read() as unit:
        deadlocks = unit.connection.exec_driver_sql(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).scalar()
    assert deadlocks == 0
    assert seen["change"] > 5

"""Ending every session, or all the others, which needs a fresh proof (row T5)."""

import pytest

from idp.clock import MINUTE, SECOND
from idp.users.model import User
from idp.web.account import SELECTED
from tests.flows.pages import Person
from tests.harness.enrolled import with_totp
from tests.harness.provider import PASSWORD, Idp
from tests.web.html import Page

STALE = 301 * SECOND


@pytest.fixture
def user(idp: Idp) -> User:
    return idp.person("alice")


@pytest.fixture
def alice(idp: Idp, user: User) -> Person:
    """Signed in, at her sessions, with another session elsewhere."""
    idp.session(user)
    return Person(idp).open("/account/sessions").sign_in("alice")


def running(idp: Idp) -> int:
    with idp.work.read() as unit:
        return int(
            unit.connection.exec_driver_sql(
                "SELECT count(*) FROM sessions WHERE ended_at IS NULL"
            ).scalar()
            or 0
        )


def ask(person: Person, what: str) -> Person:
    return person.press(f"end-{what}").press("end-confirm")


@pytest.mark.parametrize(("what", "meant"), [("others", 1), ("everywhere", 2)])
def test_the_question_says_which_sessions_are_meant(
    idp: Idp, alice: Person, what: str, meant: int
) -> None:
    idp.clock.advance(3 * MINUTE)
    asked = alice.press(f"end-{what}").page
    assert asked is not None
    assert asked.text.count(">3 minutes ago<") == meant
    assert "192.0.2.1" in asked.text
    assert ("This device" in asked.text) == (what == "everywhere")


def test_soon_after_the_sign_in_nothing_more_is_asked(idp: Idp, alice: Person) -> None:
    idp.clock.advance(4 * MINUTE)
    assert ask(alice, "everywhere").at == "/signed-out"
    assert running(idp) == 0


def test_later_a_proof_is_asked_for_and_the_question_is_kept(idp: Idp, alice: Person) -> None:
    idp.clock.advance(STALE)
    ask(alice, "everywhere")
    assert running(idp) == 2
    alice.press("step-up-begin")
    assert alice.page is not None
    assert "sign out everywhere" in alice.page.text
    assert running(idp) == 2
    alice.press("factor-submit", password="wrong").press("factor-submit", password=PASSWORD)
    assert running(idp) == 2
    assert alice.press("step-up-continue").at == "/signed-out"
    assert running(idp) == 0


def test_a_second_factor_is_asked_for_where_there_is_one(
    idp: Idp, user: User, alice: Person
) -> None:
    """MF-02: however fresh the password is."""
    factors = with_totp(idp, user)
    ask(alice, "everywhere").press("step-up-begin")
    assert alice.page is not None
    assert "Enter a code" in alice.page.text
    alice.press("factor-submit", code=factors.code())
    assert running(idp) == 2
    assert alice.press("step-up-continue").at == "/signed-out"
    assert running(idp) == 0


def test_ending_the_others_asks_for_a_proof_too_and_stays_signed_in(
    idp: Idp, alice: Person
) -> None:
    """SE-02: whoever finds a session open does not turn its owner out of the others."""
    idp.clock.advance(STALE)
    ask(alice, "others").press("step-up-begin").press("factor-submit", password=PASSWORD)
    assert running(idp) == 2
    assert alice.press("step-up-continue").at == "/account/sessions"
    assert running(idp) == 1


def test_ending_one_that_was_picked_stays_instant(idp: Idp, user: User) -> None:
    """Whoever lost a device is not sent away first."""
    lost = idp.session(user).session.id
    started = idp.session(user)
    browser = idp.signed_in_browser(started)
    idp.clock.advance(STALE)
    fields = Page(browser.get("/account/sessions")).form(action="/account/sessions/end").fields
    form = {"what": "selected", f"{SELECTED}{lost}": "on", "confirmed": "yes"}
    sent = browser.post("/account/sessions/end", data=fields | form)
    assert sent.headers["location"].startswith("/account/sessions")
    assert running(idp) == 1

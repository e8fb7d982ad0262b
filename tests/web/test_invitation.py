"""An invitation: the first password of somebody an administrator made an account for."""

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import DAY
from idp.events.actor import Actor
from idp.notify import mailed_links, recovery
from idp.users import queries
from idp.users.model import User
from tests.harness.mails import linked, owed
from tests.harness.provider import Idp
from tests.web.conftest import sign_in
from tests.web.html import Page

ADMIN = Actor("admin", "test")
NEW = "seven quiet herons at dusk"


@pytest.fixture
def invited(idp: Idp) -> User:
    with idp.work.begin() as unit:
        user = queries.create_user(unit, username="anna", email="anna@example.com", actor=ADMIN)
        mailed_links.mail_invitation(unit, user, language=None, actor=ADMIN)
    return user


def accept(browser: TestClient, path: str, password: str = NEW) -> Response:
    return Page(browser.get(path)).press(browser, "invitation-submit", new_password=password)


def test_the_invited_choose_a_password_and_sign_in(idp: Idp, invited: User) -> None:
    (mail,) = owed(idp, "invitation")
    assert (mail.to, mail.values["hours"], mail.values["product"]) == (
        "anna@example.com",
        24,
        "idp",
    )
    browser = idp.browser()
    response = accept(browser, linked(idp, "invitation"))
    assert response.status_code == 303
    assert idp.count("sessions") == 0
    page = Page(browser.get(response.headers["location"]))
    signed = sign_in(browser, page, username="anna", password=NEW)
    assert signed.headers["location"] == "/account/security"
    with idp.work.read() as unit:
        assert unit.orm.get_one(User, invited.id).email_verified == 1


def test_nobody_gets_in_before(idp: Idp, invited: User) -> None:
    browser = idp.browser()
    for password in ("", "None", "anna"):
        page = Page(browser.get("/account/sign-in"))
        response = sign_in(browser, page, username="anna", password=password)
        assert response.status_code == 403


def test_it_is_good_once_and_for_a_day(idp: Idp, invited: User) -> None:
    browser, path = idp.browser(), linked(idp, "invitation")
    late = Page(browser.get(path))
    assert accept(browser, path).status_code == 303
    assert browser.get(path).status_code == 410
    again = late.press(browser, "invitation-submit", new_password="other words altogether")
    assert again.status_code == 410


@pytest.mark.attack("AR-05")
def test_an_expired_invitation_is_dead_without_any_job(idp: Idp, invited: User) -> None:
    """AR-05: authentik's stayed valid until the clean-up ran."""
    browser, path = idp.browser(), linked(idp, "invitation")
    page = Page(browser.get(path))
    idp.clock.advance(DAY)
    assert browser.get(path).status_code == 410
    assert page.press(browser, "invitation-submit", new_password=NEW).status_code == 410
    assert idp.count("action_tokens") == 1


@pytest.mark.attack("AR-04")
def test_a_password_that_was_set_otherwise_makes_it_worthless(idp: Idp, invited: User) -> None:
    """AR-04: an invitation must not be a second way to reset a password."""
    path = linked(idp, "invitation")
    browser = idp.browser()
    Page(browser.get("/recover")).press(browser, "recover-submit", identifier="anna")
    recovery.answer(idp.work)
    page = Page(browser.get(linked(idp, "reset_password")))
    assert page.press(browser, "reset-submit", new_password=NEW).status_code == 303
    assert browser.get(path).status_code == 410


def test_a_weak_password_is_refused_with_its_reason(idp: Idp, invited: User) -> None:
    browser, path = idp.browser(), linked(idp, "invitation")
    for password, reason in (("short", "15 characters"), ("anna@example.com", "built on a name")):
        response = accept(browser, path, password)
        assert response.status_code == 400
        assert reason in Page(response).text
    assert accept(browser, path).status_code == 303


def test_looking_at_it_changes_nothing_and_another_browser_cannot_send_the_form(
    idp: Idp, invited: User
) -> None:
    """MF-14."""
    path = linked(idp, "invitation")
    page = Page(idp.browser().get(path))
    for _ in range(2):
        assert idp.browser().get(path).status_code == 200
    response = page.press(idp.browser(), "invitation-submit", new_password=NEW)
    assert response.status_code == 403
    assert idp.events("credential.changed", "link.used") == []

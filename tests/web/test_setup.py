"""The first administrator's link: once, in time, and dead as soon as there is anybody."""

import threading

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import MINUTE
from idp.events.actor import SYSTEM
from idp.notify import mailed_links
from idp.policy import management
from idp.users import queries
from tests.harness.mails import owed
from tests.harness.provider import ISSUER, Idp
from tests.web.html import Page

GOOD = {
    "username": "root-of-meadow",
    "email": "root@example.com",
    "new_password": "seven quiet herons at dusk",
}


def link(idp: Idp) -> str:
    with idp.work.begin() as unit:
        made = mailed_links.set_up_link(unit, actor=SYSTEM)
    assert made.startswith(f"{ISSUER}/setup?token=")
    return made.removeprefix(ISSUER)


def set_up(browser: TestClient, path: str, **typed: str) -> Response:
    page = Page(browser.get(path))
    return page.press(browser, "setup-submit", **(GOOD | typed))


def people(idp: Idp) -> list[tuple[str, str]]:
    with idp.work.read() as unit:
        return [(user.username, " ".join(user.roles)) for user in queries.listed(unit)]


def test_the_first_administrator_makes_their_account_and_is_signed_in(either_idp: Idp) -> None:
    browser = either_idp.browser()
    response = set_up(browser, link(either_idp))
    assert response.status_code == 303
    assert response.headers["location"] == "/admin"
    assert people(either_idp) == [("root-of-meadow", "administrator")]
    assert browser.get("/account/sessions").status_code == 200
    (started,) = either_idp.events("session.created")
    assert '"acr":"aal1"' in started["data"]
    (mail,) = owed(either_idp, "verify_email")
    assert mail.to == "root@example.com"


@pytest.mark.parametrize(
    "pair",
    [
        (name, password)
        for name in ("admin", "root", "administrator", "idp", "user")
        for password in ("admin", "root", "password", "idp", "changeme", "", "admin123", "secret",
                         "12345678", "test")
    ],
    ids="-".join,
)  # fmt: skip
def test_there_are_no_default_accounts(idp: Idp, pair: tuple[str, str]) -> None:
    """ASVS 6.3.2: a fresh installation lets nobody in."""
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    response = page.press(browser, "login-submit", username=pair[0], password=pair[1])
    assert response.status_code == 403
    assert idp.count("users") == 0


@pytest.mark.attack("AR-05")
def test_the_link_lasts_a_quarter_of_an_hour(idp: Idp) -> None:
    """AR-05, ASVS 6.4.1: the deadline is looked at when it is used, no job has run."""
    path, browser = link(idp), idp.browser()
    page = Page(browser.get(path))
    idp.clock.advance(15 * MINUTE)
    assert browser.get(path).status_code == 410
    assert page.press(browser, "setup-submit", **GOOD).status_code == 410
    assert people(idp) == []


def test_it_is_good_once_and_dead_as_soon_as_there_is_a_user(idp: Idp) -> None:
    """ASVS 6.3.2: however many were printed, and whoever made the user."""
    first = link(idp)
    set_up(idp.browser(), first)
    second = link(idp)
    for path in (first, second):
        assert idp.browser().get(path).status_code == 410
    assert len(people(idp)) == 1


def test_a_page_that_was_open_makes_no_second_administrator(idp: Idp) -> None:
    path, browser = link(idp), idp.browser()
    page = Page(browser.get(path))
    idp.person("alice")
    assert page.press(browser, "setup-submit", **GOOD).status_code == 410
    assert people(idp) == [("alice", "")]


def test_a_newer_link_voids_the_older_one(idp: Idp) -> None:
    older, newer = link(idp), link(idp)
    assert idp.browser().get(older).status_code == 410
    assert set_up(idp.browser(), newer).status_code == 303


def test_of_many_who_set_up_at_one_moment_one_becomes_administrator(either_idp: Idp) -> None:
    """MF-14: also with links of several nodes that were printed together."""
    paths = [link(either_idp) for _ in range(4)]
    either_idp.execute("UPDATE action_tokens SET used_at = NULL")
    forms = []
    for number, path in enumerate(paths):
        browser = either_idp.browser()
        forms.append((browser, Page(browser.get(path)), f"root-number-{number}"))
    together = threading.Barrier(len(forms))
    statuses: list[int] = []

    def attempt(browser: TestClient, page: Page, name: str) -> None:
        together.wait()
        typed = GOOD | {"username": name, "email": f"{name}@example.com"}
        statuses.append(page.press(browser, "setup-submit", **typed).status_code)

    threads = [threading.Thread(target=attempt, args=form) for form in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303, 410, 410, 410]
    assert len(people(either_idp)) == 1


@pytest.mark.parametrize(
    "typed, reason",
    [
        ({"new_password": "too short"}, "at least 15 characters"),
        ({"new_password": "root-of-meadow!"}, "built on a name"),
        ({"new_password": "root@example.com"}, "built on a name"),
        ({"username": ""}, "visible characters"),
        ({"username": "two words"}, "visible characters"),
        ({"username": "x" * 3_000}, "visible characters"),
        ({"email": ""}, "e-mail address is needed"),
        ({"email": "nobody"}, "not an e-mail address"),
        ({"email": "a@example.com,b@example.com"}, "not an e-mail address"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "not an e-mail address"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason_and_the_link_stays_good(
    idp: Idp, typed: dict[str, str], reason: str
) -> None:
    path, browser = link(idp), idp.browser()
    response = set_up(browser, path, **typed)
    assert response.status_code == 400
    page = Page(response)
    assert reason in page.text
    assert page.element("new-password").attributes.get("value", "") == ""
    assert people(idp) == []
    assert set_up(browser, path).status_code == 303


def test_looking_at_it_changes_nothing(idp: Idp) -> None:
    path = link(idp)
    for _ in range(3):
        page = Page(idp.browser().get(path + "&" + "username=x&new_password=y"))
        assert page.element("username").attributes["value"] == ""
    assert people(idp) == []
    assert idp.events("link.used") == []


def test_the_first_administrator_has_every_right_over_the_product(idp: Idp) -> None:
    set_up(idp.browser(), link(idp))
    with idp.work.read() as unit:
        assert queries.listed(unit)[0].permissions == sorted(management.SCOPES)


def test_a_role_of_that_name_that_is_somebodys_own_is_left_as_it_is(idp: Idp) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "administrator", ["posts:write"])
    set_up(idp.browser(), link(idp))
    with idp.work.read() as unit:
        assert queries.listed(unit)[0].permissions == ["posts:write"]


def test_a_form_of_another_browser_is_refused(idp: Idp) -> None:
    """MF-14: the link is used by the browser that opened it."""
    path = link(idp)
    page = Page(idp.browser().get(path))
    assert page.press(idp.browser(), "setup-submit", **GOOD).status_code == 403
    assert people(idp) == []


def test_the_fields_are_what_password_managers_and_people_need(idp: Idp) -> None:
    page = Page(idp.browser().get(link(idp)))
    wanted = {"username": "username", "email": "email", "new-password": "new-password"}
    for name, token in wanted.items():
        assert page.element(name).attributes["autocomplete"] == token
    assert page.element("new-password").attributes["type"] == "password"

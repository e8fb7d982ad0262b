"""A sign-in at a limit of sessions: the pages, whichever way somebody comes in."""

from collections.abc import Callable

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import MINUTE, SECOND
from idp.users import rules
from idp.users.model import User
from tests.harness.enrolled import with_passkey, with_totp
from tests.harness.provider import ADMIN, Idp, Registered
from tests.web.conftest import LAPTOP, PHONE, back_at_app, begin, sign_in
from tests.web.html import Page
from tests.web.test_second_factor import with_assertion

CHOOSE = "choose-submit"


@pytest.fixture
def person(idp: Idp) -> User:
    return idp.person("alice")


def limit(idp: Idp, at_limit: str, maximum: int = 2) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": maximum, "at_limit": at_limit}, ADMIN)


@pytest.fixture
def two(idp: Idp, person: User) -> list[str]:
    """Two sessions of the person's, the one that rested longer first."""
    found = []
    for agent in (PHONE, LAPTOP):
        found.append(idp.session(person, agent=agent).session.id)
        idp.clock.advance(SECOND)
    return found


def running(idp: Idp) -> set[str]:
    with idp.work.read() as unit:
        rows = unit.connection.exec_driver_sql("SELECT id FROM sessions WHERE ended_at IS NULL")
        return {row.id for row in rows}


def asked(browser: TestClient, app: Registered | None = None) -> Page:
    """The page of choosing, after the right password."""
    first = begin(browser, app) if app else browser.get("/account/sign-in?next=/account/apps")
    response = sign_in(browser, Page(first))
    assert response.status_code == 200, response.headers.get("location")
    assert "idp_session" not in response.headers.get("set-cookie", "")
    return Page(response)


def offered(page: Page) -> list[tuple[str, str, bool]]:
    """The choices, as (type, session, whether it is chosen beforehand)."""
    return [
        (
            one.attributes["type"],
            one.attributes["value"]
            if one.attributes["type"] == "radio"
            else one.attributes["name"].removeprefix("end."),
            "checked" in one.attributes,
        )
        for one in page.elements
        if one.attributes.get("type") in ("radio", "checkbox")
    ]


def test_the_oldest_is_chosen_beforehand_and_the_app_is_reached(
    idp: Idp, app: Registered, two: list[str]
) -> None:
    limit(idp, "ask")
    browser = idp.browser()
    page = asked(browser, app)
    assert "You may be signed in on at most 2 devices at once." in page.text
    assert "continue to Notes" in page.text
    # Two of one kind are told apart by when they began.
    assert page.text.count("UTC with password") == 2
    assert offered(page) == [("radio", two[0], True), ("radio", two[1], False)]
    assert set(two) == running(idp)
    response = page.press(browser, CHOOSE)
    assert "idp_session=" in response.headers["set-cookie"]
    assert "code" in back_at_app(browser, response)
    assert two[0] not in running(idp)
    assert two[1] in running(idp)


def test_another_can_be_chosen_and_the_account_page_that_was_wanted_is_reached(
    idp: Idp, two: list[str]
) -> None:
    limit(idp, "ask")
    browser = idp.browser()
    response = asked(browser).press(browser, CHOOSE, end=two[1])
    assert response.headers["location"] == "/account/apps"
    assert two[0] in running(idp)
    ended = Page(browser.get("/account/sessions?tab=ended"))
    assert "You signed it out to make room for" in ended.text


def test_where_several_must_go_each_has_a_box_of_its_own(idp: Idp, two: list[str]) -> None:
    limit(idp, "ask", 1)
    browser = idp.browser()
    page = asked(browser)
    assert "Sign out 2 devices first" in page.text
    assert offered(page) == [("checkbox", one, True) for one in two]
    again = page.press(browser, CHOOSE, **{f"end.{two[0]}": "on", f"end.{two[1]}": "on"})
    assert again.status_code == 303
    assert len(running(idp)) == 1


@pytest.mark.parametrize("chosen", ["", "ses_" + "0" * 32, "x" * 5_000, "theirs"])
def test_a_choice_that_makes_no_room_is_asked_for_again(
    idp: Idp, two: list[str], chosen: str
) -> None:
    """AD-02: the session of somebody else is as unknown as one that never was."""
    theirs = idp.session(idp.person("bob")).session.id
    limit(idp, "ask")
    browser = idp.browser()
    response = asked(browser).press(browser, CHOOSE, end=theirs if chosen == "theirs" else chosen)
    assert response.status_code == 409
    page = Page(response)
    assert page.element("error").attributes["role"] == "alert"
    assert running(idp) == {*two, theirs}
    assert page.press(browser, CHOOSE).status_code == 303
    assert theirs in running(idp)


def test_cancelling_tells_the_app_and_ends_nothing(
    idp: Idp, app: Registered, two: list[str]
) -> None:
    limit(idp, "ask")
    browser = idp.browser()
    answer = back_at_app(browser, asked(browser, app).press(browser, "choose-cancel"))
    assert answer["error"] == "access_denied"
    response = asked(browser).press(browser, "choose-cancel")
    assert response.headers["location"] == "/account/sign-in?next=%2Faccount%2Fapps"
    assert running(idp) == set(two)


def test_a_second_factor_comes_before_the_choice_and_trust_survives_it(
    idp: Idp, app: Registered, person: User, two: list[str]
) -> None:
    factors = with_totp(idp, person)
    limit(idp, "ask")
    browser = idp.browser()
    second = Page(sign_in(browser, Page(begin(browser, app))))
    assert not offered(second) or second.has("code")
    response = second.press(browser, "factor-submit", code=factors.code(), trust="yes")
    page = Page(response)
    assert [one for _, one, _ in offered(page)] == two
    done = page.press(browser, CHOOSE)
    assert "idp_trust=" in done.headers["set-cookie"]
    assert "code" in back_at_app(browser, done)
    sessions = Page(browser.get("/account/sessions"))
    assert "Trusted device" in sessions.text


def test_a_passkey_leads_to_the_choice_too(
    idp: Idp, app: Registered, person: User, two: list[str]
) -> None:
    device = with_passkey(idp, person)
    limit(idp, "ask")
    browser = idp.browser()
    response = with_assertion(browser, Page(begin(browser, app)), device)
    assert [one for _, one, _ in offered(Page(response))] == two
    assert "code" in back_at_app(browser, Page(response).press(browser, CHOOSE))


def over_by_time(idp: Idp) -> None:
    idp.clock.advance(10 * MINUTE)


def over_by_password(idp: Idp) -> None:
    idp.execute("UPDATE users SET password_changed_at = 1")


@pytest.mark.parametrize("over", [over_by_time, over_by_password])
def test_a_choice_that_is_over_begins_again_with_a_sentence(
    idp: Idp, app: Registered, two: list[str], over: Callable[[Idp], None]
) -> None:
    limit(idp, "ask")
    browser = idp.browser()
    page = asked(browser)
    over(idp)
    response = page.press(browser, CHOOSE)
    assert response.status_code == 400
    said = Page(response)
    assert "Please sign in again." in said.text
    assert said.element("username").attributes["value"] == "alice"
    assert set(two) == running(idp)


@pytest.mark.attack("SE-08")
def test_a_choice_is_worth_nothing_in_another_browser(idp: Idp, two: list[str]) -> None:
    limit(idp, "ask")
    stolen = asked(idp.browser()).form(button=CHOOSE).fields["ceremony"]
    thief = idp.browser()
    mine = Page(thief.get("/account/sign-in")).form(button="login-submit").fields
    response = thief.post("/login/sessions", data={**mine, "ceremony": stolen, "end": two[0]})
    assert response.status_code == 400
    assert Page(response).has("login-submit")
    assert "idp_session" not in response.headers.get("set-cookie", "")
    assert set(two) == running(idp)


@pytest.mark.attack("MF-04")
@pytest.mark.parametrize("page", ["/login/sessions", "/login/second", "/account/sign-in"])
def test_what_one_page_was_given_opens_no_other(
    idp: Idp, person: User, two: list[str], page: str
) -> None:
    """A half sign-in does not become a whole one here, nor a whole one a passkey's elsewhere."""
    with_totp(idp, person)
    limit(idp, "ask", 1)
    browser = idp.browser()
    half = Page(sign_in(browser, Page(browser.get("/account/sign-in"))))
    fields = half.form(button="factor-submit").fields
    response = browser.post(
        page, data={**fields, "action": "choose", "end": two[0], f"end.{two[1]}": "on"}
    )
    assert "idp_session" not in response.headers.get("set-cookie", "")
    assert set(two) == running(idp)


@pytest.mark.attack("WB-02")
def test_a_choice_needs_the_token_of_its_form(idp: Idp, two: list[str]) -> None:
    limit(idp, "ask")
    browser = idp.browser()
    page = asked(browser)
    assert page.press(browser, CHOOSE, csrf="x").status_code == 403
    assert set(two) == running(idp)


def test_reading_the_address_changes_nothing_and_leads_to_the_start(idp: Idp) -> None:
    browser = idp.browser()
    assert browser.get("/login/sessions").headers["location"] == "/account/sign-in"
    there = browser.get("/login/sessions?request=a%26b").headers["location"]
    assert there == "/login?request=a%26b"


# --- refused --------------------------------------------------------------------------------------


def refused(browser: TestClient, app: Registered) -> Response:
    response = sign_in(browser, Page(begin(browser, app)))
    assert response.status_code == 403
    assert "idp_session" not in response.headers.get("set-cookie", "")
    return response


def test_a_blocked_sign_in_says_why_and_where_one_is_signed_in(
    idp: Idp, app: Registered, two: list[str]
) -> None:
    limit(idp, "block")
    browser = idp.browser()
    page = Page(refused(browser, app))
    assert "You may be signed in on at most 2 devices at once, and you are." in page.text
    assert "Safari 19 on iPhone" in page.text
    assert "Chrome 156 on Windows" in page.text
    # It lists them and offers to end none.
    assert not offered(page)
    assert set(two) == running(idp)
    again = Page(browser.get(page.element("full-again").attributes["href"]))
    assert again.has("login-submit")
    answer = back_at_app(browser, page.press(browser, "full-cancel"))
    assert answer["error"] == "access_denied"


def test_a_blocked_person_gets_in_once_there_is_room(
    idp: Idp, app: Registered, two: list[str]
) -> None:
    limit(idp, "block")
    browser = idp.browser()
    page = Page(refused(browser, app))
    idp.end(two[0])
    again = Page(browser.get(page.element("full-again").attributes["href"]))
    assert "code" in back_at_app(browser, sign_in(browser, again))


def test_a_wrong_password_says_nothing_of_limits(idp: Idp, app: Registered, two: list[str]) -> None:
    for at_limit in ("ask", "block"):
        limit(idp, at_limit)
        browser = idp.browser()
        response = sign_in(browser, Page(begin(browser, app)), password="wrong password here")
        assert response.status_code == 403
        assert "devices at once" not in response.text
        assert two[0] not in response.text


# --- a browser that stays signed in ---------------------------------------------------------------


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_a_browser_that_proves_nothing_is_shown_no_sessions_and_ends_none(
    idp: Idp, person: User, at_limit: str
) -> None:
    """T4: what it begins is level 0; at a limit a whole sign-in is due."""
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in?next=/account/apps"))
    assert sign_in(browser, page, stay="yes").status_code == 303
    for one in running(idp):
        idp.end(one, "idle_timeout")
    browser.cookies.delete("idp_session")
    others = {idp.session(person, agent=agent).session.id for agent in (PHONE, LAPTOP)}
    limit(idp, at_limit)
    response = Page(browser.get("/account/sign-in")).press(browser, "go-on")
    assert response.status_code == 403
    assert "idp_session" not in response.headers.get("set-cookie", "")
    said = Page(response)
    assert "You are signed in on as many devices as you may be." in said.text
    assert "iPhone" not in said.text
    assert running(idp) == others
    form = Page(browser.get(said.element("other").attributes["href"]))
    whole = Page(sign_in(browser, form))
    assert whole.has(CHOOSE) == (at_limit == "ask")
    assert "Safari 19 on iPhone" in whole.text
    if at_limit == "ask":
        assert whole.press(browser, CHOOSE).status_code == 303
        assert len(running(idp) - others) == 1

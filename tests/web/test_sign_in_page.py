"""The sign-in page: with an app, without one, refused, confirmed, cancelled, explained."""

from contextlib import AbstractContextManager, nullcontext

import pytest
from sqlalchemy import event

from idp.clock import HOUR, MINUTE
from idp.errors import Unavailable
from idp.users import rules
from idp.users.model import User
from idp.users.passwords import PasswordHasher
from tests.harness.enrolled import with_totp
from tests.harness.provider import ADMIN, PASSWORD, Idp, Registered
from tests.web.conftest import LAPTOP, Somebody, back_at_app, begin, sign_in
from tests.web.html import Page


@pytest.fixture
def person(idp: Idp) -> User:
    return idp.person("alice")


def test_a_person_signs_in_and_goes_on_to_the_app(idp: Idp, app: Registered, person: User) -> None:
    browser = idp.browser()
    page = Page(begin(browser, app))
    assert "to continue to Notes" in page.text
    answer = back_at_app(browser, sign_in(browser, page))
    assert answer.keys() == {"code", "state", "iss"}


def test_the_fields_are_what_password_managers_and_people_need(idp: Idp, app: Registered) -> None:
    page = Page(begin(idp.browser(), app, login_hint="alice"))
    username, password = page.element("username"), page.element("password")
    assert username.attributes["autocomplete"] == "username webauthn"
    assert username.attributes["value"] == "alice"
    assert "autofocus" not in username.attributes
    assert password.attributes["autocomplete"] == "current-password"
    assert password.attributes["type"] == "password"
    assert "autofocus" in password.attributes
    assert not page.has("error")


def test_every_failure_reads_the_same_and_keeps_the_name(
    idp: Idp, app: Registered, person: User
) -> None:
    idp.person("disabled")
    idp.execute("UPDATE users SET status = 'disabled' WHERE username = 'disabled'")
    answers = set()
    for name, password in (
        ("alice", "wrong"),
        ("alice", ""),
        ("", ""),
        ("nobody", "wrong"),
        ("disabled", PASSWORD),
        ("alice", "x" * 5_000),
        ("al\u202eice", "wrong"),
        ("a" * 400, "wrong"),
    ):
        browser = idp.browser()
        response = sign_in(browser, Page(begin(browser, app)), username=name, password=password)
        page = Page(response)
        assert page.element("username").attributes["value"] == name[:320]
        assert page.element("error").attributes["role"] == "alert"
        assert page.element("password").attributes.get("value", "") == ""
        answers.add((response.status_code, page.text))
        assert "idp_session" not in response.headers.get("set-cookie", "")
    assert len(answers) == 1
    assert "The user name or password is wrong." in answers.pop()[1]


@pytest.mark.attack("BF-10")
@pytest.mark.parametrize("other", ["nobody", "no name\x01"])
def test_a_name_that_leads_nowhere_costs_the_same_work(
    idp: Idp, monkeypatch: pytest.MonkeyPatch, person: User, other: str
) -> None:
    """BF-10: the database is asked the same for every name, also once it was tried too often."""
    asked: list[str] = []

    def observed(sql: str) -> AbstractContextManager[None]:
        asked.append(sql)
        return nullcontext()

    # Hot statements go by the engine, all others through it.
    monkeypatch.setattr(idp.work.database, "observed", observed)
    for engine in (idp.work.database.reading, idp.work.database.writing):
        event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    seen = []
    for name in (person.username, other):
        browser = idp.browser()
        page = Page(browser.get("/account/sign-in"))
        for _ in range(11):
            asked.clear()
            answer = sign_in(browser, page, username=name, password="wrong")
            # Rules are read again once a second, whoever comes, in a transaction of their own.
            heard = [one for one in asked if one != "BEGIN" and "FROM rules" not in one]
            seen.append((answer.status_code, heard))
    assert seen[:11] == seen[11:]
    assert all(heard for _, heard in seen)
    assert {status for status, _ in seen} == {403, 429}


def test_too_many_attempts_say_when_to_come_back(idp: Idp, app: Registered, person: User) -> None:
    browser = idp.browser()
    page = Page(begin(browser, app))
    for _ in range(10):
        assert sign_in(browser, page, password="wrong").status_code == 403
    response = sign_in(browser, page, password=PASSWORD)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0
    assert "Too many attempts" in Page(response).text


def test_the_form_can_be_sent_again_after_a_failure(
    idp: Idp, app: Registered, person: User
) -> None:
    browser = idp.browser()
    refused = sign_in(browser, Page(begin(browser, app)), password="wrong")
    answer = back_at_app(browser, sign_in(browser, Page(refused)))
    assert "code" in answer


def test_cancelling_tells_the_app(idp: Idp, app: Registered) -> None:
    browser = idp.browser()
    response = Page(begin(browser, app)).press(browser, "login-cancel")
    answer = back_at_app(browser, response)
    assert answer["error"] == "access_denied"
    assert answer["state"]


def test_prompt_login_says_who_is_signed_in_and_keeps_the_session(
    idp: Idp, app: Registered, alice: Somebody
) -> None:
    page = Page(begin(alice.browser, app, prompt="login"))
    assert "Confirm it’s you" in page.text
    assert "You are signed in as alice" in page.text
    assert page.element("username").attributes["value"] == "alice"
    answer = back_at_app(alice.browser, sign_in(alice.browser, page))
    assert "code" in answer
    assert alice.is_running(alice.id)
    assert idp.count("sessions") == 1


def test_a_request_that_is_not_open_is_explained(idp: Idp, app: Registered) -> None:
    browser = idp.browser()
    page = Page(begin(browser, app))
    reference = page.form(button="login-submit").fields["request"]
    idp.clock.advance(11 * MINUTE)
    for response in (
        browser.get(f"/login?request={reference}"),
        browser.get("/login?request=req_nothing"),
        browser.get("/login?request="),
        browser.get("/login?request=" + "x" * 5_000),
        sign_in(browser, page),
        browser.get("/consent?request=req_nothing"),
    ):
        assert response.status_code == 400
        assert "no longer open" in Page(response).text
        assert "go back to the app" in Page(response).element("error").tag + Page(response).text


def test_signing_in_without_an_app_leads_to_the_page_that_was_wanted(
    idp: Idp, person: User
) -> None:
    browser = idp.browser()
    assert browser.get("/login").headers["location"] == "/account/sign-in"
    wanted = browser.get("/account/sessions?tab=ended")
    assert wanted.status_code == 303
    page = Page(browser.get(wanted.headers["location"]))
    response = sign_in(browser, page)
    assert response.headers["location"] == "/account/sessions?tab=ended"
    assert browser.get("/account/sessions?tab=ended").status_code == 200


def test_whoever_is_signed_in_is_sent_on(alice: Somebody) -> None:
    response = alice.browser.get("/account/sign-in?next=/account/apps")
    assert response.headers["location"] == "/account/apps"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("signed_out", "This session was signed out from your account"),
        ("limit", "because you signed in on another device and had reached the limit"),
        ("password_changed", "because your password was changed"),
        ("admin", "was ended by an administrator"),
        ("user_disabled", "was ended by an administrator"),
        ("replaced", "Somebody else signed in with this browser"),
    ],
)
def test_a_session_that_was_ended_is_explained(
    reason: str, sentence: str, idp: Idp, alice: Somebody
) -> None:
    idp.end(alice.id, reason)
    page = Page(alice.browser.get(alice.browser.get("/account/sessions").headers["location"]))
    assert sentence in page.text


def test_a_session_that_ran_out_is_explained(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(61 * MINUTE)
    location = alice.browser.get("/account/sessions").headers["location"]
    assert "after 60 minutes without activity" in Page(alice.browser.get(location)).text
    assert idp.events("session.ended")[0]["reason"] == "idle_timeout"


def test_a_session_that_reached_its_longest_time_is_explained(idp: Idp, alice: Somebody) -> None:
    for _ in range(25):
        idp.clock.advance(HOUR - MINUTE)
        response = alice.browser.get("/account/sessions")
        if response.status_code == 303:
            break
    page = Page(alice.browser.get(response.headers["location"]))
    assert "reached its longest time" in page.text


def test_a_busy_service_says_so_and_keeps_what_was_typed(
    idp: Idp, app: Registered, person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise Unavailable("24 passwords are waiting already")

    browser = idp.browser()
    page = Page(begin(browser, app))
    monkeypatch.setattr(PasswordHasher, "verify", full)
    response = sign_in(browser, page)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert Page(response).element("username").attributes["value"] == "alice"
    assert "24 passwords" not in response.text


def test_the_device_of_a_sign_in_is_remembered(idp: Idp, app: Registered, person: User) -> None:
    browser = idp.browser()
    page = Page(begin(browser, app))
    browser.headers["user-agent"] = LAPTOP
    browser.headers["sec-ch-ua-platform"] = '"Windows"'
    browser.headers["sec-ch-ua-platform-version"] = '"15.0.0"'
    assert sign_in(browser, page).status_code == 303
    assert "Chrome 156 on Windows 11" in Page(browser.get("/account/sessions")).text


def test_a_shared_device_is_said_with_one_tick_and_carried_to_the_second_page(
    idp: Idp, app: Registered, person: User
) -> None:
    browser = idp.browser()
    page = Page(begin(browser, app))
    sign_in_form = page.form(action="/login")
    ticked = {**sign_in_form.fields, "username": "alice", "device": "shared", "action": "sign-in"}
    failed = Page(browser.post("/login", data=ticked | {"password": "wrong"}))
    box = next(one for one in failed.elements if one.attributes.get("name") == "device")
    assert "checked" in box.attributes
    factors = with_totp(idp, person)
    second = Page(browser.post("/login", data=ticked | {"password": PASSWORD}))
    assert second.form(action="/login/second").fields["device"] == "shared"
    assert not any(one.attributes.get("name") == "trust" for one in second.elements)
    back_at_app(browser, second.press(browser, "factor-submit", code=factors.code()))
    row = Page(browser.get("/account/sessions"))
    assert "Temporary, ends" in row.text
    # Whoever goes on in a session is not asked again whose device it is.
    present = Page(begin(browser, app, prompt="login"))
    assert not any(one.attributes.get("name") == "device" for one in present.elements)


def test_who_comes_at_the_wrong_time_reads_when_it_opens(
    idp: Idp, app: Registered, person: User
) -> None:
    value = {"timezone": "Europe/London", "from": "13:00", "to": "18:00"}
    with idp.work.begin() as unit:
        rules.set_rule(unit, "hours", {}, value, ADMIN)
    browser = idp.browser()
    response = sign_in(browser, Page(begin(browser, app)))
    assert response.status_code == 403
    assert "You can again from Friday, 15 January, 13:00 (Europe/London)." in Page(response).text
    assert "idp_session" not in response.headers.get("set-cookie", "")

"""Staying signed in, as a person sees it: the tick, the greeting, one button, and the ways out."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import DAY, HOUR, MINUTE
from idp.sessions import lifecycle
from idp.users import queries
from idp.users.rules import set_rule
from tests.harness.enrolled import with_passkey, with_totp
from tests.harness.provider import ADMIN, PASSWORD, Flow, Idp, Registered
from tests.web.conftest import back_at_app, begin
from tests.web.html import Page

SIGN_IN = "/account/sign-in"
SESSIONS = "/account/sessions"


@pytest.fixture
def browser(idp: Idp) -> TestClient:
    idp.person("alice")
    return idp.browser()


def stay(browser: TestClient, page: Page | None = None, **typed: str) -> Response:
    """Signs in with the box ticked."""
    page = page or Page(browser.get(SIGN_IN))
    typed = {"username": "alice", "password": PASSWORD, "stay": "yes"} | typed
    return page.press(browser, "login-submit", **typed)


def close(browser: TestClient) -> None:
    """A browser that is closed forgets the cookies that have no age."""
    browser.cookies.delete("idp_session")


def cookie_of(browser: TestClient) -> str | None:
    return browser.cookies.get("idp_remember")


def greeting(browser: TestClient, address: str = SIGN_IN) -> Page:
    page = Page(browser.get(address))
    assert page.has("go-on"), page.text
    return page


def sessions(idp: Idp, where: str = "ended_at IS NULL") -> list[dict[str, object]]:
    with idp.work.read() as unit:
        query = f"SELECT * FROM sessions WHERE {where} ORDER BY created_at"
        return [dict(row) for row in unit.connection.exec_driver_sql(query).mappings()]


# --- The tick ---------------------------------------------------------------------------------


def test_the_cookie_is_made_only_for_who_asks(idp: Idp, browser: TestClient) -> None:
    response = stay(browser, stay="")
    assert response.status_code == 303
    assert cookie_of(browser) is None
    assert idp.count("remembered_browsers") == 0


def test_the_cookie_is_kept_for_thirty_days_and_read_by_nobody_else(
    idp: Idp, browser: TestClient
) -> None:
    response = stay(browser)
    (header,) = [
        one for one in response.headers.get_list("set-cookie") if one.startswith("idp_remember=")
    ]
    _, *attributes = header.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax"]
    (made,) = idp.events("remember.made")
    assert made["user_id"]
    # What is stored cannot be shown: the cookie is in no column.
    with idp.work.read() as unit:
        row = unit.connection.exec_driver_sql("SELECT * FROM remembered_browsers").one()
    assert cookie_of(browser) not in [str(value) for value in row]


def test_a_wrong_password_keeps_the_tick_and_makes_nothing(idp: Idp, browser: TestClient) -> None:
    page = Page(stay(browser, password="wrong"))
    assert "checked" in page.element("stay").attributes
    assert idp.count("remembered_browsers") == 0


def test_the_tick_travels_over_the_second_page(idp: Idp, browser: TestClient) -> None:
    with idp.work.read() as unit:
        user = queries.by_identifier(unit, "alice")
    assert user is not None
    factors = with_totp(idp, user)
    page = Page(stay(browser))
    assert idp.count("remembered_browsers") == 0
    assert page.press(browser, "factor-submit", code=factors.code()).status_code == 303
    assert cookie_of(browser)
    assert idp.count("remembered_browsers") == 1


def test_a_passkey_is_a_sign_in_like_any_other(idp: Idp, browser: TestClient) -> None:
    bob = idp.person("bob")
    key = with_passkey(idp, bob)
    page = Page(browser.get(SIGN_IN))
    options = next(
        one.attributes["data-options"] for one in page.elements
        if "data-options" in one.attributes
    )  # fmt: skip
    sent = page.form(button="login-submit").fields | {
        "credential": key.get(options), "action": "passkey", "stay": "yes",
    }  # fmt: skip
    assert browser.post(SIGN_IN, data=sent).status_code == 303
    assert cookie_of(browser)
    close(browser)
    assert "Welcome back, bob" in greeting(browser).text


# --- The greeting -----------------------------------------------------------------------------


def test_somebody_who_comes_back_goes_on_with_one_button(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    signed_in_at = idp.clock.now()
    first = cookie_of(browser)
    close(browser)
    idp.clock.advance(3 * DAY)
    response = browser.get("/account/apps?removed=x")
    page = greeting(browser, response.headers["location"])
    assert "Welcome back, alice" in page.text
    assert sessions(idp, "remembered = 1") == []
    response = page.press(browser, "go-on")
    # To the very place.
    assert response.headers["location"] == "/account/apps?removed=x"
    assert browser.get(SESSIONS).status_code == 200
    (begun,) = sessions(idp, "remembered = 1")
    assert begun["acr"] == "0"
    assert begun["auth_time"] == signed_in_at
    assert cookie_of(browser) != first
    used = idp.events("remember.used")
    assert [one["session_id"] for one in used] == [begun["id"]]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_nothing_begins_without_the_button(idp: Idp, browser: TestClient, method: str) -> None:
    """ASVS 7.6.2."""
    stay(browser)
    close(browser)
    before = len(idp.events())
    for path in (SIGN_IN, f"{SIGN_IN}?action=remembered", "/account", SESSIONS, "/login"):
        browser.request(method, path, headers={"sec-purpose": "prefetch"})
    assert len(idp.events()) == before
    assert browser.cookies.get("idp_session") is None


def test_an_app_is_opened_with_one_button(idp: Idp, browser: TestClient, app: Registered) -> None:
    stay(browser)
    close(browser)
    page = Page(begin(browser, app))
    assert "Continue to Notes?" in page.text
    assert "code" in back_at_app(browser, page.press(browser, "go-on"))


def test_an_app_is_told_when_somebody_cancels(browser: TestClient, app: Registered) -> None:
    stay(browser)
    close(browser)
    page = Page(begin(browser, app))
    assert back_at_app(browser, page.press(browser, "login-cancel"))["error"] == "access_denied"


def test_an_app_that_must_not_show_a_page_gets_no_session(
    idp: Idp, browser: TestClient, app: Registered
) -> None:
    """`prompt=none` never uses it (ASVS 7.6.2)."""
    stay(browser)
    close(browser)
    answer = idp.authorize(browser, Flow(app).parameters(prompt="none"))
    assert answer["error"] == "login_required"
    assert sessions(idp, "remembered = 1") == []


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "login"},
        {"prompt": "select_account"},
        {"max_age": "86400"},
        {"acr_values": "aal1"},
        {"claims": '{"id_token":{"acr":{"essential":true,"value":"aal2"}}}'},
        {"login_hint": "bob"},
        {"claims": '{"id_token":{"sub":{"value":"usr_bob"}}}'},
    ],
)
def test_a_request_that_it_cannot_answer_gets_the_form(
    idp: Idp, browser: TestClient, app: Registered, asked: dict[str, str]
) -> None:
    """MF-02: nobody is led over a button to a page that asks for the password after all."""
    idp.person("bob")
    stay(browser)
    close(browser)
    page = Page(begin(browser, app, **asked))
    assert page.has("login-submit")
    assert page.element("username").attributes["value"] == asked.get("login_hint", "alice")
    # And whoever presses the button all the same has proved nothing to that app.
    sent = page.form(button="login-submit").fields | {"action": "remembered"}
    response = browser.post("/login", data=sent)
    back = browser.get(response.headers["location"])
    assert urlsplit(back.headers["location"]).path in ("/login", "/step-up") or (
        "login_hint" in asked and "code=" in back.headers["location"]
    )


def test_a_hint_that_names_them_is_no_hindrance(browser: TestClient, app: Registered) -> None:
    stay(browser)
    close(browser)
    assert Page(begin(browser, app, login_hint="alice@example.com")).has("go-on")


def test_somebody_else_signs_in_past_it(idp: Idp, browser: TestClient) -> None:
    idp.person("bob")
    stay(browser)
    close(browser)
    cookie = cookie_of(browser)
    page = greeting(browser, f"{SIGN_IN}?next=/account/apps")
    other = page.element("other").attributes["href"]
    assert parse_qs(urlsplit(other).query)["next"] == ["/account/apps"]
    page = Page(browser.get(other))
    response = stay(browser, page, username="bob", stay="")
    assert response.headers["location"] == "/account/apps"
    # Theirs is theirs, and Alice is greeted again.
    assert cookie_of(browser) == cookie
    Page(browser.get(SESSIONS)).press(browser, "sign-out")
    assert "Welcome back, alice" in greeting(browser).text


def test_somebody_else_who_stays_takes_its_place(idp: Idp, browser: TestClient) -> None:
    idp.person("bob")
    stay(browser)
    close(browser)
    alices = cookie_of(browser)
    stay(browser, Page(browser.get(f"{SIGN_IN}?account=other")), username="bob")
    close(browser)
    assert "Welcome back, bob" in greeting(browser).text
    browser.cookies.set("idp_remember", alices or "", domain="localhost.local", path="/")
    assert Page(browser.get(SIGN_IN)).has("login-submit")


def test_forget_this_device_forgets_it(idp: Idp, browser: TestClient, app: Registered) -> None:
    stay(browser)
    close(browser)
    cookie = cookie_of(browser)
    page = Page(begin(browser, app))
    response = page.press(browser, "forget")
    assert not cookie_of(browser)
    assert Page(browser.get(response.headers["location"])).has("login-submit")
    # What was begun in it, and could be reached no more, is over as well.
    assert [one["end_reason"] for one in sessions(idp, "1 = 1")] == ["signed_out"]
    browser.cookies.set("idp_remember", cookie or "", domain="localhost.local", path="/")
    assert Page(browser.get(SIGN_IN)).has("login-submit")
    assert [one["reason"] for one in idp.events("remember.forgotten")] == ["signed_out"]


def test_of_both_buttons_at_once_no_session_outlives_the_forgetting(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Continue" in one tab, as "Forget this device" in another knows what there is to end."""
    idp = either_idp
    idp.person("alice")
    browser, other_tab = idp.browser(), idp.browser()
    stay(browser)
    close(browser)
    page = greeting(browser)
    for name in ("idp_remember", "idp_device"):
        value = browser.cookies.get(name) or ""
        other_tab.cookies.set(name, value, domain="localhost.local", path="/")
    end, pool = lifecycle.end, ThreadPoolExecutor(1)
    pressed: list[Future[Response]] = []

    def end_later(*given: Any, **named: Any) -> list[str]:
        if not pressed:
            pressed.append(pool.submit(page.press, other_tab, "go-on"))
            wait(pressed, timeout=0.5)
        return end(*given, **named)

    monkeypatch.setattr(lifecycle, "end", end_later)
    page.press(browser, "forget")
    assert pressed[0].result(30).status_code == 303
    assert sessions(idp) == []
    assert other_tab.get(SESSIONS).headers["location"].startswith(SIGN_IN)
    pool.shutdown()


@pytest.mark.parametrize(
    "junk", ["", "x", "A" * 70, "A" * 71, "=" * 70, "%00" * 20, "-" * 69 + "!", "rem_" + "0" * 66]
)
def test_a_cookie_that_was_never_made_is_taken_back_and_changes_nothing(
    idp: Idp, browser: TestClient, junk: str
) -> None:
    before = len(idp.events())
    response = browser.get(SIGN_IN, headers={"cookie": f"idp_remember={junk}"})
    assert Page(response).has("login-submit")
    headers = response.headers.get_list("set-cookie")
    assert any(one.startswith("idp_remember=; ") and "Max-Age=0" in one for one in headers)
    assert len(idp.events()) == before


def test_the_greeting_says_why_the_last_session_is_over(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    idp.clock.advance(2 * HOUR)
    page = greeting(browser, browser.get(SESSIONS).headers["location"])
    assert "Your session ended after 60 minutes without activity." in page.text
    assert page.press(browser, "go-on").headers["location"] == SESSIONS


def test_a_second_tab_finds_the_session_of_the_first(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    close(browser)
    one, two = greeting(browser), greeting(browser)
    one.press(browser, "go-on")
    cookie = cookie_of(browser)
    idp.clock.advance(10 * MINUTE)
    assert two.press(browser, "go-on").headers["location"] == SESSIONS
    assert cookie_of(browser) == cookie
    assert len(sessions(idp, "remembered = 1")) == 1


# --- Rules ------------------------------------------------------------------------------------


def allow(idp: Idp, days: int, **whom: str) -> None:
    with idp.work.begin() as unit:
        set_rule(unit, "remember", whom, {"days": days}, ADMIN)


def test_the_box_says_for_how_long_and_is_not_there_where_nobody_stays(
    idp: Idp, browser: TestClient
) -> None:
    assert "Stay signed in on this device for 30 days" in Page(browser.get(SIGN_IN)).text
    allow(idp, 1)
    assert "Stay signed in on this device for 1 day " in Page(browser.get(SIGN_IN)).text
    allow(idp, 0)
    assert not Page(browser.get(SIGN_IN)).has("stay")
    stay(browser)
    assert cookie_of(browser) is None


def test_whoever_may_not_stay_is_signed_in_all_the_same(idp: Idp, browser: TestClient) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "admin", [])
    idp.person("carol", roles=["admin"])
    allow(idp, 0, role="admin")
    assert stay(browser, username="carol").status_code == 303
    assert cookie_of(browser) is None


def test_a_stricter_rule_holds_for_browsers_that_stay_signed_in_already(
    idp: Idp, browser: TestClient
) -> None:
    stay(browser)
    close(browser)
    idp.clock.advance(2 * DAY)
    allow(idp, 3)
    greeting(browser)
    allow(idp, 1)
    assert Page(browser.get(SIGN_IN)).has("login-submit")


def test_using_it_makes_it_last_no_longer(idp: Idp, browser: TestClient) -> None:
    """NIST SP 800-63B-4 section 2.1.3, ASVS 7.3.2: thirty days from the sign-in that earned it."""
    stay(browser)
    for _ in range(29):
        close(browser)
        idp.clock.advance(DAY)
        response = greeting(browser).press(browser, "go-on")
        lasts = [one for one in response.headers.get_list("set-cookie") if "idp_remember" in one]
        assert len(lasts) == 1
    close(browser)
    idp.clock.advance(DAY - 10 * MINUTE)
    greeting(browser).press(browser, "go-on")
    last = sessions(idp)[-1]
    # Nor does the session that it begins.
    idp.clock.advance(10 * MINUTE)
    assert browser.get(SESSIONS).status_code == 303
    assert last["expires_at"] == idp.clock.now()
    assert Page(browser.get(SIGN_IN)).has("login-submit")


# --- The account pages ------------------------------------------------------------------------

SECURITY = "/account/security"


def test_the_pages_show_where_somebody_stays_signed_in(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    assert "Remembered" in Page(browser.get(SESSIONS)).text
    text = Page(browser.get(SECURITY)).text
    assert "Since 15 Jan, 08:00 UTC" in text
    assert "until 14 Feb, 08:00 UTC" in text
    elsewhere = idp.browser()
    stay(elsewhere, stay="")
    page = Page(elsewhere.get(SECURITY))
    (row,) = [one for one in page.elements if one.attributes.get("id", "").startswith("rem_")]
    assert f"{SECURITY}/remembered/{row.attributes['id']}/forget" in [f.action for f in page.forms]
    # It is not this device that stays.
    assert "This device Since" not in page.text
    assert "This device Since" in text


def test_one_browser_is_forgotten_and_its_session_goes_on(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    phone = idp.browser()
    stay(phone)
    page = Page(phone.get(SECURITY))
    actions = [one for one in page.forms if "/remembered/rem_" in one.action]
    assert len(actions) == 2
    for form in actions:
        idp.clock.advance(MINUTE)
        response = phone.post(form.action, data=form.fields)
    shown = Page(phone.get(response.headers["location"]))
    assert "You do not stay signed in there any more." in shown.text
    assert "Remembered" not in Page(phone.get(SESSIONS)).text
    assert browser.get(SESSIONS).status_code == 200
    close(browser)
    assert Page(browser.get(SIGN_IN)).has("login-submit")
    assert [one["reason"] for one in idp.events("remember.forgotten")] == ["forgotten"] * 2


def test_all_browsers_are_forgotten_at_once(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    phone = idp.browser()
    stay(phone)
    response = Page(phone.get(SECURITY)).press(phone, "forget-remembered")
    shown = Page(phone.get(response.headers["location"]))
    assert "You do not stay signed in on 2 devices any more." in shown.text
    assert idp.count("remembered_browsers WHERE revoked_at IS NULL") == 0


@pytest.mark.attack("AD-02")
def test_nobody_forgets_the_browser_of_another(idp: Idp, browser: TestClient) -> None:
    stay(browser)
    bob = idp.person("bob")
    mallory = idp.signed_in_browser(idp.session(bob))
    token = Page(mallory.get(SESSIONS)).forms[0].fields["csrf"]
    with idp.work.read() as unit:
        (series,) = unit.connection.exec_driver_sql("SELECT id FROM remembered_browsers").one()
    response = mallory.post(f"{SECURITY}/remembered/{series}/forget", data={"csrf": token})
    assert response.status_code == 404
    close(browser)
    greeting(browser)


def test_the_box_says_nothing_about_a_shared_device(idp: Idp, browser: TestClient) -> None:
    """Both ticked: others use it, so nobody stays; and whoever stayed so far does not any more."""
    stay(browser)
    close(browser)
    response = stay(browser, Page(browser.get(f"{SIGN_IN}?account=other")), device="shared")
    assert response.status_code == 303
    assert idp.count("remembered_browsers WHERE revoked_at IS NULL") == 0
    close(browser)
    assert Page(browser.get(SIGN_IN)).has("login-submit")


def test_a_barred_network_lets_nobody_back_in(idp: Idp, browser: TestClient) -> None:
    """C3: rules that keep people out hold for the button as for the form, and the page says so."""
    stay(browser)
    close(browser)
    page = greeting(browser)
    with idp.work.begin() as unit:
        set_rule(unit, "networks", {}, {"allow": ["10.0.0.0/8"]}, ADMIN)
    response = page.press(browser, "go-on")
    assert response.status_code == 403
    assert "may not be used from this network" in Page(response).text
    assert Page(response).has("go-on")
    assert [one["reason"] for one in idp.events("login.failed")] == ["network_not_allowed"]
    assert sessions(idp, "remembered = 1") == []

"""Forms that only our own pages can send (WB-02), and cookies that only we can set."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.harness.provider import PASSWORD, Idp, Registered
from tests.web.conftest import Somebody, begin, sign_in
from tests.web.html import Page

pytestmark = pytest.mark.attack("WB-02")

CROSS_SITE = {"sec-fetch-site": "cross-site"}


def account_forms(one: Somebody) -> list[tuple[str, dict[str, str]]]:
    """Every form of the account pages with fields that would do something."""
    other = one.elsewhere()
    return [
        (f"/account/sessions/{other}/end", {}),
        (f"/account/sessions/{other}/rename", {"name": "Mine"}),
        (f"/account/sessions/{other}/keep", {"keep": "yes"}),
        ("/account/sessions/end", {"what": "others", "confirmed": "yes"}),
        ("/account/sessions/end", {"what": "everywhere", "confirmed": "yes"}),
        (
            "/account/sessions/end",
            {"what": "selected", "confirmed": "yes", f"select.{other}": "on"},
        ),
        ("/account/move", {}),
        ("/account/apps", {"client_id": "x", "confirmed": "yes"}),
        ("/account/grants/azn_00000000000000000000000000000000/end", {}),
    ]


def test_every_form_of_the_account_needs_its_token(idp: Idp, alice: Somebody) -> None:
    for path, values in account_forms(alice):
        for token in ({}, {"csrf": ""}, {"csrf": "A" * 43}, {"csrf": "ä"}):
            response = alice.browser.post(path, data=values | token)
            assert response.status_code == 403, (path, token)
            assert "form_expired" in response.text
    assert not idp.events("session.ended", "session.renamed", "session.marked")


def test_a_token_of_another_session_is_refused(
    idp: Idp, somebody: Callable[..., Somebody], alice: Somebody
) -> None:
    mallory = somebody("mallory")
    stolen = mallory.sessions().forms[0].fields["csrf"]
    for path, values in account_forms(alice):
        response = alice.browser.post(path, data=values | {"csrf": stolen})
        assert response.status_code == 403, path
    assert not idp.events("session.ended", "session.renamed", "session.marked")


def test_a_right_token_from_another_site_is_refused(idp: Idp, alice: Somebody) -> None:
    token = alice.sessions().forms[0].fields["csrf"]
    for headers in (
        CROSS_SITE,
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8001"},
        {"origin": "http://localhost:8000.evil.example"},
    ):
        for path, values in account_forms(alice):
            response = alice.browser.post(path, data=values | {"csrf": token}, headers=headers)
            assert response.status_code == 403, (path, headers)
    assert not idp.events("session.ended", "session.renamed", "session.marked")


def test_our_own_forms_pass_whatever_the_browser_says_of_them(alice: Somebody) -> None:
    for headers in (
        {"sec-fetch-site": "same-origin", "origin": "null"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8000"},
        {"origin": "null"},
        {},
    ):
        token = alice.sessions().forms[0].fields["csrf"]
        path = f"/account/sessions/{alice.elsewhere()}/end"
        response = alice.browser.post(path, data={"csrf": token}, headers=headers)
        assert response.status_code == 303, headers


def test_the_token_changes_with_the_session_and_with_every_proof(idp: Idp, alice: Somebody) -> None:
    before = alice.sessions().forms[0].fields["csrf"]
    again = Somebody(idp, alice.user, alice.session, alice.browser)
    idp.clock.advance(1_000_000)
    client = idp.register()
    page = Page(begin(alice.browser, client, prompt="login"))
    assert sign_in(alice.browser, page).status_code == 303
    after = again.sessions().forms[0].fields["csrf"]
    assert before != after
    other = alice.elsewhere()
    response = alice.browser.post(f"/account/sessions/{other}/end", data={"csrf": before})
    assert response.status_code == 403
    assert alice.is_running(other)


def test_the_token_outlives_a_change_of_the_secret_by_time(idp: Idp, alice: Somebody) -> None:
    page = alice.sessions()
    idp.clock.advance(20 * 60 * 1_000_000)
    assert "idp_session" in alice.browser.get("/account/sessions").headers["set-cookie"]
    assert page.press(alice.browser, "sign-out").status_code == 303


@pytest.mark.parametrize("path", ["/account/sign-in", "/login"])
def test_nobody_can_sign_a_visitor_in_to_an_account_of_theirs(
    path: str, idp: Idp, alice: Somebody, app: Registered
) -> None:
    attacker, victim = idp.browser(), idp.browser()

    def form(browser: TestClient) -> Page:
        if path == "/login":
            return Page(begin(browser, app))
        return Page(browser.get(path))

    theirs = form(attacker).form(button="login-submit").fields
    own = form(victim).form(button="login-submit").fields
    credentials = {"username": "alice", "password": PASSWORD}
    for values in (theirs, own | {"csrf": theirs["csrf"]}, {**own, "csrf": ""}):
        response = victim.post(path, data=values | credentials)
        assert response.status_code == 403
        assert "idp_session" not in response.headers.get("set-cookie", "")
    # The victim's own form would have worked.
    assert victim.post(path, data=own | credentials).status_code == 303


def test_a_request_is_only_good_in_the_browser_that_began_it(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    attacker, victim = idp.browser(), idp.browser()
    reference = Page(begin(attacker, app)).form(button="login-submit").fields["request"]
    victim.get("/account/sign-in")
    response = victim.get(f"/login?request={reference}")
    assert response.status_code == 400
    assert Page(response).has("error")


def test_consent_is_given_by_the_session_that_saw_the_question(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    bob = idp.person("bob")
    alice.browser.cookies.set(
        "idp_session", idp.session(bob).secret, domain="localhost.local", path="/"
    )
    response = page.press(alice.browser, "consent-allow")
    assert response.status_code == 403
    assert idp.count("consents") == 0


@pytest.mark.attack("SE-01")
def test_a_planted_session_cookie_is_worth_nothing_after_signing_in(
    idp: Idp, alice: Somebody
) -> None:
    for planted in ("A" * 43, idp.session(idp.person("mallory")).secret):
        browser = idp.browser()
        browser.cookies.set("idp_session", planted, domain="localhost.local", path="/")
        # A session that lives would be shown; sign in to an app that insists on the password.
        client = idp.register()
        page = Page(begin(browser, client, prompt="login"))
        assert sign_in(browser, page).status_code == 303
        fresh = browser.cookies.get("idp_session", domain="localhost.local")
        assert fresh not in (None, planted)
        thief = idp.browser()
        thief.cookies.set("idp_session", planted, domain="localhost.local", path="/")
        assert thief.get("/account/sessions").status_code == 303


@pytest.mark.attack("SE-01")
def test_cookies_have_every_attribute_that_protects_them(idp: Idp, alice: Somebody) -> None:
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    response = sign_in(browser, page)
    cookies = response.headers.get_list("set-cookie")
    assert {one.partition("=")[0] for one in cookies} == {"idp_session", "idp_device"}
    for cookie in cookies:
        assert "; Path=/; HttpOnly; SameSite=Lax" in cookie
        assert "Domain" not in cookie
    (session,) = [one for one in cookies if one.startswith("idp_session")]
    assert "Max-Age" not in session
    assert "Expires" not in session

"""The page that asks for consent."""

from idp.clock import MINUTE
from tests.harness.provider import Idp, Registered
from tests.web.conftest import Somebody, back_at_app, begin, sign_in
from tests.web.html import Page

SCOPE = "openid profile email offline_access sessions"


def test_it_says_in_plain_words_who_asks_for_what(alice: Somebody, stranger: Registered) -> None:
    page = Page(begin(alice.browser, stranger, scope=SCOPE))
    assert "Stranger asks for access to your account alice" in page.text
    for words in (
        "Know who you are",
        "See your profile",
        "See your e-mail address",
        "Keep access while you are away",
        "See and end your sessions",
        "until you revoke it",
    ):
        assert words in page.text
    allow, deny = page.element("consent-allow"), page.element("consent-deny")
    assert allow.attributes["class"] == deny.attributes["class"]


def test_allowing_goes_on_to_the_app_and_is_remembered(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger, scope=SCOPE))
    assert "code" in back_at_app(alice.browser, page.press(alice.browser, "consent-allow"))
    (event,) = idp.events("consent.granted")
    assert event["session_id"] == alice.id
    assert alice.use(stranger, scope=SCOPE)["refresh_token"]


def test_denying_tells_the_app_and_is_not_remembered(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    answer = back_at_app(alice.browser, page.press(alice.browser, "consent-deny"))
    assert answer["error"] == "access_denied"
    assert idp.count("consents") == 0
    assert len(idp.events("consent.denied")) == 1
    assert Page(begin(alice.browser, stranger)).has("consent-allow")


def test_whatever_is_not_allow_denies(alice: Somebody, stranger: Registered, idp: Idp) -> None:
    for values in ({}, {"action": ""}, {"action": "ALLOW"}, {"action": "allow "}):
        page = Page(begin(alice.browser, stranger))
        fields = page.form(button="consent-allow").fields
        answer = back_at_app(alice.browser, alice.browser.post("/consent", data=fields | values))
        assert answer["error"] == "access_denied", values
    assert idp.count("consents") == 0


def test_only_what_the_app_may_have_is_shown_and_granted(idp: Idp, alice: Somebody) -> None:
    client = idp.register(name="Small", first_party=0, scope="openid email")
    page = Page(begin(alice.browser, client, scope="openid email sessions profile"))
    assert "See your e-mail address" in page.text
    assert "sessions" not in page.text.split("It will be able to")[1].split("This stays")[0]
    page.press(alice.browser, "consent-allow")
    (event,) = idp.events("consent.granted")
    assert "sessions" not in event["data"]


def test_somebody_else_can_sign_in_instead(idp: Idp, alice: Somebody, stranger: Registered) -> None:
    idp.person("bob")
    page = Page(begin(alice.browser, stranger))
    (link,) = [
        one.attributes["href"]
        for one in page.elements
        if one.attributes.get("href", "").startswith("/login?request=")
    ]
    page = Page(alice.browser.get(link))
    response = sign_in(alice.browser, page, username="bob")
    response = alice.browser.get(response.headers["location"])
    page = Page(alice.browser.get(response.headers["location"]))
    assert "your account bob" in page.text
    assert not alice.is_running(alice.id)


def test_a_session_that_ends_meanwhile_leads_to_the_sign_in_page(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    idp.end(alice.id)
    response = page.press(alice.browser, "consent-allow")
    assert response.headers["location"].startswith("/authorize?")
    response = alice.browser.get(response.headers["location"])
    assert response.headers["location"].startswith("/login?request=")
    assert idp.count("consents") == 0


def test_a_browser_is_led_on_by_a_page_so_that_apps_may_redirect_further(
    alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    alice.browser.headers |= {"sec-fetch-mode": "navigate", "sec-fetch-site": "same-origin"}
    response = page.press(alice.browser, "consent-allow")
    assert response.status_code == 200
    address = response.headers["refresh"].removeprefix("0; url=")
    assert address.startswith("/authorize?client_id=")
    onward = Page(response)
    assert address in [one.attributes.get("href") for one in onward.elements]
    assert alice.browser.get(address).headers["location"].startswith("https://app.example/")


def test_the_question_expires_with_its_request(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger))
    idp.clock.advance(11 * MINUTE)
    response = page.press(alice.browser, "consent-allow")
    assert response.status_code == 400
    assert "no longer open" in Page(response).text
    assert idp.count("consents") == 0

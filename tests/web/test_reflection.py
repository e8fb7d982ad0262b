"""What strangers write never becomes markup (WB-01): every page, every parameter, every label."""

from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode

import pytest
from httpx2 import Response

from idp.oauth import consent
from idp.sessions import lifecycle
from idp.web.render import Renderer
from tests.harness.provider import Flow, Idp
from tests.web.conftest import Somebody, begin
from tests.web.html import Page

pytestmark = pytest.mark.attack("WB-01")

MARKER = (
    "\"'><script src=//evil.example></script><img src=x onerror=alert(1)>{{7351*7351}}javascript:"
)
DANGEROUS = ("<script src=//evil", "<img src=x", "onerror=alert(1)>", "\"'><")


def is_harmless(response: Response) -> bool:
    """Whether the marker is nowhere in the answer but as text."""
    if response.headers.get("content-type", "").startswith("text/html"):
        page = Page(response)
        for element in page.elements:
            assert "onerror" not in element.attributes
            source = element.attributes.get("src", "") + element.attributes.get("href", "")
            assert "evil.example" not in source or element.tag == "a"
            assert not source.lower().startswith("javascript:")
    location = response.headers.get("location", "")
    assert "\r" not in location
    assert "<" not in location
    return not any(one in response.text for one in DANGEROUS) and "54037201" not in response.text


PATHS = [
    "/login", "/account/sign-in", "/consent", "/logout", "/signed-out", "/signed-out/receipts",
    "/account", "/account/sessions", "/account/sessions/receipts", "/account/apps", "/nowhere",
    "/authorize", "/static/x", "/api/v1/users/sessions", "/device", "/device/par_x",
    "/handoff/par_x", "/qr/x", "/move", "/account/move", "/account/move/par_x",
]  # fmt: skip
PARAMETERS = [
    "request", "next", "done", "tab", "removed", "login_hint", "client_id", "redirect_uri", "state",
    "error", "error_description", "error_hint", "ui_locales", "id_token_hint", "scope", "prompt",
    "post_logout_redirect_uri", "request_uri", "csrf", "user_code", MARKER,
]  # fmt: skip
HEADERS = ["user-agent", "referer", "accept-language", "x-forwarded-for", "origin", "sec-ch-ua"]


@pytest.mark.parametrize("path", PATHS)
def test_no_parameter_becomes_markup(path: str, idp: Idp, alice: Somebody) -> None:
    for browser in (idp.browser(), alice.browser):
        for parameter in PARAMETERS:
            response = browser.get(f"{path}?{urlencode({parameter: MARKER})}")
            assert response.status_code < 500
            assert is_harmless(response), parameter
        assert is_harmless(browser.get(f"{path}/{quote(MARKER, safe='')}"))


@pytest.mark.parametrize("path", PATHS)
def test_no_header_becomes_markup(path: str, idp: Idp, alice: Somebody) -> None:
    for browser in (idp.browser(), alice.browser):
        for header in HEADERS:
            response = browser.get(path, headers={header: MARKER})
            assert response.status_code < 500
            assert is_harmless(response), header


def test_no_field_of_the_sign_in_form_becomes_markup(idp: Idp) -> None:
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    for field in ("username", "password", "next"):
        values = {"username": "x", "password": "y", field: MARKER}
        response = page.press(browser, "login-submit", **values)
        assert response.status_code == 403
        assert is_harmless(response), field
    shown = page.press(browser, "login-submit", username=MARKER, password="y")
    assert Page(shown).element("username").attributes["value"] == MARKER


def test_no_stored_name_becomes_markup(idp: Idp, alice: Somebody) -> None:
    """Labels, user agents, client names, scopes and addresses, on every page that shows them."""
    client = idp.register(
        name=MARKER[:80],
        first_party=0,
        redirect_uris=["https://app.example/callback"],
        backchannel_logout_uri="http://127.0.0.1:1/",
        scope="openid <script>",
    )
    idp.execute("UPDATE clients SET name = :n, client_uri = :u", n=MARKER, u=f"javascript:{MARKER}")
    idp.execute("UPDATE users SET username = :n", n=MARKER)
    other = alice.elsewhere(agent=f"Mozilla {MARKER}", ip="198.51.100.7")
    for path, values in (
        (f"/account/sessions/{other}/rename", {"name": MARKER[:60]}),
        (f"/account/sessions/{alice.id}/rename", {"name": MARKER[:60]}),
    ):
        token = alice.sessions().forms[0].fields["csrf"]
        assert alice.browser.post(path, data={"csrf": token, **values}).status_code == 303
    question = begin(alice.browser, client, scope="openid <script>", login_hint=MARKER)
    assert "consent-allow" in question.text
    assert is_harmless(question)
    with idp.work.begin() as unit:
        consent.grant(
            unit,
            user_id=alice.user.id,
            session_id=alice.id,
            client_id=client.id,
            scope=f"openid {MARKER}",
        )
        lifecycle.end(unit, [other], reason="signed_out", actor=lifecycle.Actor("user", other))
    for response in _pages(alice, client.id):
        assert is_harmless(response), response.url
        assert "script src=//evil.example" in Page(response).text, response.url


def _pages(one: Somebody, client_id: str) -> Iterator[Response]:
    yield one.browser.get("/account/sessions")
    yield one.browser.get("/account/sessions?tab=ended")
    yield one.browser.get("/account/apps")
    yield one.browser.get(f"/logout?client_id={client_id}")
    token = one.sessions().forms[0].fields["csrf"]
    yield one.browser.post("/account/sessions/end", data={"csrf": token, "what": "everywhere"})
    yield one.browser.post("/account/apps", data={"csrf": token, "client_id": client_id})


def test_a_link_of_an_app_must_be_a_web_address(idp: Idp, alice: Somebody) -> None:
    client = idp.register(name="Notes", client_uri="https://notes.example/")
    alice.use(client)
    assert 'href="https://notes.example/"' in alice.browser.get("/account/sessions").text
    for uri in ("javascript:alert(1)", "data:text/html,x", " https://x", "//evil.example"):
        idp.execute("UPDATE clients SET client_uri = :u", u=uri)
        page = alice.sessions()
        links = [one.attributes.get("href", "") for one in page.elements if one.tag == "a"]
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)


def test_the_error_of_an_unknown_app_shows_nothing_of_the_request(
    idp: Idp, somebody: Callable[..., Somebody]
) -> None:
    client = idp.register()
    for change in (
        {"client_id": MARKER},
        {"redirect_uri": f"https://evil.example/{MARKER}"},
        {"redirect_uri": MARKER},
    ):
        response = idp.browser().get("/authorize?" + urlencode(Flow(client).parameters(**change)))
        assert response.status_code == 400
        assert "evil.example" not in response.text
        assert Page(response).has("error")


def test_a_sentence_from_elsewhere_is_text_whatever_it_holds(idp: Idp) -> None:
    """Refusals name what was asked for; a percent sign in one is no place for a value."""
    page = Renderer(idp.settings, idp.clock).fragment(
        "error.html",
        language="en",
        title="<b>No</b>",
        sentence="There is no <i>“%s”</i>: 100 % sure, %(name)s.",
        links=[("<u>Back</u>", "/")],
    )
    assert "&lt;b&gt;No&lt;/b&gt;" in page
    assert "&lt;i&gt;“%s”&lt;/i&gt;: 100 % sure, %(name)s." in page
    assert "&lt;u&gt;Back&lt;/u&gt;" in page

"""What is typed into a form survives the end of its session, and goes nowhere else (T6, WB-02)."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import HOUR, MINUTE
from idp.web.kept_form import LASTS
from tests.harness.enrolled import with_totp
from tests.harness.provider import PASSWORD, Idp
from tests.web.conftest import Somebody, sign_in
from tests.web.html import Page


@dataclass
class AtHome:
    """Somebody who signed in at a page, in a browser with a number of its own."""

    idp: Idp
    browser: TestClient
    username: str = "alice"

    def sign_in(self, address: str = "/account/sign-in") -> Response:
        page = Page(self.browser.get(address))
        return sign_in(self.browser, page, username=self.username)

    def sessions(self) -> Page:
        return Page(self.browser.get("/account/sessions"))

    @property
    def id(self) -> str:
        return current(self.sessions())


def current(page: Page) -> str:
    (row,) = [one for one in page.elements if "row current" in one.attributes.get("class", "")]
    return row.attributes["id"]


@pytest.fixture
def home(idp: Idp) -> AtHome:
    idp.person("alice")
    made = AtHome(idp, idp.browser())
    assert made.sign_in().status_code == 303
    return made


def rename(home: AtHome, page: Page, name: str = "Work <laptop>") -> Response:
    action = f"/account/sessions/{current(page)}/rename"
    return home.browser.post(action, data=page.form(action=action).fields | {"name": name})


def next_of(response: Response) -> str:
    assert response.status_code == 303, response.text
    address = urlsplit(response.headers["location"])
    assert address.path == "/account/sign-in"
    return parse_qs(address.query)["next"][0]


def name_of(home: AtHome, session_id: str) -> str:
    page = home.sessions()
    return page.element(f"name-{session_id}").attributes["value"]


def test_a_form_that_met_the_end_comes_back_after_signing_in(home: AtHome) -> None:
    """The session ran out while somebody typed; the row they renamed is another one."""
    other = AtHome(home.idp, home.idp.browser())
    other.sign_in()
    other_id = other.id
    page = home.sessions()
    action = f"/account/sessions/{other_id}/rename"
    form = page.form(action=action).fields | {"name": "Work <laptop>"}
    home.idp.clock.advance(50 * MINUTE)
    other.sessions()
    home.idp.clock.advance(15 * MINUTE)
    answer = home.browser.post(action, data=form)
    wanted = next_of(answer)
    asked = Page(home.browser.get(answer.headers["location"]))
    assert "after 60 minutes without activity" in asked.text
    assert asked.has("kept")
    # It ran out by itself: who was here is no news to this browser.
    assert asked.element("username").attributes["value"] == "alice"
    back = sign_in(home.browser, asked)
    assert back.headers["location"] == wanted
    again = Page(home.browser.get(wanted))
    assert "Your session had ended before this was sent" in again.text
    assert "give a session a name" in again.text
    assert "Work <laptop>" in again.text
    assert not home.idp.events("session.renamed"), "shown, not sent"
    assert again.press(home.browser, "form-again").status_code == 303
    assert name_of(home, other_id) == "Work <laptop>"


def test_every_way_to_sign_in_leads_back_to_it(home: AtHome) -> None:
    factors = with_totp(home.idp, user_of(home))
    page = home.sessions()
    home.idp.end(current(page), "admin")
    answer = rename(home, page)
    asked = Page(home.browser.get(answer.headers["location"]))
    # An administrator ended it: whoever sits here now is told no name.
    assert asked.element("username").attributes["value"] == ""
    second = Page(sign_in(home.browser, asked))
    done = second.press(home.browser, "factor-submit", code=factors.code())
    assert done.headers["location"] == next_of(answer)
    assert "Work <laptop>" in Page(home.browser.get(next_of(answer))).text


def test_a_page_that_was_wanted_is_returned_to_exactly(home: AtHome) -> None:
    home.idp.end(home.id, "limit")
    for path in (
        "/account/sessions?tab=ended",
        "/account/security/not-me?session=ses_x&reviewed=5",
        "/account/security?back=%2Fstep-up%3Ffor%3Da%20b",
    ):
        wanted = next_of(home.browser.get(path))
        assert wanted == path
        page = Page(home.browser.get(f"/account/sign-in?next={wanted}"))
        assert "too many devices" in page.text


@pytest.mark.parametrize(
    ("path", "fields", "page"),
    [
        ("/account/security/password", {"password": "secret of mine"}, "/account/security/password"),
        ("/account/security/totp", {"code": "123456"}, "/account/security/totp/new"),
        ("/account/sessions/ses_x/rename", {"password": "x"}, "/account/sessions"),
        ("/account/sessions/ses_x/rename", {"name": "x" * 9_000}, "/account/sessions"),
        ("/account/session/extend", {"next": "/account/apps"}, "/account/apps"),
        ("/account/session/extend", {"next": "//evil.example"}, "/account/sessions"),
        ("/step-up", {"for": "change_password", "next": "/account/sessions/end"}, "/account/sessions"),
    ],
)  # fmt: skip
def test_what_is_secret_or_too_long_is_not_kept(
    path: str, fields: dict[str, str], page: str, home: AtHome
) -> None:
    token = home.sessions().forms[0].fields["csrf"]
    home.idp.end(home.id, "admin")
    answer = home.browser.post(path, data={"csrf": token, **fields})
    assert next_of(answer) == page
    asked = Page(home.browser.get(answer.headers["location"]))
    assert not asked.has("kept")


def test_the_form_behind_a_proof_is_the_one_that_comes_back(home: AtHome) -> None:
    """Ended while the person was about to confirm who they are for another form."""
    home.idp.clock.advance(10 * MINUTE)
    page = Page(home.browser.get("/account/sessions"))
    token = page.forms[0].fields["csrf"]
    first = Page(
        home.browser.post(
            "/account/sessions/end", data={"csrf": token, "what": "everywhere", "confirmed": "yes"}
        )
    )
    asked = Page(first.press(home.browser, "step-up-begin"))
    home.idp.end(home.id, "admin")
    answer = asked.press(home.browser, "factor-submit", password=PASSWORD)
    assert next_of(answer).startswith("/account/session/form?of=")
    home.sign_in(answer.headers["location"])
    again = Page(home.browser.get(next_of(answer)))
    assert "sign out several sessions" in again.text
    assert again.form(button="form-again").fields["what"] == "everywhere"
    assert "password" not in again.form(button="form-again").fields


def test_signing_out_of_a_session_that_is_over_is_signing_out(home: AtHome) -> None:
    page = home.sessions()
    home.idp.clock.advance(2 * HOUR)
    answer = page.press(home.browser, "sign-out")
    assert answer.headers["location"] == "/signed-out"
    assert "idp_session=; Path=/" in answer.headers["set-cookie"]


def test_it_is_offered_for_half_an_hour(home: AtHome) -> None:
    page = home.sessions()
    home.idp.end(current(page), "admin")
    wanted = next_of(rename(home, page))
    home.sign_in()
    home.idp.clock.advance(LASTS - 1)
    assert home.browser.get(wanted).status_code == 200
    home.idp.clock.advance(1)
    assert home.browser.get(wanted).headers["location"] == "/account/sessions"


@pytest.mark.attack("SE-17")
def test_a_store_that_was_flushed_costs_the_typing_and_nothing_else(home: AtHome) -> None:
    page = home.sessions()
    home.idp.end(current(page), "admin")
    wanted = next_of(rename(home, page))
    home.idp.app.provider.store.flush()
    home.sign_in()
    assert home.browser.get(wanted).headers["location"] == "/account/sessions"


@pytest.mark.attack("WB-02")
def test_only_a_form_with_the_token_of_that_session_is_kept(
    home: AtHome, somebody: Callable[..., Somebody]
) -> None:
    mallory = somebody("mallory")
    page = home.sessions()
    session_id = current(page)
    genuine = page.forms[0].fields["csrf"]
    foreign = mallory.sessions().forms[0].fields["csrf"]
    home.idp.end(session_id, "admin")
    forged = (
        "",
        foreign,
        foreign.replace(mallory.id, session_id),
        genuine[:-3] + "AAA",
        genuine.replace(".", ".1", 1),
        "A" * 43,
    )
    for token in forged:
        data = {"csrf": token, "name": "Mallory's"}
        answer = home.browser.post(f"/account/sessions/{session_id}/rename", data=data)
        assert next_of(answer) == "/account/sessions", token
        asked = Page(home.browser.get(answer.headers["location"]))
        assert not asked.has("kept")
    cross = home.browser.post(
        f"/account/sessions/{session_id}/rename",
        data={"csrf": genuine, "name": "Mallory's"},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert cross.status_code == 403
    home.sign_in()
    assert home.browser.get(f"/account/session/form?of={session_id}").status_code == 303


@pytest.mark.attack("SE-08")
def test_nobody_else_and_no_other_browser_is_offered_it(home: AtHome) -> None:
    home.idp.person("bob")
    page = home.sessions()
    home.idp.end(current(page), "admin")
    wanted = next_of(rename(home, page))
    bob = AtHome(home.idp, home.browser, "bob")
    bob.sign_in()
    assert home.browser.get(wanted).headers["location"] == "/account/sessions"
    elsewhere = AtHome(home.idp, home.idp.browser())
    elsewhere.sign_in()
    assert elsewhere.browser.get(wanted).headers["location"] == "/account/sessions"
    for odd in ("", "?of=", "?of=x", "?of=ses_" + "0" * 32, "?of=" + "x" * 5_000):
        answer = elsewhere.browser.get(f"/account/session/form{odd}")
        assert answer.headers["location"] == "/account/sessions"


def test_without_a_session_the_form_waits_behind_the_sign_in(home: AtHome) -> None:
    page = home.sessions()
    home.idp.end(current(page), "admin")
    wanted = next_of(rename(home, page))
    assert next_of(home.browser.get(wanted)) == wanted


def user_of(home: AtHome):  # type: ignore[no-untyped-def]
    from idp.users import queries

    with home.idp.work.read() as unit:
        user = queries.by_identifier(unit, home.username)
    assert user is not None
    return user

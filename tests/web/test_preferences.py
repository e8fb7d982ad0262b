"""Language and theme: what a page takes first, and what a choice on it does."""

import pytest
from sqlalchemy import select

from idp.languages import said
from idp.policy.assurance import Authentication
from idp.sessions import beginning
from idp.sessions.device import Visit
from idp.sessions.endings import ENDINGS
from idp.sessions.model import Session
from idp.users.model import User
from tests.harness.provider import Idp
from tests.web.conftest import Somebody
from tests.web.html import Page

FORM = "/account/session/preferences"


def spoken(alice: Somebody, path: str = "/account/sessions", wished: str = "fr, en") -> str:
    answer = alice.browser.get(path, headers={"accept-language": wished})
    assert answer.headers["vary"] == "Accept-Language"
    return str(answer.headers["content-language"])


def choose(alice: Somebody, language: str, theme: str = "") -> Page:
    page = alice.sessions()
    sent = {**page.form(action=FORM).fields, "language": language, "theme": theme}
    answer = alice.browser.post(FORM, data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/sessions")
    return alice.sessions()


def test_the_language_is_what_is_asked_for_then_chosen_then_the_persons_then_the_browsers(
    idp: Idp, alice: Somebody
) -> None:
    assert spoken(alice) == "fr"
    assert spoken(alice, wished="rm") == "en"
    idp.execute("UPDATE users SET locale = 'de-CH'")
    assert spoken(alice) == "de"
    # One that is not shipped says nothing of the others.
    idp.execute("UPDATE users SET locale = 'rm'")
    assert spoken(alice) == "fr"
    choose(alice, "ja")
    assert spoken(alice) == "ja"
    assert spoken(alice, "/account/sessions?ui_locales=en") == "en"
    choose(alice, "")
    assert spoken(alice) == "fr"


def test_a_choice_is_seen_at_once_and_on_every_page(alice: Somebody) -> None:
    page = choose(alice, "pt-BR", "dark")
    assert "Suas sessões" in page.text
    for path in ("/account/sessions", "/account/security", "/account/apps"):
        shown = alice.browser.get(path).text
        assert '<html lang="pt-BR" dir="ltr" data-theme="dark">' in shown
        assert '<meta name="color-scheme" content="dark">' in shown
        assert '<option value="dark" selected>' in shown
    # What scripts put into the page speaks like it.
    assert "Suas sessões" in alice.browser.get("/account/sessions/live").text
    choose(alice, "", "")
    assert '<html lang="en" dir="ltr">' in alice.browser.get("/account/sessions").text


def test_a_refusal_and_a_question_look_like_the_session(alice: Somebody) -> None:
    page = choose(alice, "de", "dark")
    token = page.form(action=FORM).fields["csrf"]
    refused = alice.browser.post("/account/sessions/ses_none/end", data={"csrf": token})
    asked = alice.browser.get("/logout")
    assert (refused.status_code, asked.status_code) == (404, 200)
    for answer in (refused, asked):
        assert '<html lang="de" dir="ltr" data-theme="dark">' in answer.text
        assert answer.headers["content-language"] == "de"


def test_what_scripts_ask_for_speaks_like_a_page_that_was_asked_for_in_a_language(
    alice: Somebody,
) -> None:
    alice.idp.execute("UPDATE sessions SET expires_at = idle_at")
    page = alice.sessions("?ui_locales=fr")
    address = page.element("session").attributes["data-bell"]
    bell = alice.browser.get(f"{address}&here=%2Faccount%2Fapps")
    assert "Cette session prend fin" in bell.text
    form = page.form(action="/account/session/extend?ui_locales=fr")
    alice.idp.end(alice.id)
    asked = {"accept": "application/json", "accept-language": "de"}
    late, german = (
        alice.browser.post(address, data=form.fields, headers=asked).json()
        for address in (form.action, "/account/session/extend")
    )
    assert late["reason"] == german["reason"]
    assert late["title"] == said(ENDINGS[late["reason"]].title, "fr") != german["title"]


def test_a_chosen_language_is_heard_where_the_address_asked_for_another(alice: Somebody) -> None:
    fields = alice.sessions("?ui_locales=fr&sort=begun").form(action=FORM).fields
    for language, then in (("", "ui_locales=fr&sort=begun"), ("de", "sort=begun")):
        answer = alice.browser.post(FORM, data={**fields, "language": language, "theme": ""})
        assert answer.headers["location"] == f"/account/sessions?{then}"


def test_the_console_speaks_english_and_has_the_theme(alice: Somebody, idp: Idp) -> None:
    idp.execute("UPDATE users SET permissions = '[\"sessions:read\"]'")
    choose(alice, "de", "dark")
    shown = alice.browser.get("/admin/sessions").text
    assert '<html lang="en" dir="ltr" data-theme="dark">' in shown


def begun(idp: Idp, user: User, browser: str) -> tuple[str | None, str | None]:
    """What a new session in a browser looks like."""
    with idp.work.begin() as unit:
        visit = Visit(ip="192.0.2.1", device_hash=browser * 64)
        proved = [Authentication("password", ("pwd",), "aal1")]
        started = beginning.start(unit, unit.orm.get_one(User, user.id), proved, visit)
        assert isinstance(started, beginning.Started)
        row = started.row(unit)
        return row.language, row.theme


def test_the_next_session_in_the_same_browser_looks_like_the_last(
    either_idp: Idp,
) -> None:
    alice, bob = either_idp.person(), either_idp.person("bob")
    assert begun(either_idp, alice, "d") == (None, None)
    either_idp.execute("UPDATE sessions SET language = 'es', theme = 'dark'")
    assert begun(either_idp, alice, "d") == ("es", "dark")
    assert begun(either_idp, alice, "e") == (None, None)
    # Nobody learns from a shared browser what somebody else chose.
    assert begun(either_idp, bob, "d") == (None, None)


@pytest.mark.parametrize(
    ("language", "theme"), [("xx", ""), ("../de", ""), ("", 'dark" onload="x'), ("DE", "")]
)
def test_nothing_else_than_what_is_offered_is_kept(
    alice: Somebody, language: str, theme: str
) -> None:
    page = alice.sessions()
    sent = {**page.form(action=FORM).fields, "language": language, "theme": theme}
    answer = alice.browser.post(FORM, data=sent)
    assert answer.status_code == 400
    assert "onload" not in alice.browser.get("/account/sessions").text


@pytest.mark.attack("WB-02")
def test_a_choice_needs_the_token_of_the_session_and_changes_only_that_one(
    idp: Idp, alice: Somebody
) -> None:
    other = alice.elsewhere()
    assert alice.browser.post(FORM, data={"language": "de"}).status_code == 403
    assert alice.browser.get(f"{FORM}?language=de").status_code == 405
    choose(alice, "de")
    with idp.work.read() as unit:
        rows = unit.connection.execute(select(Session.id, Session.language)).all()
    assert {row.id: row.language for row in rows} == {alice.id: "de", other: None}

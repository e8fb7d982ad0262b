"""Signing in with another device, from the code to the end of its session, on both databases."""

from idp.clock import HOUR, MINUTE
from idp.sessions import queries
from idp.sessions.model import Session
from tests.harness.device_app import open_code
from tests.harness.provider import Idp
from tests.harness.qr_browser import Asker, answer, asker, let_in, on_a_phone, scan
from tests.web.conftest import Somebody, begin
from tests.web.html import Page


def test_a_browser_is_let_in_by_a_phone_and_ends_with_it(either_idp: Idp) -> None:
    idp = either_idp
    phone, laptop = on_a_phone(idp), asker(idp)
    assert laptop.stage == "pending"
    page = scan(phone.browser, laptop.scanned)
    assert "Chrome 156 on Windows" in page.text
    assert "for 8 hours at most" in page.text
    assert laptop.stage == "claimed"
    page = answer(phone.browser, page, laptop.number)
    assert "Now press “Continue”" in page.text
    assert laptop.stage == "approved"
    assert "Continue as alice" in laptop.page().text
    assert not laptop.is_signed_in
    assert laptop.press("handoff-finish").headers["location"] == "/account/sessions"
    assert laptop.is_signed_in

    made = the_new_session(idp, phone)
    assert (made.origin, made.parent_id, made.acr, made.temporary) == (
        "handoff",
        phone.id,
        "aal1",
        1,
    )
    assert made.expires_at == idp.clock.now() + 8 * HOUR
    with idp.work.read() as unit:
        assert (
            queries.details(unit, unit.orm.get_one(Session, made.id)).via == "Safari 19 on iPhone"
        )
    shown = Page(laptop.browser.get("/account/sessions"))
    assert "let in by Safari 19 on iPhone" in shown.text
    assert "Temporary, ends" in shown.text

    idp.end(phone.id)
    assert not laptop.is_signed_in
    assert {one["reason"] for one in idp.events("session.ended")} == {"parent_ended", "signed_out"}


def test_the_page_with_the_code_speaks_as_the_app_asked(idp: Idp) -> None:
    browser = idp.browser()
    page = Page(begin(browser, idp.register(name="Notes"), ui_locales="fr"))
    shown = browser.get(page.press(browser, "login-elsewhere").headers["location"])
    assert shown.headers["content-language"] == "fr"


def test_the_person_may_wish_that_it_goes_on_alone(either_idp: Idp) -> None:
    idp = either_idp
    phone, laptop = on_a_phone(idp), asker(idp)
    page = scan(phone.browser, laptop.scanned)
    answer(phone.browser, page, laptop.number, together=False)
    laptop.press("handoff-finish")
    assert the_new_session(idp, phone).parent_id is None
    idp.end(phone.id)
    assert laptop.is_signed_in


def test_a_phone_whose_session_runs_out_takes_nobody_along(either_idp: Idp) -> None:
    idp = either_idp
    phone, laptop = on_a_phone(idp), asker(idp)
    let_in(phone.browser, laptop)
    laptop.press("handoff-finish")
    idp.end(phone.id, "idle_timeout")
    assert laptop.is_signed_in


def test_the_way_to_an_app_goes_on_after_it(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register(name="Notes")
    browser = idp.browser()
    page = Page(begin(browser, app))
    response = page.press(browser, "login-elsewhere")
    laptop = Asker(idp, browser, response.headers["location"])
    phone = on_a_phone(idp)
    let_in(phone.browser, laptop)
    response = laptop.press("handoff-finish")
    assert response.headers["location"].startswith("/authorize?")
    response = browser.get(response.headers["location"])
    assert response.headers["location"].startswith("https://app.example/callback?code=")


def test_the_short_code_may_be_typed_instead(either_idp: Idp) -> None:
    idp = either_idp
    phone, laptop = on_a_phone(idp), asker(idp)
    page = open_code(phone.browser, laptop.user_code)
    answer(phone.browser, page, laptop.number)
    laptop.press("handoff-finish")
    assert laptop.is_signed_in


def test_a_code_is_replaced_every_minute_for_ten(either_idp: Idp) -> None:
    idp = either_idp
    phone, laptop = on_a_phone(idp), asker(idp)
    seen = {laptop.scanned}
    for _ in range(9):
        idp.clock.advance(MINUTE)
        assert "This code has run out" in laptop.page().text
        assert laptop.press("handoff-renew").status_code == 303
        seen.add(laptop.scanned)
    assert len(seen) == 10
    idp.clock.advance(MINUTE)
    assert laptop.stage == "expired"
    for old in seen:
        assert "This code does not work" in scan(phone.browser, old).text


def the_new_session(idp: Idp, one: Somebody) -> Session:
    with idp.work.read() as unit:
        found = unit.orm.query(Session).where(Session.id != one.id).one()
        unit.orm.expunge(found)
        return found

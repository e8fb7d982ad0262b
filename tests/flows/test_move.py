"""Moving a session to another device, from the button to the new session, on both databases."""

import pytest

from idp.clock import HOUR, MINUTE
from idp.sessions.model import Session
from tests.flows.test_qr_sign_in import the_new_session
from tests.harness.provider import Idp
from tests.harness.qr_browser import HOME, Asker, a_browser, answer, goes_on, showing
from tests.web.conftest import LAPTOP, Somebody
from tests.web.html import Page


def on_a_laptop(idp: Idp) -> Somebody:
    user = idp.person("alice")
    session = idp.session(user, agent=LAPTOP, ip=HOME)
    browser = idp.signed_in_browser(session, ip=HOME)
    browser.headers["User-Agent"] = LAPTOP
    return Somebody(idp, user, session, browser)


def test_a_session_goes_on_on_a_phone_and_is_over_on_the_laptop(either_idp: Idp) -> None:
    idp = either_idp
    laptop = on_a_laptop(idp)
    app = idp.register(name="Notes")
    tokens = laptop.use(app)
    shown = showing(laptop)
    assert "Scan this" in shown.page().text
    phone = goes_on(shown)
    assert phone.stage == "claimed"
    page = shown.page()
    assert "Safari 19 on iPhone" in page.text
    assert "same network" in page.text
    assert "for 8 hours at most" in page.text
    page = answer(laptop.browser, page, phone.number, wish="instead")
    assert "Now press “Continue” on Safari 19 on iPhone" in page.text
    assert laptop.is_running(laptop.id)
    assert "Continue as alice" in phone.page().text
    assert phone.press("handoff-finish").headers["location"] == "/account/sessions"
    assert phone.is_signed_in

    made = the_new_session(idp, laptop)
    assert (made.origin, made.parent_id, made.acr) == ("handoff", None, "aal1")
    assert made.expires_at == idp.clock.now() + 8 * HOUR
    assert made.ended_at is None
    with idp.work.read() as unit:
        old = unit.orm.get_one(Session, laptop.id)
        assert (old.end_reason, old.ended_by_id) == ("moved", made.id)
    # Its apps were told, and whoever looks at the laptop reads where it went.
    assert not idp.is_active(app, tokens["access_token"])
    over = Page(laptop.browser.get("/account/sign-in"))
    assert "You moved this session to “Safari 19 on iPhone”" in over.text
    ended = Page(phone.browser.get("/account/sessions?tab=ended"))
    assert "You moved this session" in ended.text


def test_its_person_may_stay_signed_in_on_both(either_idp: Idp) -> None:
    idp = either_idp
    laptop = on_a_laptop(idp)
    shown = showing(laptop)
    phone = goes_on(shown)
    answer(laptop.browser, shown.page(), phone.number, wish="together")
    phone.press("handoff-finish")
    assert phone.is_signed_in
    assert laptop.is_running(laptop.id)
    assert the_new_session(idp, laptop).parent_id == laptop.id
    idp.end(laptop.id)
    assert not phone.is_signed_in


def test_the_code_is_typed_where_there_is_no_camera(either_idp: Idp) -> None:
    idp = either_idp
    shown = showing(on_a_laptop(idp))
    other = a_browser(idp, agent=LAPTOP)
    page = Page(other.get("/move"))
    response = page.press(other, "qr-open", user_code=shown.user_code.lower().replace("-", " "))
    asker = Asker(idp, other, response.headers["location"])
    answer(shown.by.browser, shown.page(), asker.number, wish="instead")
    asker.press("handoff-finish")
    assert asker.is_signed_in


def test_a_code_is_replaced_every_minute_for_ten_and_then_begun_anew(either_idp: Idp) -> None:
    idp = either_idp
    shown = showing(on_a_laptop(idp))
    seen = {shown.scanned}
    for _ in range(9):
        idp.clock.advance(MINUTE)
        assert "This code has run out" in shown.page().text
        assert shown.press("handoff-renew").status_code == 303
        seen.add(shown.scanned)
    assert len(seen) == 10
    idp.clock.advance(MINUTE)
    page = shown.page()
    assert not page.has("handoff-renew")
    browser = a_browser(idp)
    assert {browser.get(old).status_code for old in seen} == {404}
    # Nine minutes later a proof is due, and the button is pressed again after it.
    assert page.press(shown.by.browser, "move-again").status_code == 200


@pytest.mark.parametrize("button", ["device-deny", "device-report"])
def test_a_no_is_told_to_the_other_device(either_idp: Idp, button: str) -> None:
    idp = either_idp
    shown = showing(on_a_laptop(idp))
    phone = goes_on(shown)
    assert shown.press(button).status_code == 303
    assert phone.stage == "denied"
    assert not phone.is_signed_in
    assert "Nothing was given" in shown.page().text


def test_whoever_changes_their_mind_takes_the_code_back(either_idp: Idp) -> None:
    idp = either_idp
    shown = showing(on_a_laptop(idp))
    code = shown.scanned
    assert shown.press("move-cancel").headers["location"] == "/account/sessions"
    assert a_browser(idp).get(code).status_code == 404
    shown = showing(shown.by)
    phone = goes_on(shown)
    assert phone.press("handoff-cancel").status_code == 303
    assert "Nothing was given" in shown.page().text

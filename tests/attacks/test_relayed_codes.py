"""QR codes in the wrong hands: relayed, photographed, guessed, opened twice (RFC 10027).

B3 and B4 are the examples of that document in which somebody is shown a code that a stranger began.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from idp import ids
from idp.clock import DAY, MINUTE, SECOND
from idp.sessions import handoff, pairing_room
from idp.sessions.model import Pairing
from idp.users.rules import set_rule
from tests.harness import mmdb
from tests.harness.device_app import decide, open_code
from tests.harness.provider import ADMIN, PASSWORD, Idp, Templates
from tests.harness.qr_browser import (
    ABROAD,
    ELSEWHERE,
    HOME,
    Asker,
    answer,
    asker,
    knowing,
    let_in,
    on_a_phone,
    scan,
)
from tests.harness.workbench import ManualClock
from tests.web.conftest import LAPTOP, Somebody
from tests.web.html import Page
from tests.web.test_unproved_session import BY_COOKIE

COUNTRIES = {
    "192.0.2.0/24": mmdb.city("Bonn", "DE", at=(50.73, 7.1), radius=20),
    "198.51.100.0/24": mmdb.city("Jena", "DE", at=(50.93, 11.59), radius=20),
    "203.0.113.0/24": mmdb.city("Lyon", "FR"),
    # Some 580 km from Bonn; the second is not sure of it.
    "100.0.0.0/16": mmdb.city("Wolgast", "DE", at=(54.05, 13.77), radius=100),
    "100.1.0.0/16": mmdb.city("Wolgast", "DE", at=(54.05, 13.77), radius=20),
}
FAR, PERHAPS_FAR = "100.1.0.7", "100.0.0.7"


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider that knows in which country an address is."""
    made = knowing(COUNTRIES, tmp_path, templates, clock)
    yield made
    made.close()


@pytest.fixture
def alice(idp: Idp) -> Somebody:
    return on_a_phone(idp)


def numbers(page: Page) -> list[int]:
    """The numbers to choose from on the approving device."""
    buttons = page.form(button="device-deny").buttons
    return [int(said[6:]) for _, _, said in buttons if said.startswith("allow-")]


def may_not(page: Page) -> bool:
    return page.has("too-far") and not page.has("number") and not numbers(page)


# --- Relayed: somebody far away began it, and sent the code to her --------------------------------


@pytest.mark.attack("XD-08")
def test_the_further_away_it_is_the_more_is_asked_for(idp: Idp, alice: Somebody) -> None:
    near = asker(idp, ip=HOME)
    page = scan(alice.browser, near.scanned)
    assert near.number in numbers(page)
    assert len(numbers(page)) == 3
    assert "same network" in page.text
    # A code that was sent shows no number: whoever sent it would have to tell her.
    page = scan(alice.browser, asker(idp, ip=ELSEWHERE).scanned)
    assert numbers(page) == []
    assert page.has("number")
    assert "Jena" in page.text
    page = scan(alice.browser, asker(idp, ip=ABROAD).scanned)
    assert may_not(page)
    assert "Lyon" in page.text


@pytest.mark.attack("XD-08")
def test_how_far_it_is_is_said_and_what_is_surely_far_is_not_let_in(
    idp: Idp, alice: Somebody
) -> None:
    page = scan(alice.browser, asker(idp, ip=HOME).scanned)
    assert not page.has("distance")
    page = scan(alice.browser, asker(idp, ip=ELSEWHERE).scanned)
    assert "about 320 km away" in page.text
    assert page.has("number")
    page = scan(alice.browser, asker(idp, ip=ABROAD).scanned)
    assert not page.has("distance")
    page = scan(alice.browser, asker(idp, ip=PERHAPS_FAR).scanned)
    assert "about 580 km away" in page.text
    assert page.has("number")
    far = asker(idp, ip=FAR)
    page = scan(alice.browser, far.scanned)
    assert "about 580 km away" in page.text
    assert may_not(page)
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{far.number}", "number": str(far.number)}
    alice.browser.post(form.action, data=values)
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["too_far"]
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {}, {"far": "type"}, ADMIN)
    assert scan(alice.browser, asker(idp, ip=FAR).scanned).has("number")


@pytest.mark.attack("XD-08")
@pytest.mark.parametrize("then, is_let_in", [(ELSEWHERE, True), (ABROAD, False), (FAR, False)])
def test_who_seemed_near_when_they_asked_is_let_in_only_if_they_still_are_when_they_come(
    idp: Idp, alice: Somebody, then: str, is_let_in: bool
) -> None:
    """Asked through a machine in her house or her town, and fetched from where they really are."""
    near = asker(idp, ip=HOME)
    let_in(alice.browser, near)
    moved = idp.browser(ip=then)
    moved.headers["User-Agent"] = LAPTOP
    moved.cookies.update(near.browser.cookies)
    page = Page(moved.get(near.path))
    page.press(moved, "handoff-finish")
    assert (near.stage == "consumed") is is_let_in
    reasons = [one["reason"] for one in idp.events("pairing.denied")]
    assert reasons == ([] if is_let_in else ["too_far"])
    assert len(idp.events("session.created")) == (2 if is_let_in else 1)


@pytest.mark.attack("XD-08")
def test_what_the_page_does_not_offer_is_not_taken_either(idp: Idp, alice: Somebody) -> None:
    """She is talked into it, with tools: the number is right, the place is not."""
    abroad = asker(idp, ip=ABROAD)
    page = scan(alice.browser, abroad.scanned)
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{abroad.number}", "number": str(abroad.number)}
    alice.browser.post(form.action, data=values)
    assert abroad.stage == "denied"
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["too_far"]
    # Where it must be typed, a button with it does not do.
    elsewhere = asker(idp, ip=ELSEWHERE)
    page = scan(alice.browser, elsewhere.scanned)
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{elsewhere.number}"}
    alice.browser.post(form.action, data=values)
    assert elsewhere.stage == "denied"


@pytest.mark.attack("XD-08")
def test_a_rule_may_ask_for_more_and_holds_for_who_asks(idp: Idp, alice: Somebody) -> None:
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {"network": "198.51.100.0/24"},
                 {"other_network": "refuse"}, ADMIN)  # fmt: skip
        set_rule(unit, "handoff", {}, {"same_network": "type", "other_country": "type"}, ADMIN)
    assert scan(alice.browser, asker(idp, ip=HOME).scanned).has("number")
    assert may_not(scan(alice.browser, asker(idp, ip=ELSEWHERE).scanned))
    assert scan(alice.browser, asker(idp, ip=ABROAD).scanned).has("number")


@pytest.mark.attack("XD-08")
@pytest.mark.parametrize("ip", [HOME, ELSEWHERE])
def test_a_wrong_number_ends_it_so_there_is_no_second_guess(
    idp: Idp, alice: Somebody, ip: str
) -> None:
    asked = asker(idp, ip=ip)
    page = scan(alice.browser, asked.scanned)
    right = asked.number
    wrong = next(one for one in [*numbers(page), 10, 11] if one != right)
    after = answer(alice.browser, page, wrong)
    assert "Nothing was given" in after.text
    answer(alice.browser, page, right)
    assert asked.stage == "denied"
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["wrong_number"]
    assert idp.count("sessions") == 1


@pytest.mark.attack("XD-08")
@pytest.mark.parametrize("said", ["", "4", "100", "-1", "1e1", "٤٢", "allow", "0" * 5000])
def test_what_is_no_number_lets_nobody_in(idp: Idp, alice: Somebody, said: str) -> None:
    asked = asker(idp, ip=ELSEWHERE)
    page = scan(alice.browser, asked.scanned)
    page.press(alice.browser, "device-allow", number=said)
    assert asked.stage == "denied"


@pytest.mark.attack("XD-08")
def test_the_number_is_of_one_claim_and_no_code_shows_it(idp: Idp, alice: Somebody) -> None:
    """A picture of the code cannot hold it, and who opens the code makes it."""
    asked = asker(idp)
    assert not asked.page().has("number")
    scan(alice.browser, asked.scanned)
    with idp.work.read() as unit:
        row = unit.orm.get_one(Pairing, asked.pairing_id)
        shown = handoff.number(idp.work.vault, row)
        assert shown == asked.number
        others = set()
        for n in range(40):
            row.session_id = f"ses_{n}"
            others.add(handoff.number(idp.work.vault, row))
        unit.orm.expunge(row)
    assert len(others) > 10
    assert all(10 <= one <= 99 for one in others)


# --- Replayed: a picture of the code, later ------------------------------------------------------


@pytest.mark.attack("XD-07")
def test_a_picture_of_a_code_is_worth_nothing_once_it_was_opened(idp: Idp, alice: Somebody) -> None:
    mallory = on_a_phone(idp, "mallory")
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    assert "This code does not work" in scan(mallory.browser, asked.scanned).text
    # The first is warned, and still has it.
    assert len(idp.events("pairing.contested")) == 1
    address = page.form(button="device-deny").action
    assert Page(alice.browser.get(address)).has("contested")
    answer(alice.browser, page, asked.number)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    for one in (alice, mallory):
        assert "This code does not work" in scan(one.browser, asked.scanned).text
    assert asked.stage == "consumed"


@pytest.mark.attack("XD-07")
def test_a_picture_of_a_code_is_worth_nothing_after_a_minute(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    picture, typed = asked.scanned, asked.user_code
    idp.clock.advance(MINUTE)
    assert "This code does not work" in scan(alice.browser, picture).text
    asked.press("handoff-renew")
    assert "This code does not work" in scan(alice.browser, picture).text
    assert open_code(alice.browser, typed).has("error")
    assert scan(alice.browser, asked.scanned).has("device-deny")


@pytest.mark.attack("XD-07")
def test_a_code_that_was_opened_is_not_replaced(idp: Idp, alice: Somebody) -> None:
    """Else the page that somebody left open could be opened by one person after the other."""
    asked = asker(idp)
    page = asked.page()
    scan(alice.browser, asked.scanned)
    before = asked.scanned
    page.press(asked.browser, "handoff-renew")
    assert asked.scanned == before
    assert asked.stage == "claimed"


@pytest.mark.attack("XD-07")
def test_an_approval_nobody_comes_for_runs_out(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    let_in(alice.browser, asked)
    finish = asked.page()
    idp.clock.advance(handoff.FETCHING)
    assert finish.press(asked.browser, "handoff-finish").status_code == 303
    assert asked.stage == "expired"
    assert idp.count("sessions") == 1


# --- Who may do what -----------------------------------------------------------------------------


@pytest.mark.attack("XD-01")
def test_nobody_else_decides_and_no_other_browser_comes_for_it(idp: Idp, alice: Somebody) -> None:
    mallory = on_a_phone(idp, "mallory")
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    decision = page.form(button="device-deny").action
    thief = asker(idp, ip=ELSEWHERE)
    theirs = thief.page().form(button="handoff-cancel").fields
    token = scan(mallory.browser, thief.scanned).form(button="device-deny").fields
    for action in (f"allow-{asked.number}", "deny", "report"):
        data = token | {"action": action, "number": str(asked.number)}
        assert mallory.browser.post(decision, data=data).status_code == 404
    assert mallory.browser.get(decision).status_code == 404
    answer(alice.browser, page, asked.number)
    for other in (thief.browser, mallory.browser, alice.browser, idp.browser()):
        assert other.get(asked.path).status_code == 404
        assert other.get(f"{asked.path}/stage").status_code == 404
    for action in ("finish", "cancel", "renew"):
        response = thief.browser.post(asked.path, data=theirs | {"action": action})
        assert response.status_code == 404
    assert asked.stage == "approved"


@pytest.mark.attack("XD-01")
def test_a_browser_does_not_let_itself_in(idp: Idp, alice: Somebody) -> None:
    """A code that its own browser opens needs no camera: it is a picture on a web page."""
    asked = asker(idp)
    here = idp.session(alice.user, agent=LAPTOP, ip=HOME)
    asked.browser.cookies.set("idp_session", here.secret, domain="localhost.local")
    opened = scan(asked.browser, asked.scanned), open_code(asked.browser, asked.user_code)
    for page in opened:
        assert "very browser that asks" in page.text
    assert asked.stage == "pending"


@pytest.mark.attack("XD-02")
@pytest.mark.parametrize("no", ["device-deny", "device-report"])
def test_back_after_a_no_and_then_a_yes_is_still_a_no(idp: Idp, alice: Somebody, no: str) -> None:
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    number = asked.number
    decide(alice.browser, page, no)
    after = answer(alice.browser, page, number)
    assert not after.has("device-deny")
    assert asked.stage == "denied"
    assert "Not let in" in asked.page().text
    assert idp.count("sessions") == 1


@pytest.mark.attack("XD-02")
def test_a_browser_that_gave_up_is_not_let_in_by_a_late_yes(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    number = asked.number
    assert asked.press("handoff-cancel").headers["location"].startswith("/account/sign-in")
    assert "Nothing was given" in answer(alice.browser, page, number).text
    assert asked.stage == "denied"


@pytest.mark.attack("XD-08")
def test_what_was_reported_keeps_that_network_out_for_a_day(idp: Idp, alice: Somebody) -> None:
    page = scan(alice.browser, asker(idp, ip=ELSEWHERE).scanned)
    assert "Thank you" in decide(alice.browser, page, "device-report").text
    (event,) = idp.events("pairing.reported")
    assert event["user_id"] == alice.user.id
    assert "You reported" in scan(alice.browser, asker(idp, ip=ELSEWHERE).scanned).text
    assert scan(alice.browser, asker(idp, ip=HOME).scanned).has("device-deny")
    bob = on_a_phone(idp, "bob")
    assert scan(bob.browser, asker(idp, ip=ELSEWHERE).scanned).has("device-deny")
    idp.clock.advance(DAY + handoff.DECIDING)
    with idp.work.begin() as unit:
        pairing_room.delete_expired(unit)
    assert idp.count("pairings") == 0


@pytest.mark.attack("XD-08")
def test_who_proved_nothing_says_no_at_once_and_keeps_a_network_out_only_after_a_proof(
    idp: Idp, alice: Somebody
) -> None:
    """Whoever merely sits at a remembered browser could keep its owner's own network out for a day."""
    session = idp.session(alice.user, proved=(BY_COOKIE,), ip=HOME)
    browser = idp.signed_in_browser(session, ip=HOME)
    asked = asker(idp, ip=ELSEWHERE)
    page = scan(browser, asked.scanned)
    held = Page(page.press(browser, "device-report"))
    assert asked.stage == "denied"
    assert not idp.events("pairing.reported")
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["denied"]
    # After the proof what they meant is still offered, and is done by their click.
    idp.clock.advance(SECOND)
    step_up = Page(held.press(browser, "step-up-begin"))
    back = Page(step_up.press(browser, "factor-submit", password=PASSWORD))
    assert back.press(browser, "step-up-continue").status_code == 303
    (event,) = idp.events("pairing.reported")
    assert event["user_id"] == alice.user.id
    assert "You reported" in scan(browser, asker(idp, ip=ELSEWHERE).scanned).text


# --- Addresses, forms and floods -----------------------------------------------------------------


@pytest.mark.attack("LO-10")
def test_opening_an_address_changes_nothing(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    before = len(idp.events())
    for browser in (alice.browser, idp.browser(), asked.browser):
        for path in (asked.scanned, asked.path, f"{asked.path}/stage"):
            for method in ("GET", "HEAD"):
                browser.request(method, path)
    assert asked.stage == "pending"
    assert len(idp.events()) == before
    page = Page(alice.browser.get(asked.scanned))
    assert "A code that was sent to you lets somebody else in" in page.text
    # What the code holds says nothing of who asks: that is told to whoever opens it.
    assert "Windows" not in page.text


@pytest.mark.attack("WB-02")
def test_every_form_of_it_needs_its_token(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    stolen = asker(idp, ip=ELSEWHERE).page().form(button="handoff-cancel").fields["csrf"]
    for token in ({}, {"csrf": "A" * 43}, {"csrf": stolen}):
        for browser, path, values in (
            (asked.browser, "/handoff", {}),
            (asked.browser, asked.path, {"action": "cancel"}),
            (alice.browser, asked.scanned, {}),
        ):
            assert browser.post(path, data=values | token).status_code == 403
    assert asked.stage == "pending"


@pytest.mark.attack("XD-11")
@pytest.mark.parametrize(
    "code", ["x", "%3Cscript%3Ealert(1)%3C/script%3E", "A" * 4000, "%00", "..%2f..", "\u202eqr"]
)
def test_a_code_that_is_none_is_not_shown_again(idp: Idp, alice: Somebody, code: str) -> None:
    for browser in (alice.browser, idp.browser()):
        response = browser.get(f"/qr/{code}")
        assert response.status_code == 404
        assert "<script>alert" not in response.text
        assert "'unsafe-inline'" not in response.headers["content-security-policy"]


@pytest.mark.attack("XD-11")
def test_what_a_browser_says_of_itself_is_text(idp: Idp, alice: Somebody) -> None:
    marker = "\"'><img src=x onerror=alert(1)>{{7351*7351}}"
    asked = asker(idp, agent=f"Mozilla/5.0 ({marker}) Firefox/{marker}")
    page = scan(alice.browser, asked.scanned)
    shown = alice.browser.get(page.form(button="device-deny").action).text
    assert "onerror" not in shown
    assert "54037201" not in shown
    answer(alice.browser, page, asked.number)
    asked.press("handoff-finish")
    assert "<img src=x" not in asked.browser.get("/account/sessions").text


@pytest.mark.attack("RU-11")
@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_it_leads_to_no_page_of_others(idp: Idp, alice: Somebody, onward: str) -> None:
    browser = idp.browser(ip=HOME)
    page = Page(browser.get("/account/sign-in"))
    response = page.press(browser, "login-elsewhere", next=onward)
    asked = Asker(idp, browser, response.headers["location"])
    let_in(alice.browser, asked)
    assert asked.press("handoff-finish").headers["location"].startswith("/account")


@pytest.mark.attack("DS-08")
def test_an_address_may_ask_so_often_and_no_more(idp: Idp) -> None:
    limit = idp.settings.throttle.per_address_pairings
    browser = idp.browser(ip=ABROAD)
    page = Page(browser.get("/account/sign-in"))
    answers = [page.press(browser, "login-elsewhere").status_code for _ in range(limit + 1)]
    assert answers == [303] * limit + [429]
    asker(idp, ip=HOME)


@pytest.mark.attack("XD-05")
def test_a_copy_of_the_database_opens_nothing(idp: Idp) -> None:
    asked = asker(idp)
    code = asked.scanned.rpartition("/")[2]
    with idp.work.read() as unit:
        row = unit.connection.exec_driver_sql("SELECT * FROM pairings").one()
    assert row.code_hash == ids.digest(code)
    stored = " ".join(map(str, row))
    for secret in (code, asked.user_code, asked.user_code.replace("-", ""), HOME, "Windows"):
        assert secret not in stored


@pytest.mark.attack("XD-05")
def test_nothing_is_let_in_after_the_time_to_decide(idp: Idp, alice: Somebody) -> None:
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    number = asked.number
    idp.clock.advance(handoff.DECIDING - SECOND)
    assert asked.stage == "claimed"
    idp.clock.advance(SECOND)
    assert "run out" in answer(alice.browser, page, number).text
    assert asked.stage == "expired"

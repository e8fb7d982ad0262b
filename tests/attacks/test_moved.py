"""Codes of "Move this session" in the wrong hands (RFC 10027, examples B5 and B7).

Somebody is talked into showing a code and sending it away. Whoever opens it has a question to ask,
and she sees on her own screen who asks, and from where.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from idp import ids
from idp.clock import DAY, MINUTE
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.sessions import handoff, lifecycle, queries
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.users.rules import set_rule
from tests.attacks.test_let_in import PASSKEY, TAKING, made_by, proved
from tests.attacks.test_relayed_codes import COUNTRIES, FAR, may_not, numbers
from tests.harness.device_app import device_app, open_code
from tests.harness.provider import ADMIN, PASSWORD, Idp, Templates
from tests.harness.qr_browser import (
    ABROAD,
    ELSEWHERE,
    HOME,
    Asker,
    Shown,
    a_browser,
    answer,
    asker,
    goes_on,
    knowing,
    let_in,
    on_a_phone,
    scan,
    showing,
)
from tests.harness.workbench import ManualClock
from tests.web.conftest import Somebody
from tests.web.html import Page


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider that knows in which country an address is."""
    made = knowing(COUNTRIES, tmp_path, templates, clock)
    yield made
    made.close()


@pytest.fixture
def alice(idp: Idp) -> Somebody:
    return on_a_phone(idp)


def moved(shown: Shown, wish: str = "instead") -> Asker:
    """The whole way: opened, the right number, yes, and in."""
    new = goes_on(shown)
    answer(shown.by.browser, shown.page(), new.number, wish=wish)
    assert new.press("handoff-finish").status_code == 303
    return new


def unknown(response: Page) -> bool:
    return "This code does not work" in response.text or "is not known" in response.text


# --- Sent away: whoever has the code may ask, and gets nothing by it ------------------------------


@pytest.mark.attack("XD-08")
@pytest.mark.parametrize("ip", [HOME, ELSEWHERE, ABROAD])
def test_who_opens_a_code_that_was_sent_to_them_has_nothing_before_she_answers(
    idp: Idp, alice: Somebody, ip: str
) -> None:
    thief = goes_on(showing(alice), ip=ip)
    assert thief.stage == "claimed"
    # Nor do they learn whose code it is.
    assert "alice" not in thief.page().text
    form = thief.page().form(button="handoff-cancel")
    thief.browser.post(form.action, data=form.fields | {"action": "finish"})
    assert thief.stage == "claimed"
    assert not thief.is_signed_in
    idp.clock.advance(handoff.DECIDING)
    assert thief.stage == "expired"
    assert idp.count("sessions") == 1


@pytest.mark.attack("XD-08")
def test_she_sees_who_opened_it_and_the_further_away_the_more_is_asked_for(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    near = goes_on(shown, ip=HOME)
    page = shown.page()
    assert near.number in numbers(page)
    assert "autofocus" in page.element("device-deny").attributes
    shown = showing(alice)
    elsewhere = goes_on(shown, ip=ELSEWHERE)
    page = shown.page()
    assert numbers(page) == []
    assert page.has("number")
    assert "Jena" in page.text
    assert str(elsewhere.number) not in [one.attributes.get("value") for one in page.elements]
    for ip, where in ((ABROAD, "Lyon"), (FAR, "about 580 km away")):
        shown = showing(alice)
        goes_on(shown, ip=ip)
        page = shown.page()
        assert may_not(page)
        assert where in page.text


@pytest.mark.attack("XD-08")
def test_what_the_page_does_not_offer_is_not_taken_either(idp: Idp, alice: Somebody) -> None:
    for ip, reason in ((ABROAD, "too_far"), (FAR, "too_far"), (ELSEWHERE, "wrong_number")):
        shown = showing(alice)
        thief = goes_on(shown, ip=ip)
        form = shown.page().form(button="device-deny")
        values = form.fields | {"action": f"allow-{thief.number}"}
        alice.browser.post(form.action, data=values)
        assert thief.stage == "denied"
        assert idp.events("pairing.denied")[-1]["reason"] == reason


@pytest.mark.attack("XD-08")
@pytest.mark.parametrize("ip", [HOME, ELSEWHERE])
def test_a_wrong_number_ends_it(idp: Idp, alice: Somebody, ip: str) -> None:
    shown = showing(alice)
    thief = goes_on(shown, ip=ip)
    page, right = shown.page(), thief.number
    wrong = next(one for one in [*numbers(page), 10, 11] if one != right)
    assert "Nothing was given" in answer(alice.browser, page, wrong).text
    answer(alice.browser, page, right)
    assert thief.stage == "denied"


@pytest.mark.attack("XD-08")
def test_nothing_is_approved_before_a_browser_has_opened_it(idp: Idp, alice: Somebody) -> None:
    """Else a code could be made good first, and be sent away then."""
    shown = showing(alice)
    address = f"/device/{shown.pairing_id}"
    fields = shown.page().form(button="move-cancel").fields
    with idp.work.read() as unit:
        asked = handoff.by_code(unit, shown.scanned.rpartition("/")[2])
        assert asked is not None
        number = handoff.number(idp.work.vault, asked)
    for action in (f"allow-{number}", "allow"):
        data = fields | {"action": action, "number": str(number), "wish": "together"}
        assert alice.browser.post(address, data=data).status_code == 404
    assert alice.browser.get(address).status_code == 404
    thief = goes_on(shown)
    assert thief.stage == "claimed"


@pytest.mark.attack("XD-08")
def test_a_network_that_she_reported_opens_none_of_her_codes_for_a_day(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    goes_on(shown, ip=ELSEWHERE)
    shown.press("device-report")
    (event,) = idp.events("pairing.reported")
    assert (event["user_id"], event["ip"]) == (alice.user.id, ELSEWHERE)
    shown = showing(alice)
    # A stranger is told nothing of it, and uses nothing up.
    assert unknown(scan(a_browser(idp, ip=ELSEWHERE), shown.scanned))
    assert not idp.events("pairing.contested")
    assert goes_on(shown, ip=HOME).stage == "claimed"


@pytest.mark.attack("XD-08")
def test_a_session_is_shown_only_by_who_proved_themselves_of_late(
    idp: Idp, alice: Somebody
) -> None:
    """At the beginning, and again when she answers."""
    idp.clock.advance(6 * MINUTE)
    page = Page(alice.sessions().press(alice.browser, "move"))
    assert idp.count("pairings") == 0
    response = page.press(alice.browser, "step-up-begin")
    page = Page(response)
    proved_now = Page(page.press(alice.browser, "factor-submit", password=PASSWORD))
    response = proved_now.press(alice.browser, "step-up-continue")
    shown = Shown(idp, alice, response.headers["location"])
    idp.clock.advance(4 * MINUTE)
    shown.press("handoff-renew")
    new = goes_on(shown)
    idp.clock.advance(2 * MINUTE)
    page = shown.page()
    assert "Confirm it" in page.text
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{new.number}"}
    response = alice.browser.post(form.action, data=values)
    assert response.headers["location"].startswith("/step-up?pairing=")
    assert new.stage == "claimed"


@pytest.mark.attack("XD-08")
def test_who_was_let_in_moves_nothing_on(idp: Idp, alice: Somebody) -> None:
    new = moved(showing(alice))
    page = Page(new.browser.get("/account/sessions"))
    assert Page(page.press(new.browser, "move")).has("step-up-begin")
    assert idp.count("pairings") == 1


# --- Twice, late, after the end -------------------------------------------------------------------


@pytest.mark.attack("XD-07")
def test_the_first_to_open_it_has_it_and_she_is_warned_of_the_second(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    code = shown.scanned
    new, thief = goes_on(shown), a_browser(idp, ip=ELSEWHERE)
    assert unknown(scan(thief, code))
    assert len(idp.events("pairing.contested")) == 1
    assert shown.page().has("contested")
    # The one who has it may open it again, and is no second.
    assert goes_on(shown, new.browser).path == new.path
    answer(alice.browser, shown.page(), new.number)
    for browser in (thief, new.browser):
        if browser is thief:
            assert unknown(scan(browser, code))
    assert new.press("handoff-finish").status_code == 303
    for browser in (thief, new.browser):
        assert unknown(scan(browser, code))


@pytest.mark.attack("XD-07")
def test_a_picture_of_it_is_worth_nothing_after_a_minute_or_once_it_was_taken_back(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    picture, typed = shown.scanned, shown.user_code
    idp.clock.advance(MINUTE)
    assert unknown(scan(a_browser(idp), picture))
    shown.press("handoff-renew")
    assert unknown(scan(a_browser(idp), picture))
    assert unknown(typed_at(a_browser(idp), typed))
    picture = shown.scanned
    shown.press("move-cancel")
    assert unknown(scan(a_browser(idp), picture))


@pytest.mark.attack("XD-07")
def test_a_page_that_was_opened_before_the_code_was_replaced_opens_nothing(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    browser = a_browser(idp)
    page = Page(browser.get(shown.scanned))
    shown.press("handoff-renew")
    assert page.press(browser, "qr-open").status_code == 404


@pytest.mark.attack("XD-07")
def test_a_code_of_a_session_that_is_over_is_worth_nothing(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    code = shown.scanned
    idp.end(alice.id)
    assert unknown(scan(a_browser(idp), code))


@pytest.mark.attack("XD-02")
@pytest.mark.parametrize("no", ["device-deny", "device-report"])
def test_back_after_a_no_and_then_a_yes_is_still_a_no(idp: Idp, alice: Somebody, no: str) -> None:
    shown = showing(alice)
    new = goes_on(shown)
    page, number = shown.page(), new.number
    page.press(alice.browser, no)
    answer(alice.browser, page, number)
    assert new.stage == "denied"
    assert idp.count("sessions") == 1


# --- Who may do what ------------------------------------------------------------------------------


@pytest.mark.attack("XD-01")
def test_nobody_else_answers_and_no_other_browser_comes_for_it(idp: Idp, alice: Somebody) -> None:
    mallory = on_a_phone(idp, "mallory")
    # Her own other session is another one, too: it may be a thief's.
    other = proved(idp, alice, BY_PASSWORD)
    shown = showing(alice)
    new = goes_on(shown)
    address = shown.page().form(button="device-deny").action
    for one in (mallory, other):
        token = one.sessions().forms[0].fields["csrf"]
        for action in (f"allow-{new.number}", "deny", "report", "renew", "cancel"):
            data = {"csrf": token, "action": action, "number": str(new.number)}
            for path in (address, shown.path):
                assert one.browser.post(path, data=data).status_code == 404
        for path in (address, shown.path, f"{shown.path}/stage"):
            assert one.browser.get(path).status_code == 404
    answer(alice.browser, shown.page(), new.number)
    thief = asker(idp, ip=ELSEWHERE)
    theirs = thief.page().form(button="handoff-cancel").fields
    for action in ("finish", "cancel", "renew"):
        response = thief.browser.post(new.path, data=theirs | {"action": action})
        assert response.status_code == 404
    for browser in (thief.browser, mallory.browser, other.browser, alice.browser, idp.browser()):
        assert browser.get(new.path).status_code == 404
    assert new.stage == "approved"


@pytest.mark.attack("XD-01")
def test_a_browser_does_not_move_its_session_to_itself(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    assert "very browser that shows" in scan(alice.browser, shown.scanned).text
    page = typed_at(alice.browser, shown.user_code)
    assert "very browser that shows" in page.text
    assert goes_on(shown).stage == "claimed"


@pytest.mark.attack("XD-01")
def test_a_code_is_taken_only_where_its_kind_belongs(idp: Idp, alice: Somebody) -> None:
    """Whoever answers a code of these is another one than whoever answers a code of those."""
    shown, waiting = showing(alice), asker(idp)
    terminal = device_app(idp)
    terminal.ask()
    mallory = on_a_phone(idp, "mallory")
    assert unknown(open_code(mallory.browser, shown.user_code))
    for code in (waiting.user_code, terminal.user_code):
        assert unknown(typed_at(a_browser(idp), code))
    # What a device polls with is no address to scan.
    for browser in (mallory.browser, a_browser(idp)):
        assert unknown(scan(browser, f"/qr/{terminal.codes['device_code']}"))
    # Nor is a browser that asks shown on the page of a session that shows, or the other way round.
    scan(alice.browser, waiting.scanned)
    assert alice.browser.get(f"/account/move/{waiting.pairing_id}").status_code == 404
    assert waiting.stage == "claimed"
    assert shown.page().has("user-code")


@pytest.mark.attack("XD-10")
@pytest.mark.parametrize(
    ("kind", "wish", "ends_with_it"),
    [("sign_in", "instead", False), ("move", "alone", True), ("move", "", True)],
)
def test_a_wish_that_is_not_offered_is_none(
    idp: Idp, alice: Somebody, kind: str, wish: str, ends_with_it: bool
) -> None:
    """What moves nothing does not end hers; and a moved one that stays beside it ends with it."""
    if kind == "move":
        shown = showing(alice)
        new = goes_on(shown)
        page = shown.page()
    else:
        new = asker(idp)
        page = scan(alice.browser, new.scanned)
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{new.number}", "wish": wish}
    alice.browser.post(form.action, data=values)
    new.press("handoff-finish")
    assert alice.is_running(alice.id)
    assert (made_by(idp, new).parent_id == alice.id) is ends_with_it


@pytest.mark.attack("WB-02")
def test_a_code_that_was_sent_to_somebody_signs_them_in_as_nobody_unseen(
    idp: Idp, alice: Somebody
) -> None:
    """Login CSRF: mallory shows a code of hers to alice, and waits for what alice types then."""
    mallory = on_a_phone(idp, "mallory")
    shown = showing(mallory)
    page = Page(alice.browser.get(shown.scanned))
    assert "wants you to use their account" in page.text
    here = goes_on(shown, alice.browser)
    answer(mallory.browser, shown.page(), here.number, wish="together")
    assert "signed in as mallory" in here.page().text
    assert alice.is_running(alice.id)
    here.press("handoff-finish")
    assert [one["reason"] for one in idp.events("session.ended")] == ["replaced"]


# --- What it is worth -----------------------------------------------------------------------------


@pytest.mark.attack("XD-10")
@pytest.mark.parametrize(
    ("has", "cap", "gets"),
    [(BY_PASSWORD, "aal2", "aal1"), (PASSKEY, None, "aal1"), (PASSKEY, "aal2", "aal2")],
)
def test_it_is_a_new_session_and_no_stronger_than_its_source_and_the_rules(
    idp: Idp, alice: Somebody, has: Authentication, cap: str | None, gets: str
) -> None:
    if cap is not None:
        with idp.work.begin() as unit:
            set_rule(unit, "handoff", {}, {"acr": cap}, ADMIN)
    source = proved(idp, alice, has)
    secret = source.browser.cookies["idp_session"]
    new = moved(showing(source))
    made = made_by(idp, new)
    assert (made.acr, made.temporary, made.origin) == (gets, 1, "handoff")
    assert new.browser.cookies["idp_session"] != secret
    with idp.work.read() as unit:
        old = unit.orm.get_one(Session, source.id)
        assert {old.id, old.secret_hash, old.details}.isdisjoint(
            {made.id, made.secret_hash, made.details}
        )
        assert old.end_reason == "moved"
    # The secret that was there opens nothing, here or there.
    copy = a_browser(idp)
    copy.cookies.set("idp_session", secret, domain="localhost.local")
    assert copy.get("/account/sessions").status_code == 303


@pytest.mark.attack("XD-04")
@pytest.mark.parametrize("reason", TAKING)
def test_what_is_taken_away_after_the_yes_is_not_given(
    idp: Idp, alice: Somebody, reason: str
) -> None:
    shown = showing(alice)
    new = goes_on(shown)
    answer(alice.browser, shown.page(), new.number, wish="instead")
    finish = new.page()
    with idp.work.begin() as unit:
        TAKING[reason](unit, alice)
    finish.press(new.browser, "handoff-finish")
    assert new.stage == "denied"
    assert not new.is_signed_in
    assert [one["reason"] for one in idp.events("pairing.denied")] == [reason]
    assert idp.count("sessions") == 1


@pytest.mark.attack("XD-10")
def test_whom_it_let_in_before_goes_with_it(idp: Idp, alice: Somebody) -> None:
    """They were to be signed out with it, and it is signed out: so she was told."""
    child = asker(idp)
    let_in(alice.browser, child)
    child.press("handoff-finish")
    new = moved(showing(alice))
    assert not child.is_signed_in
    assert new.is_signed_in
    with idp.work.read() as unit:
        assert [one.id for one in queries.running_of(unit, alice.user.id)] == [made_by(idp, new).id]


@pytest.mark.attack("XD-10")
def test_a_browser_that_stayed_signed_in_does_not_once_its_session_was_moved(idp: Idp) -> None:
    idp.person("alice")
    browser = a_browser(idp)
    page = Page(browser.get("/account/sign-in"))
    page.press(browser, "login-submit", username="alice", password=PASSWORD, stay="yes")
    page = Page(browser.get("/account/sessions"))
    response = page.press(browser, "move")
    with idp.work.read() as unit:
        (session,) = unit.orm.query(Session).all()
        unit.orm.expunge_all()
    new = Asker(idp, a_browser(idp), "")
    path = response.headers["location"]
    code = Asker(idp, browser, path).scanned
    response = Page(new.browser.get(code)).press(new.browser, "qr-open")
    new.path = response.headers["location"]
    page = Page(browser.get(browser.get(path).headers["location"]))
    answer(browser, page, new.number, wish="instead")
    new.press("handoff-finish")
    assert new.is_signed_in
    assert not Page(browser.get("/account/sign-in")).has("go-on")
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, session.id).end_reason == "moved"


# --- Forms, guesses, floods -----------------------------------------------------------------------


def typed_at(browser: TestClient, code: str) -> Page:
    """Types a code at /move; gives the page it leads to."""
    response = Page(browser.get("/move")).press(browser, "qr-open", user_code=code)
    if response.status_code == 303:
        response = browser.get(response.headers["location"])
    return Page(response)


@pytest.mark.attack("XD-05")
def test_wrong_codes_are_slowed_by_address_before_one_is_looked_for(
    idp: Idp, alice: Somebody
) -> None:
    shown = showing(alice)
    looked_at = 0
    for n in range(25):
        # A new browser each time: there is nobody to count them for.
        page = typed_at(a_browser(idp, ip=ELSEWHERE), f"BBBB-BBB{'BCDFG'[n % 5]}")
        looked_at += "not known" in page.text
    assert looked_at == idp.settings.throttle.per_address_pairing_codes
    refused = typed_at(a_browser(idp, ip=ELSEWHERE), shown.user_code)
    assert "Too many wrong codes" in refused.text
    # Her own devices at home are not kept from it.
    assert typed_at(a_browser(idp), shown.user_code).has("number")


@pytest.mark.attack("XD-05")
def test_a_copy_of_the_database_opens_nothing(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    code, typed = shown.scanned.rpartition("/")[2], shown.user_code
    goes_on(shown, ip=ELSEWHERE)
    with idp.work.read() as unit:
        row = unit.connection.exec_driver_sql("SELECT * FROM pairings").one()
    assert row.code_hash == ids.digest(code)
    stored = " ".join(map(str, row))
    for secret in (code, typed, typed.replace("-", ""), ELSEWHERE, "iPhone"):
        assert secret not in stored


@pytest.mark.attack("LO-10")
def test_opening_an_address_changes_nothing(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    before = len(idp.events())
    for browser in (idp.browser(), alice.browser):
        for path in (shown.scanned, shown.path, f"{shown.path}/stage", "/account/move",
                     f"/move?user_code={shown.user_code}"):  # fmt: skip
            for method in ("GET", "HEAD"):
                browser.request(method, path)
    assert shown.page().has("user-code")
    assert len(idp.events()) == before
    assert idp.count("pairings") == 1


@pytest.mark.attack("WB-02")
def test_every_form_of_it_needs_its_token(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    mallory = on_a_phone(idp, "mallory")
    of_session = mallory.sessions().forms[0].fields["csrf"]
    of_browser = asker(idp, ip=ELSEWHERE).page().form(button="handoff-cancel").fields["csrf"]
    stranger = a_browser(idp)
    stranger.get("/move")
    before = idp.count("pairings")
    for token in ({}, {"csrf": "A" * 43}, {"csrf": of_session}, {"csrf": of_browser}):
        for browser, path, values in (
            (alice.browser, "/account/move", {}),
            (alice.browser, shown.path, {"action": "cancel"}),
            (stranger, shown.scanned, {}),
            (stranger, "/move", {"user_code": shown.user_code}),
        ):
            assert browser.post(path, data=values | token).status_code == 403, (path, token)
    assert idp.count("pairings") == before
    assert shown.page().has("user-code")


@pytest.mark.attack("XD-11")
def test_what_the_browser_says_of_itself_is_text(idp: Idp, alice: Somebody) -> None:
    marker = "\"'><img src=x onerror=alert(1)>{{7351*7351}}"
    shown = showing(alice)
    browser = a_browser(idp, agent=f"Mozilla/5.0 ({marker}) Firefox/{marker}")
    goes_on(shown, browser)
    page = alice.browser.get(f"/device/{shown.pairing_id}").text
    assert "onerror" not in page
    assert "54037201" not in page


@pytest.mark.attack("DS-08")
def test_an_address_shows_so_many_codes_and_no_more(idp: Idp, alice: Somebody) -> None:
    limit = idp.settings.throttle.per_address_pairings
    page = alice.sessions()
    answers = [page.press(alice.browser, "move").status_code for _ in range(limit + 1)]
    assert answers == [303] * limit + [429]


@pytest.mark.attack("DS-08")
def test_a_script_that_waits_keeps_nobody_signed_in(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    with idp.work.read() as unit:
        before = unit.orm.get_one(Session, alice.id).last_active_at
    for _ in range(4):
        idp.clock.advance(MINUTE)
        assert alice.browser.get(f"{shown.path}/stage").json() == {"stage": "pending"}
        # What it asks for by itself when a minute is over.
        looking = alice.browser.get(shown.path, headers={"x-looking": "1"})
        assert Page(looking).has("handoff-renew")
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, alice.id).last_active_at == before


def test_a_report_is_over_after_a_day(idp: Idp, alice: Somebody) -> None:
    shown = showing(alice)
    goes_on(shown, ip=ELSEWHERE)
    shown.press("device-report")
    idp.clock.advance(DAY)
    with idp.work.begin() as unit:
        lifecycle.end(unit, [alice.id], reason="signed_out", actor=Actor("user", alice.id))
    again = proved(idp, alice, BY_PASSWORD)
    assert goes_on(showing(again), ip=ELSEWHERE).stage == "claimed"

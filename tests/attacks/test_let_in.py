"""What a session is worth that another device let in: less than that one, and never more (XD-10)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from idp.clock import HOUR, MINUTE, SECOND
from idp.events.catalogue import FactorRemoved
from idp.policy import assurance
from idp.policy.assurance import PAIRING, Authentication
from idp.sessions import lifecycle, queries
from idp.sessions.device import Visit
from idp.sessions.model import Pairing, Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries as users
from idp.users.model import User
from idp.users.rules import set_rule
from tests.harness.provider import ADMIN, PASSWORD, Flow, Idp
from tests.harness.qr_browser import HOME, Asker, answer, asker, let_in, on_a_phone, scan
from tests.web.conftest import Somebody, begin
from tests.web.html import Page

PASSKEY = Authentication("passkey", ("hwk", "user"), "aal3")


@pytest.fixture
def alice(idp: Idp) -> Somebody:
    return on_a_phone(idp)


def proved(idp: Idp, one: Somebody, *how: Authentication) -> Somebody:
    """The same person on a device where they proved this much just now."""
    session = idp.session(one.user, proved=how, ip=HOME)
    return Somebody(idp, one.user, session, idp.signed_in_browser(session, ip=HOME))


def made_by(idp: Idp, asked: Asker) -> Session:
    """The session that the asking browser was given."""
    with idp.work.read() as unit:
        pairing = unit.orm.get_one(Pairing, asked.pairing_id)
        made = unit.orm.get_one(Session, pairing.new_session_id)
        unit.orm.expunge(made)
        return made


def finished(idp: Idp, by: Somebody, at: str = "/account/sign-in") -> tuple[Asker, Session]:
    asked = asker(idp, at=at)
    let_in(by.browser, asked)
    assert asked.press("handoff-finish").status_code == 303
    return asked, made_by(idp, asked)


@pytest.mark.attack("XD-10")
@pytest.mark.parametrize(
    ("has", "cap", "gets"),
    [
        ([BY_PASSWORD], None, "aal1"),
        ([BY_PASSWORD], "aal2", "aal1"),
        ([PASSKEY], None, "aal1"),
        ([PASSKEY], "aal2", "aal2"),
    ],
)
def test_it_is_no_stronger_than_its_source_and_than_the_rules(
    idp: Idp, alice: Somebody, has: list[Authentication], cap: str | None, gets: str
) -> None:
    if cap is not None:
        with idp.work.begin() as unit:
            set_rule(unit, "handoff", {}, {"acr": cap}, ADMIN)
    asked, made = finished(idp, proved(idp, alice, *has))
    assert made.acr == gets
    [proof] = made.authentications
    assert (proof["method"], proof["amr"]) == (PAIRING, ["mca"])
    assert asked.browser.get("/account/sessions").status_code == 200


@pytest.mark.attack("XD-10")
def test_it_is_a_session_of_its_own_and_nothing_of_the_other_is_in_it(
    idp: Idp, alice: Somebody
) -> None:
    asked, made = finished(idp, alice)
    with idp.work.read() as unit:
        source = unit.orm.get_one(Session, alice.id)
        for column in ("id", "secret_hash", "details"):
            assert getattr(source, column) != getattr(made, column)
    assert asked.browser.cookies["idp_session"] != alice.session.secret
    assert "let in by" in alice.sessions().text
    assert [one["session_id"] for one in idp.events("pairing.consumed")] == [made.id]


@pytest.mark.attack("XD-10")
def test_it_is_as_old_as_the_proof_behind_it(idp: Idp, alice: Somebody) -> None:
    """An app that asks for a fresh proof is not answered with an older one of another device."""
    idp.clock.advance(4 * MINUTE)
    asked = asker(idp)
    let_in(alice.browser, asked)
    asked.press("handoff-finish")
    made = made_by(idp, asked)
    standing = assurance.standing(assurance.proofs(made.authentications))
    assert standing is not None
    assert standing.auth_time == idp.clock.now() - 4 * MINUTE
    app = idp.register(name="Bank")
    flow = Flow(app).parameters(max_age="60", prompt="none")
    assert idp.authorize(asked.browser, flow)["error"] == "login_required"


@pytest.mark.attack("XD-10")
@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_it_is_no_answer_to_an_app_that_wants_somebody_to_prove_themselves(
    idp: Idp, alice: Somebody, prompt: str
) -> None:
    app = idp.register(name="Bank")
    browser = idp.browser(ip=HOME)
    page = Page(begin(browser, app, prompt=prompt))
    assert not page.has("login-elsewhere")
    # Said without the page.
    fields = page.form(button="login-submit").fields
    response = browser.post("/handoff", data={"csrf": fields["csrf"], "request": fields["request"]})
    asked = Asker(idp, browser, response.headers["location"])
    let_in(alice.browser, asked)
    response = asked.press("handoff-finish")
    response = browser.get(response.headers["location"])
    assert response.headers["location"].startswith("/login?")


@pytest.mark.attack("MF-02")
def test_its_apps_cannot_do_what_needs_a_fresh_proof_and_keep_nothing_beyond_it(
    idp: Idp, alice: Somebody
) -> None:
    """The approval is a second old, and a proof for no API: `sessions`, and the management API's."""
    asked, made = finished(idp, alice)
    let_in_here = Somebody(idp, alice.user, alice.session, asked.browser)
    scope = "openid sessions offline_access"
    tokens = let_in_here.use(idp.register(name="Notes"), scope=scope)
    assert tokens["scope"] == "openid sessions"
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    paths = ["/revoke-all", f"/{made.id}"]
    for method, path in zip(("POST", "DELETE"), paths, strict=True):
        address = f"/api/v1/users/sessions{path}"
        response = idp.browser().request(method, address, headers=headers)
        assert response.json()["code"] == "insufficient_user_authentication"
        assert 'max_age="0"' in response.headers["www-authenticate"]
    with idp.work.read() as unit:
        assert len(queries.running_of(unit, alice.user.id)) == 2


@pytest.mark.attack("MF-02")
def test_it_needs_a_whole_proof_of_its_own_for_what_matters(idp: Idp, alice: Somebody) -> None:
    strong = proved(idp, alice, PASSKEY)
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {}, {"acr": "aal2"}, ADMIN)
    asked, made = finished(idp, strong)
    assert made.acr == "aal2"
    security = "/account/security"
    token = Page(asked.browser.get(security)).forms[0].fields["csrf"]
    for path in ("totp", "passkeys", "email", "codes"):
        data = {"csrf": token, "email": "mallory@example.com"}
        response = asked.browser.post(f"{security}/{path}", data=data)
        # The form is kept while somebody proves who they are.
        assert Page(response).form(action="/step-up").fields["kept"], path
    response = asked.browser.get(f"{security}/password")
    assert response.headers["location"].startswith("/step-up?for=change_password")
    proof = Page(asked.browser.get("/step-up?for=change_password&next=/account"))
    proof.press(asked.browser, "factor-submit", password=PASSWORD)
    assert asked.browser.get("/account/security/password").status_code == 200


@pytest.mark.attack("MF-02")
def test_being_let_in_and_a_password_are_not_two_factors(idp: Idp, alice: Somebody) -> None:
    _, made = finished(idp, alice)
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, made.id)
        lifecycle.reauthenticate(unit, session, [BY_PASSWORD], Visit())
        assert session.acr == "aal1"


@pytest.mark.attack("XD-08")
def test_who_was_let_in_lets_nobody_in(idp: Idp, alice: Somebody) -> None:
    """There is no chain: the second link would rest on the word of the first."""
    asked, _ = finished(idp, alice)
    further = asker(idp)
    page = scan(asked.browser, further.scanned)
    response = page.press(asked.browser, "device-allow")
    assert response.headers["location"].startswith("/step-up?pairing=")
    form = page.form(button="device-deny")
    values = form.fields | {"action": f"allow-{further.number}", "wish": "together"}
    response = asked.browser.post(form.action, data=values)
    assert response.headers["location"].startswith("/step-up?pairing=")
    assert further.stage == "claimed"


@pytest.mark.attack("XD-10")
def test_what_it_was_let_in_as_is_not_handed_on(idp: Idp, alice: Somebody) -> None:
    """It proved a password itself, and that is what the next one rests on."""
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {}, {"acr": "aal2"}, ADMIN)
    asked, made = finished(idp, proved(idp, alice, PASSKEY))
    assert made.acr == "aal2"
    proof = Page(asked.browser.get("/step-up?for=change_password&next=/account"))
    proof.press(asked.browser, "factor-submit", password=PASSWORD)
    further = asker(idp)
    let_in(asked.browser, further)
    assert further.press("handoff-finish").status_code == 303
    assert made_by(idp, further).acr == "aal1"


@pytest.mark.attack("XD-08")
def test_a_yes_needs_a_proof_of_late_and_a_no_needs_none(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(6 * MINUTE)
    asked = asker(idp)
    page = scan(alice.browser, asked.scanned)
    assert "Confirm it" in page.text
    response = page.press(alice.browser, "device-allow")
    assert response.headers["location"].startswith("/step-up?pairing=")
    proof = Page(alice.browser.get(response.headers["location"]))
    back = proof.press(alice.browser, "factor-submit", password=PASSWORD)
    page = Page(alice.browser.get(back.headers["location"]))
    answer(alice.browser, page, asked.number)
    assert asked.stage == "approved"
    idp.clock.advance(6 * MINUTE)
    asked = asker(idp)
    scan(alice.browser, asked.scanned).press(alice.browser, "device-deny")
    assert asked.stage == "denied"


Taking = Callable[[UnitOfWork, Somebody], object]
TAKING: dict[str, Taking] = {
    "user_not_active": lambda unit, one: users.set_status(
        unit, unit.orm.get_one(User, one.user.id), "locked", ADMIN
    ),
    "session_ended": lambda unit, one: lifecycle.end(
        unit, [one.id], reason="signed_out", actor=ADMIN
    ),
    "assurance": lambda unit, one: _suspect(unit, one),
    "challenged": lambda unit, one: setattr(
        unit.orm.get_one(Session, one.id), "challenged_at", unit.now
    ),
}


def _suspect(unit: UnitOfWork, one: Somebody) -> None:
    """The proofs that it rested on count no longer, as when a credential was removed."""
    session = unit.orm.get_one(Session, one.id)
    session.authentications = [
        proof | {"method": assurance.REVOKED} for proof in session.authentications
    ]


@pytest.mark.attack("XD-04")
@pytest.mark.parametrize("reason", TAKING)
def test_what_is_taken_away_after_the_yes_is_not_given(
    idp: Idp, alice: Somebody, reason: str
) -> None:
    asked = asker(idp)
    let_in(alice.browser, asked)
    finish = asked.page()
    with idp.work.begin() as unit:
        TAKING[reason](unit, alice)
    for _ in range(2):
        finish.press(asked.browser, "handoff-finish")
        assert asked.stage == "denied"
    assert not asked.is_signed_in
    assert [one["reason"] for one in idp.events("pairing.denied")] == [reason]
    assert idp.count("sessions") == 1


@pytest.mark.attack("XD-10")
def test_it_falls_with_what_its_level_rests_on_and_not_with_what_was_shown_last(
    idp: Idp, alice: Somebody
) -> None:
    """A passkey made the level, a code was shown after it: what the passkey gave goes with it."""
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {}, {"acr": "aal2"}, ADMIN)
    key = replace(PASSKEY, credential="key")
    code = Authentication("totp", ("otp",), "aal1", "app")
    phone = proved(idp, alice, key)
    idp.clock.advance(SECOND)
    phone = replace(phone, session=idp.prove(phone.session, code))
    phone = replace(phone, browser=idp.signed_in_browser(phone.session, ip=HOME))
    _, made = finished(idp, phone)
    assert made.acr == "aal2"
    with idp.work.begin() as unit:
        unit.record(
            FactorRemoved(user_id=alice.user.id, kind="passkey", name="Key", credential="key")
        )
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, made.id).end_reason == "factor_removed"


@pytest.mark.attack("XD-10")
def test_it_lasts_no_longer_than_rules_and_source_allow(idp: Idp, alice: Somebody) -> None:
    _, made = finished(idp, alice)
    assert made.expires_at == idp.clock.now() + 8 * HOUR
    with idp.work.begin() as unit:
        set_rule(unit, "handoff", {}, {"lasting": 600}, ADMIN)
    _, made = finished(idp, alice)
    assert made.expires_at == idp.clock.now() + 10 * MINUTE
    # Being used makes it no longer, and a temporary session gives no more than it has.
    idp.execute(
        "UPDATE sessions SET temporary = 1, expires_at = :at WHERE id = :id",
        at=idp.clock.now() + 90 * SECOND,
        id=alice.id,
    )
    _, made = finished(idp, alice)
    assert made.expires_at <= idp.clock.now() + 90 * SECOND


@pytest.mark.attack("WB-02")
def test_a_session_that_was_in_the_browser_ends(idp: Idp, alice: Somebody) -> None:
    """Login CSRF: whoever is let in as somebody else sees whose session it is, and loses their own."""
    mallory = on_a_phone(idp, "mallory")
    asked = asker(idp)
    own = idp.session(mallory.user)
    asked.browser.cookies.set("idp_session", own.secret, domain="localhost.local")
    let_in(alice.browser, asked)
    assert "signed in as alice" in asked.page().text
    asked.press("handoff-finish")
    assert [one["reason"] for one in idp.events("session.ended")] == ["replaced"]
    assert "alice" in Page(asked.browser.get("/account/sessions")).text


@pytest.mark.attack("XD-10")
def test_it_does_not_end_with_a_source_that_makes_room_for_it(idp: Idp, alice: Somebody) -> None:
    with idp.work.begin() as unit:
        set_rule(unit, "limits", {}, {"maximum": 1}, ADMIN)
    asked, made = finished(idp, alice)
    assert asked.is_signed_in
    with idp.work.read() as unit:
        assert [one.id for one in queries.running_of(unit, alice.user.id)] == [made.id]


@pytest.mark.attack("XD-10")
def test_ending_the_one_that_let_in_ends_what_it_let_in_everywhere(
    idp: Idp, alice: Somebody
) -> None:
    app = idp.register(name="Notes")
    asked, _ = finished(idp, alice)
    flow = Flow(app)
    code = idp.authorize(asked.browser, flow.parameters(scope="openid"))["code"]
    status, tokens = idp.token(
        app,
        grant_type="authorization_code",
        code=code,
        redirect_uri=app.redirect_uri,
        code_verifier=flow.verifier,
    )
    assert status == 200
    idp.end(alice.id)
    assert not asked.is_signed_in
    assert not idp.is_active(app, tokens["access_token"])
    with idp.work.read() as unit:
        assert queries.running_of(unit, alice.user.id) == []


@pytest.mark.attack("XD-10")
def test_it_is_never_a_device_that_was_signed_in_on_before(idp: Idp, alice: Somebody) -> None:
    """Else whoever was let in once would be no new device at their next sign-in, with a password."""
    _, made = finished(idp, alice)
    assert made.device_hash is None


@pytest.mark.attack("SE-11")
def test_signing_out_of_it_forgets_the_browser_where_its_person_stayed_signed_in(
    idp: Idp, alice: Somebody
) -> None:
    asked = asker(idp)
    page = Page(asked.browser.get("/account/sign-in"))
    page.press(
        asked.browser, "login-submit", username=alice.user.username, password=PASSWORD, stay="yes"
    )
    let_in(alice.browser, asked)
    assert asked.press("handoff-finish").status_code == 303
    made = made_by(idp, asked)
    assert made.remembered_id is not None
    idp.end(made.id)
    asked.browser.cookies.delete("idp_session")
    assert not Page(asked.browser.get("/account/sign-in")).has("go-on")


@pytest.mark.attack("SE-11")
def test_signing_out_of_it_forgets_nobody_else_who_stayed_signed_in_there(
    idp: Idp, alice: Somebody
) -> None:
    idp.person("bob")
    asked = asker(idp)
    page = Page(asked.browser.get("/account/sign-in"))
    page.press(asked.browser, "login-submit", username="bob", password=PASSWORD, stay="yes")
    let_in(alice.browser, asked)
    assert asked.press("handoff-finish").status_code == 303
    idp.end(made_by(idp, asked).id)
    asked.browser.cookies.delete("idp_session")
    back = Page(asked.browser.get("/account/sign-in"))
    assert back.has("go-on")
    assert "bob" in back.text


@pytest.mark.attack("XD-01")
def test_a_phone_whose_session_is_held_is_led_to_the_proof_and_not_round_in_circles(
    idp: Idp, alice: Somebody
) -> None:
    asked = asker(idp)
    page = Page(alice.browser.get(asked.scanned))
    idp.execute(
        "UPDATE sessions SET challenge = 'reauthenticate', challenged_for = 'country', "
        f"challenged_at = {idp.clock.now()}"
    )
    idp.clock.advance(SECOND)
    response = page.press(alice.browser, "qr-open")
    assert response.headers["location"] == asked.scanned
    response = alice.browser.get(asked.scanned)
    assert response.headers["location"].startswith("/step-up?")
    proof = Page(alice.browser.get(response.headers["location"]))
    response = proof.press(alice.browser, "factor-submit", password=PASSWORD)
    assert response.headers["location"] == asked.scanned
    assert scan(alice.browser, asked.scanned).has("device-deny")


@pytest.mark.attack("XD-10")
def test_whom_a_disowned_session_let_in_goes_with_it_also_where_they_were_to_go_on_alone(
    idp: Idp, alice: Somebody
) -> None:
    asked = asker(idp)
    answer(alice.browser, scan(alice.browser, asked.scanned), asked.number, together=False)
    asked.press("handoff-finish")
    assert asked.is_signed_in
    owner = idp.session(alice.user, ip=HOME)
    browser = idp.signed_in_browser(owner, ip=HOME)
    page = Page(browser.get(f"/account/security/not-me?session={alice.id}"))
    assert page.press(browser, "end-it").status_code == 303
    assert not asked.is_signed_in
    with idp.work.read() as unit:
        assert [one.id for one in queries.running_of(unit, alice.user.id)] == [owner.session.id]

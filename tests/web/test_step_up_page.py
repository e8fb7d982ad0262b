"""The step-up page: says why, offers only what would do, and leads back to the very place."""

import pytest
from starlette.testclient import TestClient

from idp.clock import MINUTE, SECOND
from idp.events.actor import SYSTEM
from idp.users import factors, passkeys
from idp.users.credentials import Passkey
from idp.users.model import User
from tests.harness.authenticator import UP
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.provider import PASSWORD, Flow, Idp, Registered
from tests.web.conftest import back_at_app, begin
from tests.web.html import Page
from tests.web.test_second_factor import with_assertion


@pytest.fixture
def totp(idp: Idp) -> Factors:
    return with_totp(idp, idp.person("alice"))


@pytest.fixture
def browser(idp: Idp, totp: Factors) -> TestClient:
    """Signed in an hour ago, or nearly, with the password alone (as before the code was enrolled)."""
    browser = idp.signed_in_browser(idp.session(totp.user))
    idp.clock.advance(20 * MINUTE)
    return browser


def levels(idp: Idp) -> list[str]:
    with idp.work.read() as unit:
        return [str(row[0]) for row in unit.connection.exec_driver_sql("SELECT acr FROM sessions")]


def test_an_app_that_asks_for_more_gets_it_and_the_page_says_so(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    page = Page(begin(browser, app, acr_values="aal2"))
    assert "Notes asks to be surer that it is you, alice." in page.text
    # The password was shown already; only what is missing is asked for.
    assert page.has("code")
    assert not page.has("use-password")
    before = browser.cookies.get("idp_session")
    response = page.press(browser, "factor-submit", code=totp.code())
    assert browser.cookies.get("idp_session") != before
    assert "code" in back_at_app(browser, response)
    assert levels(idp) == ["aal2"]
    assert len(idp.events("session.reauthenticated")) == 1


def test_a_fresh_password_is_no_second_factor(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """MF-02: freshness is not strength; the password again does not make it two."""
    page = Page(begin(browser, app, acr_values="aal2"))
    fields = page.form(button="factor-submit").fields
    response = browser.post(
        "/step-up", data={**fields, "method": "password", "password": PASSWORD, "action": "prove"}
    )
    assert Page(response).has("code")
    assert levels(idp) == ["aal1"]


def test_strong_and_fresh_means_both_are_fresh(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """MF-02: a code of now and a password of an hour ago are not "aal2, at most a minute old"."""
    flow = Flow(app)
    page = Page(begin(browser, app, acr_values="aal2", max_age="60"))
    # Nothing is fresh, so this is a whole sign-in.
    assert page.has("login-submit")
    page = Page(page.press(browser, "login-submit", username="alice", password=PASSWORD))
    response = page.press(browser, "factor-submit", code=totp.code())
    assert "code" in back_at_app(browser, response)
    idp.clock.advance(61 * SECOND)
    late = idp.authorize(browser, flow.parameters(prompt="none", acr_values="aal2", max_age="60"))
    assert late["error"] == "login_required"


def test_what_cannot_be_met_is_said_and_the_app_is_told(idp: Idp, app: Registered) -> None:
    browser = idp.signed_in_browser(idp.session(idp.person("bob")))
    response = begin(browser, app, acr_values="aal2")
    assert response.status_code == 403
    page = Page(response)
    assert page.has("set-up")
    answer = back_at_app(browser, page.press(browser, "factor-cancel"))
    assert answer["error"] == "unmet_authentication_requirements"


def test_enrolling_on_the_way_proves_nothing(idp: Idp, app: Registered) -> None:
    """MF-04: a factor that was enrolled just now must be used before it counts."""
    bob = idp.person("bob")
    browser = idp.signed_in_browser(idp.session(bob))
    assert begin(browser, app, acr_values="aal2").status_code == 403
    with_totp(idp, bob)
    answer = idp.authorize(browser, Flow(app).parameters(prompt="none", acr_values="aal2"))
    assert answer["error"] == "interaction_required"


def test_a_passkey_steps_up_and_its_removal_steps_down(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """ASVS 6.5.6: what a removed credential proved counts no longer."""
    device = with_passkey(idp, totp.user)
    response = with_assertion(browser, Page(begin(browser, app, acr_values="aal3")), device)
    assert "code" in back_at_app(browser, response)
    assert levels(idp) == ["aal3"]
    with idp.work.begin() as unit:
        passkeys.remove(unit, unit.orm.query(Passkey).one(), SYSTEM)
    assert levels(idp) == ["aal1"]
    answer = idp.authorize(browser, Flow(app).parameters(prompt="none", acr_values="aal2"))
    assert answer["error"] == "interaction_required"


def test_what_an_app_holds_says_no_more_than_is_still_proved(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """ASVS 6.5.6: also the grants that were given on the strength of a removed passkey."""
    device = with_passkey(idp, totp.user)
    flow = Flow(app)
    page = Page(begin(browser, app, acr_values="aal3"))
    back_at_app(browser, with_assertion(browser, page, device))
    answer = idp.authorize(browser, flow.parameters(prompt="none"))
    _, tokens = idp.token(
        app,
        grant_type="authorization_code",
        code=answer["code"],
        redirect_uri=app.redirect_uri,
        code_verifier=flow.verifier,
    )
    assert idp.post("/introspect", app, token=tokens["access_token"])[1]["acr"] == "aal3"
    with idp.work.begin() as unit:
        passkeys.remove(unit, unit.orm.query(Passkey).one(), SYSTEM)
    said = idp.post("/introspect", app, token=tokens["access_token"])[1]
    assert (said["active"], said["acr"], said["amr"]) == (True, "aal1", ["pwd"])


def test_another_persons_proof_is_not_taken(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """MF-10, SE-04: neither their code nor their passkey, and the session stays whose it is."""
    mallory = with_totp(idp, idp.person("mallory"))
    theirs = with_passkey(idp, mallory.user)
    with_passkey(idp, totp.user)
    page = Page(begin(browser, app, acr_values="aal2"))
    assert with_assertion(browser, page, theirs, flags=UP).status_code == 400
    page = Page(begin(browser, app, acr_values="aal2"))
    page = Page(page.press(browser, "use-totp"))
    assert page.press(browser, "factor-submit", code=mallory.code()).status_code == 403
    assert levels(idp) == ["aal1"]


def test_a_ceremony_of_a_sign_in_is_none_of_a_step_up(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """MF-16: nor one of another session of the same person."""
    begun = Page(begin(browser, app, prompt="login"))
    other = Page(begun.press(browser, "login-submit", username="alice", password=PASSWORD))
    stolen = other.form(button="factor-submit").fields["ceremony"]
    page = Page(begin(browser, app, acr_values="aal2"))
    response = page.press(browser, "factor-submit", ceremony=stolen, code=totp.code())
    assert response.status_code == 403
    assert levels(idp) == ["aal1"]


def test_a_locked_person_steps_nowhere(
    idp: Idp, app: Registered, totp: Factors, browser: TestClient
) -> None:
    """BF-05"""
    page = Page(begin(browser, app, acr_values="aal2"))
    idp.execute("UPDATE users SET status = 'locked'")
    response = page.press(browser, "factor-submit", code=totp.code())
    assert response.status_code in (303, 403)
    assert levels(idp) == ["aal1"]


def test_a_client_that_always_needs_two_factors(
    idp: Idp, totp: Factors, browser: TestClient
) -> None:
    bank = idp.register(name="Bank", minimum_acr="aal2")
    page = Page(begin(browser, bank))
    assert "Bank asks to be surer" in page.text
    assert "code" in back_at_app(browser, page.press(browser, "factor-submit", code=totp.code()))


# --- our own sensitive operations -----------------------------------------------------------


def test_a_form_is_kept_while_its_person_proves_themselves(
    idp: Idp, totp: Factors, browser: TestClient
) -> None:
    """Row T5: the form comes back as it was, but for what nobody else should see."""
    page = Page(browser.get("/account/sessions"))
    fields = page.form(action="/account/sessions/end").fields
    held = browser.post(
        "/account/sessions/end", data={**fields, "what": "everywhere", "confirmed": "yes"}
    )
    first = Page(held)
    asked = Page(first.press(browser, "step-up-begin"))
    assert "To sign out everywhere, please confirm" in asked.text
    # Two factors are enrolled, so two are asked for: the session's own are too old.
    asked = Page(asked.press(browser, "factor-submit", password=PASSWORD))
    done = Page(asked.press(browser, "factor-submit", code=totp.code()))
    assert levels(idp) == ["aal2"]
    answer = done.press(browser, "step-up-continue")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/signed-out")


def test_another_sessions_kept_form_is_not_opened(idp: Idp, totp: Factors) -> None:
    one = idp.signed_in_browser(idp.session(totp.user))
    other = idp.signed_in_browser(idp.session(totp.user))
    idp.clock.advance(20 * MINUTE)
    sealed = {}
    for browser in (one, other):
        page = Page(browser.get("/account/sessions"))
        fields = page.form(action="/account/sessions/end").fields
        held = browser.post(
            "/account/sessions/end", data={**fields, "what": "everywhere", "confirmed": "yes"}
        )
        sealed[browser] = Page(held)
    kept = sealed[other].form(button="step-up-begin").fields["kept"]
    asked = Page(sealed[one].press(one, "step-up-begin", kept=kept))
    asked = Page(asked.press(one, "factor-submit", password=PASSWORD))
    done = asked.press(one, "factor-submit", code=totp.code())
    assert done.status_code == 303


def test_the_way_on_is_a_place_of_ours(idp: Idp, browser: TestClient) -> None:
    """RU-18: no open redirector behind a step-up."""
    for where in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        page = Page(browser.get("/step-up", params={"for": "change_password", "next": where}))
        assert "evil" not in page.form(button="factor-submit").fields["next"]


def test_what_is_enrolled_is_what_counts(idp: Idp, totp: Factors) -> None:
    with idp.work.read() as unit:
        able = factors.enrolled(unit, totp.user.id)
        assert able == {"password": "aal1", "totp": "aal1", "recovery_code": "aal1"}
        assert unit.orm.get_one(User, totp.user.id).status == "active"

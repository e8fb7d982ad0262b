"""The second page of a sign-in: asked whichever way somebody comes, and by nobody talked around."""

import re

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import DAY, MINUTE, SECOND
from idp.events.actor import SYSTEM
from idp.users import queries
from idp.users.model import User
from idp.web.sign_in_page import LOST
from tests.harness.authenticator import UP, Authenticator
from tests.harness.enrolled import Factors, with_passkey, with_totp
from tests.harness.mails import owed
from tests.harness.provider import PASSWORD, Flow, Idp, Registered
from tests.web.conftest import back_at_app, begin, sign_in
from tests.web.html import Page


@pytest.fixture
def person(idp: Idp) -> User:
    return idp.person("alice")


@pytest.fixture
def totp(idp: Idp, person: User) -> Factors:
    return with_totp(idp, person)


def asked(browser: TestClient, app: Registered, **parameters: str) -> Page:
    """The second page, after the right password."""
    response = sign_in(browser, Page(begin(browser, app, **parameters)))
    assert response.status_code == 200, response.headers.get("location")
    assert "idp_session" not in response.headers.get("set-cookie", "")
    return Page(response)


def with_assertion(
    browser: TestClient, page: Page, device: Authenticator, **changes: object
) -> Response:
    """Answers a page's passkey form as its script would."""
    form = next(
        one for one in page.elements if one.tag == "form" and "data-options" in one.attributes
    )
    fields = page.form(action=form.attributes["action"]).fields
    credential = device.get(form.attributes["data-options"], **changes)
    return browser.post(
        form.attributes["action"],
        data={**fields, "action": "passkey", "credential": credential},
    )


def count(idp: Idp) -> int:
    return idp.count("sessions")


def test_a_code_follows_the_password_and_the_app_learns_of_both(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    browser, flow = idp.browser(), Flow(app)
    page = asked(browser, app)
    assert "One more step to sign in as alice and continue to Notes." in page.text
    assert count(idp) == 0
    response = page.press(browser, "factor-submit", code=totp.code())
    assert "code" in back_at_app(browser, response)
    answer = idp.authorize(browser, flow.parameters(prompt="none"))
    _, tokens = idp.token(
        app, grant_type="authorization_code", code=answer["code"],
        redirect_uri=app.redirect_uri, code_verifier=flow.verifier,
    )  # fmt: skip
    _, said = idp.post("/introspect", app, token=tokens["access_token"])
    assert (said["acr"], said["amr"]) == ("aal2", ["pwd", "otp", "mfa"])


@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_every_way_to_the_password_asks_for_the_second_factor(
    idp: Idp, app: Registered, totp: Factors, prompt: str
) -> None:
    """MF-01: with a session and without, for an app and for the account pages."""
    browser = idp.signed_in_browser(idp.session(totp.user))
    page = asked(browser, app, prompt=prompt)
    assert page.has("code")
    fresh = idp.browser()
    here = Page(fresh.get("/account/sign-in?next=/account/apps"))
    second = Page(sign_in(fresh, here))
    assert second.has("code")
    done = second.press(fresh, "factor-submit", code=totp.code())
    assert done.headers["location"] == "/account/apps"


def test_max_age_asks_for_both_again(idp: Idp, app: Registered, totp: Factors) -> None:
    browser = idp.signed_in_browser(idp.session(totp.user))
    idp.clock.advance(10 * MINUTE)
    assert asked(browser, app, max_age="60").has("code")


def test_a_wrong_code_is_a_sentence_and_the_next_right_one_goes_on(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    browser = idp.browser()
    page = asked(browser, app)
    for wrong in ("000000", "", "12345", "x" * 40, "１２３４５６"):
        response = page.press(browser, "factor-submit", code=wrong)
        assert response.status_code == 403
        page = Page(response)
        assert page.element("error").attributes["role"] == "alert"
        if wrong == "x" * 40:
            break
    assert count(idp) == 0
    assert "code" in back_at_app(browser, page.press(browser, "factor-submit", code=totp.code()))


def test_too_many_codes_are_not_looked_at(idp: Idp, app: Registered, totp: Factors) -> None:
    """BF-01: a right password does not buy endless guesses at the code."""
    browser = idp.browser()
    page = asked(browser, app)
    for _ in range(5):
        assert page.press(browser, "factor-submit", code="000000").status_code == 403
    late = page.press(browser, "factor-submit", code=totp.code())
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0
    # Beginning again is no way round it.
    again = asked(browser, app)
    assert again.press(browser, "factor-submit", code=totp.code()).status_code == 429
    assert count(idp) == 0


def test_a_ceremony_is_worth_nothing_in_another_browser(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    """SE-08: what one browser proved does not sign another one in."""
    page = asked(idp.browser(), app)
    thief = idp.browser()
    begun = Page(begin(thief, app))
    fields = begun.form(button="login-submit").fields
    stolen = page.form(button="factor-submit").fields["ceremony"]
    response = thief.post(
        "/login/second", data={**fields, "ceremony": stolen, "method": "totp", "code": totp.code()}
    )
    require_first_page(response, "")
    assert count(idp) == 0


def require_first_page(response: Response, name: str) -> Page:
    """The sign-in page with what happened, and nothing about anybody but the name that was typed."""
    assert response.status_code == 400
    assert "idp_session" not in response.headers.get("set-cookie", "")
    page = Page(response)
    assert page.element("error").attributes["role"] == "alert"
    assert LOST in page.text
    assert page.form(button="login-submit").fields["username"] == name
    return page


@pytest.mark.attack("BF-10")
@pytest.mark.parametrize("at", ["app", "account"])
@pytest.mark.parametrize("what", ["spent", "old", "password", "locked", "altered"])
def test_a_ceremony_that_is_over_leads_back_to_the_first_page_and_says_so(
    idp: Idp, app: Registered, totp: Factors, what: str, at: str
) -> None:
    browser = idp.browser()
    if at == "app":
        page = asked(browser, app)
    else:
        first = Page(browser.get("/account/sign-in?next=/account/apps"))
        page = Page(first.press(browser, "login-submit", username="alice", password=PASSWORD,
                                device="shared"))  # fmt: skip
    sealed = page.form(button="factor-submit").fields["ceremony"]
    if what == "spent":
        assert page.press(browser, "factor-submit", code=totp.code()).status_code == 303
        browser.cookies.delete("idp_session")
        idp.clock.advance(31 * SECOND)
    if what == "old":
        idp.clock.advance(10 * MINUTE)
    if what in ("password", "locked"):
        with idp.work.begin() as unit:
            user = unit.orm.get_one(User, totp.user.id)
            if what == "password":
                queries.set_password(unit, user, idp.hasher.hash("another one entirely"), SYSTEM)
            else:
                queries.set_status(unit, user, "locked", SYSTEM)
    if what == "altered":
        sealed = sealed[:-6] + "AAAAAA"
    before = count(idp)
    response = page.press(browser, "factor-submit", ceremony=sealed, code=totp.code())
    assert count(idp) == before
    if (at, what) == ("app", "old"):
        # The app's request has run out as well, and there is nothing to sign in to.
        assert response.status_code == 400
        assert Page(response).element("error")
        return
    page = require_first_page(response, "alice")
    if at == "account":
        assert page.form(button="login-submit").fields["next"] == "/account/apps"
        (shared,) = [one for one in page.elements if one.attributes.get("name") == "device"]
        assert "checked" in shared.attributes
    if what in ("old", "altered"):
        second = Page(sign_in(browser, page))
        done = second.press(browser, "factor-submit", code=totp.code())
        assert done.status_code == 303
        assert count(idp) == before + 1


@pytest.mark.attack("BF-10")
def test_why_a_sign_in_was_lost_is_not_said(idp: Idp, totp: Factors) -> None:
    """BF-10: a form of nobody, of somebody who was locked, and of a sign-in that is done."""
    seen = set()
    for what in ("nonsense", "spent", "locked"):
        browser = idp.browser()
        first = Page(browser.get("/account/sign-in"))
        fields = Page(sign_in(browser, first)).form(button="factor-submit").fields
        if what == "nonsense":
            fields["ceremony"] = "nonsense"
        with idp.work.begin() as unit:
            user = unit.orm.get_one(User, totp.user.id)
            if what == "locked":
                queries.set_status(unit, user, "locked", SYSTEM)
        if what == "spent":
            sent = {**fields, "method": "totp", "code": totp.code()}
            assert browser.post("/login/second", data=sent).status_code == 303
            browser.cookies.delete("idp_session")
        sent = {**fields, "method": "totp", "code": "000000"}
        response = browser.post("/login/second", data=sent)
        text = re.sub(r'name="(csrf|ceremony)" value="[^"]*"', "", response.text)
        seen.add((response.status_code, re.sub(r'data-options="[^"]*"', "", text)))
    assert len(seen) == 1


def test_who_is_signed_in_by_now_goes_on_where_they_wanted(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    """The same form in two tabs, or "Back" and once more."""
    browser = idp.browser()
    page = asked(browser, app)
    assert page.press(browser, "factor-submit", code=totp.code()).status_code == 303
    again = page.press(browser, "factor-submit", code=totp.code())
    assert "code" in back_at_app(browser, again)


def test_a_recovery_code_works_once(idp: Idp, app: Registered, totp: Factors) -> None:
    """MF-05; its owner is told where it was typed."""
    browser = idp.browser(ip="192.0.2.7")
    page = Page(asked(browser, app).press(browser, "use-recovery_code"))
    assert "code" in back_at_app(browser, page.press(browser, "factor-submit", code=totp.codes[0]))
    assert "192.0.2.7" in owed(idp, "recovery_code_used")[0].letter.text
    other = idp.browser()
    page = Page(asked(other, app).press(other, "use-recovery_code"))
    assert page.press(other, "factor-submit", code=totp.codes[0]).status_code == 403
    assert count(idp) == 1


def test_no_answer_shows_a_code(idp: Idp, app: Registered, totp: Factors) -> None:
    """MF-07: neither the code, nor the secret behind it, nor what was proved in the clear."""
    browser = idp.browser()
    code = totp.code()
    response = sign_in(browser, Page(begin(browser, app)))
    for secret in (code, totp.secrets[0], *totp.codes, totp.user.id, PASSWORD):
        assert secret not in response.text


def test_cancelling_tells_the_app(idp: Idp, app: Registered, totp: Factors) -> None:
    browser = idp.browser()
    answer = back_at_app(browser, asked(browser, app).press(browser, "factor-cancel"))
    assert answer["error"] == "access_denied"


# --- trusted devices ------------------------------------------------------------------------


def trusting(idp: Idp, app: Registered, totp: Factors) -> TestClient:
    browser = idp.browser()
    page = asked(browser, app)
    response = page.press(browser, "factor-submit", code=totp.code(), trust="yes")
    assert "idp_trust=" in response.headers["set-cookie"]
    browser.cookies.delete("idp_session")
    return browser


def test_a_trusted_device_is_not_asked_and_proves_one_factor_only(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    browser = trusting(idp, app, totp)
    flow = Flow(app)
    response = sign_in(browser, Page(begin(browser, app)))
    assert "code" in back_at_app(browser, response)
    answer = idp.authorize(browser, flow.parameters(prompt="none", acr_values="aal2"))
    assert answer["error"] == "interaction_required"
    assert len(idp.events("device.trusted")) == 1


def test_trust_ends_with_its_days_and_is_one_persons(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    browser = trusting(idp, app, totp)
    other = with_totp(idp, idp.person("bob"))
    response = sign_in(browser, Page(begin(browser, app)), username="bob")
    assert Page(response).has("code"), other
    idp.clock.advance(30 * DAY)
    assert asked(browser, app).has("code")


def test_a_planted_device_cookie_is_trusted_by_nobody(
    idp: Idp, app: Registered, totp: Factors
) -> None:
    """SE-07: the cookie that trust rests on is made when it is given, not before."""
    planted = "p" * 43
    victim, thief = idp.browser(), idp.browser()
    for browser in (victim, thief):
        browser.cookies.set("idp_trust", planted, domain="localhost.local")
    page = asked(victim, app)
    response = page.press(victim, "factor-submit", code=totp.code(), trust="yes")
    assert planted not in response.headers["set-cookie"]
    assert asked(thief, app).has("code")


# --- passkeys -------------------------------------------------------------------------------


def test_a_passkey_alone_signs_in(idp: Idp, app: Registered, person: User) -> None:
    device = with_passkey(idp, person)
    browser, flow = idp.browser(), Flow(app)
    response = with_assertion(browser, Page(begin(browser, app)), device)
    assert "code" in back_at_app(browser, response)
    answer = idp.authorize(browser, flow.parameters(prompt="none", acr_values="aal3"))
    assert "code" in answer


@pytest.mark.attack("MF-11")
def test_a_passkey_without_its_user_verified_signs_nobody_in(
    idp: Idp, app: Registered, person: User
) -> None:
    """MF-11: alone it must verify its user, whatever the browser says was asked for."""
    device = with_passkey(idp, person)
    browser = idp.browser()
    response = with_assertion(browser, Page(begin(browser, app)), device, flags=UP)
    assert response.status_code == 400
    assert Page(response).element("error").attributes["role"] == "alert"
    assert count(idp) == 0


def test_beside_the_password_a_passkey_need_not_verify_its_user(
    idp: Idp, app: Registered, person: User
) -> None:
    device = with_passkey(idp, person, backup="eligible")
    browser = idp.browser()
    response = with_assertion(browser, asked(browser, app), device, flags=UP | device.backup_flags)
    assert "code" in back_at_app(browser, response)


def test_one_persons_passkey_is_no_second_factor_of_another(
    idp: Idp, app: Registered, person: User
) -> None:
    """MF-10"""
    with_passkey(idp, person)
    theirs = with_passkey(idp, idp.person("mallory"))
    browser = idp.browser()
    page = asked(browser, app)
    assert with_assertion(browser, page, theirs).status_code == 400
    assert count(idp) == 0


def test_an_answered_challenge_is_not_answered_again(
    idp: Idp, app: Registered, person: User
) -> None:
    """MF-16: neither a right answer nor a wrong one can be sent twice."""
    device = with_passkey(idp, person)
    browser = idp.browser()
    page = Page(begin(browser, app))
    assert with_assertion(browser, page, device, challenge="A" * 43).status_code == 400
    assert with_assertion(browser, page, device).status_code == 400
    fresh = Page(begin(browser, app))
    assert with_assertion(browser, fresh, device).status_code == 303
    browser.cookies.delete("idp_session")
    assert with_assertion(browser, fresh, device).status_code == 400
    assert count(idp) == 1


def test_somebody_without_a_password_signs_in_by_passkey_only(idp: Idp, app: Registered) -> None:
    with idp.work.begin() as unit:
        user = queries.create_user(unit, username="keyed")
    device = with_passkey(idp, user)
    browser = idp.browser()
    assert sign_in(browser, Page(begin(browser, app)), username="keyed").status_code == 403
    response = with_assertion(browser, Page(begin(browser, app)), device)
    assert "code" in back_at_app(browser, response)

"""A session in which nobody has proved anything yet: what it may see, and what asks for a proof."""

import base64
from typing import Any

import orjson
import pytest

from idp.clock import MINUTE
from idp.oauth import consent
from idp.policy.assurance import REMEMBERED, Authentication
from tests.harness.enrolled import with_totp
from tests.harness.provider import PASSWORD, Flow, Idp, Registered
from tests.test_docs import routes_of
from tests.web.conftest import Somebody, back_at_app, begin
from tests.web.html import Page
from tests.web.test_api import Caller, problem

BY_COOKIE = Authentication(REMEMBERED, (), "0")
SESSIONS = "/account/sessions"
# Signing in; an app's access, which needs an app (below); "stay signed in" of this very session, and
# that what it was told was read, and how its pages look; a code that this very session shows, for which
# it proved something.
SPARED = (
    "/account/move/{id}",
    "/account/sign-in",
    "/account/apps",
    "/account/session/extend",
    "/account/session/notices/seen",
    "/account/session/preferences",
)


@pytest.fixture
def carol(idp: Idp) -> Somebody:
    """Somebody whom a cookie signed in."""
    user = idp.person("carol")
    session = idp.session(user, proved=(BY_COOKIE,))
    return Somebody(idp, user, session, idp.signed_in_browser(session))


def level(one: Somebody) -> str:
    with one.idp.work.read() as unit:
        row = unit.connection.exec_driver_sql(f"SELECT acr FROM sessions WHERE id = '{one.id}'")
        return str(row.scalar_one())


def prove(one: Somebody, page: Page, **typed: str) -> Any:
    typed = typed or {"password": PASSWORD}
    return page.press(one.browser, "factor-submit", **typed)


# --- The account ------------------------------------------------------------------------------


def test_somebody_remembered_sees_their_sessions_and_signs_themselves_out(carol: Somebody) -> None:
    page = carol.sessions()
    assert "Level 0" in page.text
    assert page.press(carol.browser, "sign-out").status_code == 303
    assert not carol.is_running(carol.id)


@pytest.mark.attack("MF-01")
def test_whatever_changes_an_account_asks_for_a_proof_first(
    idp: Idp, carol: Somebody, app: Registered
) -> None:
    """MF-01, ASVS 7.5.2: every form of every account page; a new one that forgets it fails here."""
    carol.use(app)
    other = carol.elsewhere()
    token = carol.sessions().forms[0].fields["csrf"]
    fields: dict[str, dict[str, str]] = {
        f"{SESSIONS}/end": {"what": "selected", "confirmed": "yes", f"select.{other}": "on"},
        "/account/security/not-me": {"step": "session", "end": other},
        "/account/security/password": {"others": "keep_all"},
    }
    asked = []
    before = [(one["type"], one["id"]) for one in idp.events()]
    for route in routes_of(idp):
        if "POST" not in route.methods or not route.path.startswith("/account/"):
            continue
        if route.path in SPARED:
            continue
        path = route.path.replace("{id}", other)
        sent = {"csrf": token, "confirmed": "yes", **fields.get(route.path, {})}
        response = carol.browser.post(path, data=sent)
        where = response.headers.get("location", "")
        is_asked = where.startswith("/step-up?") or 'id="step-up-begin"' in response.text
        assert is_asked, (path, response.status_code, where)
        asked.append(route.path)
    assert len(asked) >= 12
    assert [(one["type"], one["id"]) for one in idp.events()] == before
    assert carol.is_running(other)


def test_an_app_is_disconnected_only_by_who_proved_themselves(
    idp: Idp, carol: Somebody, stranger: Registered
) -> None:
    with idp.work.begin() as unit:
        consent.grant(
            unit, user_id=carol.user.id, session_id=carol.id, client_id=stranger.id, scope="openid"
        )
    page = Page(carol.browser.get("/account/apps"))
    fields = page.form(action="/account/apps").fields | {"confirmed": "yes"}
    held = carol.browser.post("/account/apps", data=fields)
    assert 'id="step-up-begin"' in held.text
    assert idp.count("consents") == 1
    asked = Page(Page(held).press(carol.browser, "step-up-begin"))
    assert "To change something in your account, please confirm that it is you" in asked.text
    again = Page(prove(carol, asked))
    assert again.press(carol.browser, "step-up-continue").status_code == 303
    assert idp.count("consents") == 0


def test_a_proof_lifts_the_session_and_leads_back(idp: Idp, carol: Somebody) -> None:
    before = carol.browser.cookies.get("idp_session")
    where = carol.browser.get("/account/security/password").headers["location"]
    response = prove(carol, Page(carol.browser.get(where)))
    assert response.headers["location"] == "/account/security/password"
    assert carol.browser.get("/account/security/password").status_code == 200
    assert level(carol) == "aal1"
    # The secret changed with the strength, and the old one is dead (SE-02).
    stale = idp.browser()
    stale.cookies.set("idp_session", before or "", domain="localhost.local")
    assert stale.get(SESSIONS).headers["location"].startswith("/account/sign-in")


@pytest.mark.attack("MF-01")
def test_a_password_alone_lifts_nobody_who_has_a_second_factor(idp: Idp, carol: Somebody) -> None:
    """MF-01: the cookie and the password are no way around the second factor."""
    factors = with_totp(idp, carol.user)
    where = f"/step-up?for=manage_account&next={SESSIONS}"
    page = Page(carol.browser.get(where))
    page = Page(page.press(carol.browser, "use-password")) if page.has("use-password") else page
    page = Page(prove(carol, page))
    assert page.has("code")
    assert level(carol) == "0"
    rename = f"{SESSIONS}/{carol.id}/rename"
    token = carol.sessions().forms[0].fields["csrf"]
    held = carol.browser.post(rename, data={"csrf": token, "name": "Mine"})
    assert 'id="step-up-begin"' in held.text
    assert prove(carol, page, code=factors.code()).headers["location"] == SESSIONS
    assert level(carol) == "aal2"


@pytest.mark.attack("MF-01")
def test_a_code_alone_lifts_nobody_either(idp: Idp, carol: Somebody, app: Registered) -> None:
    """MF-01: an app that asks for aal1 is not answered with half a sign-in."""
    factors = with_totp(idp, carol.user)
    page = Page(begin(carol.browser, app, acr_values="aal1"))
    page = Page(page.press(carol.browser, "use-totp")) if page.has("use-totp") else page
    page = Page(prove(carol, page, code=factors.code()))
    assert level(carol) == "0"
    assert page.has("password")
    assert "code" in back_at_app(carol.browser, prove(carol, page))
    assert level(carol) == "aal2"


# --- Apps -------------------------------------------------------------------------------------


def test_an_app_that_asks_for_nothing_is_told_that_nothing_was_proved(
    idp: Idp, carol: Somebody, app: Registered
) -> None:
    claims = carol.use(app)["id_token"].split(".")[1]
    said = orjson.loads(base64.urlsafe_b64decode(claims + "=="))
    assert (said["acr"], said["amr"]) == ("0", [])


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize(
    "asked", [{"acr_values": "aal1"}, {"max_age": "3600"}, {"acr_values": "aal2 aal1"}]
)
def test_an_app_that_asks_for_anything_gets_a_proof(
    carol: Somebody, app: Registered, asked: dict[str, str]
) -> None:
    """MF-02: that somebody was here within `max_age` is no answer to whether they are now."""
    flow = Flow(app)
    refused = carol.idp.authorize(carol.browser, flow.parameters(prompt="none", **asked))
    assert refused["error"] == "interaction_required"
    page = Page(begin(carol.browser, app, **asked))
    assert page.has("password")
    assert "code" in back_at_app(carol.browser, prove(carol, page))


def test_a_demand_of_the_client_or_of_a_rule_is_a_demand_for_a_proof(
    idp: Idp, carol: Somebody
) -> None:
    strict = idp.register(name="Strict", minimum_acr="aal1")
    page = Page(begin(carol.browser, strict))
    assert "Strict asks to be surer that it is you" in page.text


@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_whoever_asks_for_a_sign_in_gets_a_whole_one(
    carol: Somebody, app: Registered, prompt: str
) -> None:
    page = Page(begin(carol.browser, app, prompt=prompt))
    assert page.has("login-submit")


def test_nobody_allows_an_app_anything_before_a_proof(
    idp: Idp, carol: Somebody, stranger: Registered
) -> None:
    flow = Flow(stranger)
    refused = idp.authorize(carol.browser, flow.parameters(prompt="none"))
    assert refused["error"] == "consent_required"
    page = Page(begin(carol.browser, stranger))
    assert page.has("password")
    reference = page.form(button="factor-submit").fields["request"]
    token = page.form(button="factor-submit").fields["csrf"]
    # The question cannot be seen nor answered past the proof.
    seen = carol.browser.get(f"/consent?request={reference}")
    assert seen.headers["location"].startswith("/authorize?")
    sent = {"request": reference, "csrf": token, "action": "allow"}
    answered = carol.browser.post("/consent", data=sent)
    assert answered.headers["location"].startswith("/authorize?")
    assert idp.count("consents") == 0
    response = prove(carol, page)
    question = carol.browser.get(response.headers["location"])
    question = Page(carol.browser.get(question.headers["location"]))
    allowed = question.press(carol.browser, "consent-allow")
    assert "code" in back_at_app(carol.browser, allowed)


def test_whoever_will_not_prove_themselves_for_a_consent_says_no(
    carol: Somebody, stranger: Registered
) -> None:
    page = Page(begin(carol.browser, stranger))
    response = page.press(carol.browser, "factor-cancel")
    assert back_at_app(carol.browser, response)["error"] == "access_denied"


# --- The API ----------------------------------------------------------------------------------


def test_the_api_shows_sessions_and_changes_none_of_them(carol: Somebody, app: Registered) -> None:
    call = Caller(carol, app)
    other = carol.elsewhere()
    assert [one["acr"] for one in call("GET").json()["sessions"]] == ["0", "aal1"]
    assert call("POST", f"/{carol.id}/extend").status_code == 200
    for response in (
        call("PATCH", f"/{carol.id}", json={"name": "Mine"}),
        call("DELETE", f"/{other}"),
        call("POST", f"/{other}/extend"),
        call("POST", "/revoke-all"),
    ):
        assert problem(response) == (401, "insufficient_user_authentication")
        assert 'acr_values="aal1"' in response.headers["www-authenticate"]
    assert carol.is_running(other)


def test_an_old_proof_is_enough_where_any_will_do(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    """Nothing changes for whoever signed in: only sensitive operations ask for a fresh proof."""
    call = Caller(alice, app)
    other = alice.elsewhere()
    idp.clock.advance(4 * MINUTE)
    assert call("PATCH", f"/{other}", json={"name": "Phone"}).status_code == 200
    idp.clock.advance(30 * MINUTE)
    sent = {"csrf": alice.sessions().forms[0].fields["csrf"]}
    assert alice.browser.post(f"{SESSIONS}/{other}/end", data=sent).status_code == 303
    assert not alice.is_running(other)

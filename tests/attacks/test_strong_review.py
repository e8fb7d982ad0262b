"""What a review of strong sign-in found, each kept as a test: proofs that are gone, and ceremonies.

The rest of it is in `test_strong_review_counts.py` and `test_strong_review_links.py`.
"""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import MINUTE
from idp.events.actor import Actor
from idp.policy.assurance import Authentication
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.storage.unit_of_work import UnitOfWork
from idp.users import passkeys
from idp.users.credentials import Passkey
from idp.users.model import User
from tests.harness.authenticator import ABSENT, Authenticator
from tests.harness.enrolled import with_passkey, with_totp
from tests.harness.provider import ADMIN, PASSWORD, Flow, Idp, Registered, Started
from tests.web.conftest import sign_in
from tests.web.html import Page

HOME = "/account/sign-in"
NEW_PASSKEY = "/account/security/passkeys/new"


def at_home(browser: TestClient, *, password: str = PASSWORD) -> Response:
    """Types alice's password on the page without an app."""
    return sign_in(browser, Page(browser.get(HOME)), password=password)


def asked(browser: TestClient) -> Page:
    """The page that asks for the second factor."""
    response = at_home(browser)
    assert response.status_code == 200, response.text
    return Page(response)


def show(browser: TestClient, page: Page, method: str, answer: str) -> Response:
    """Answers a factor page by a code of either kind."""
    fields = page.form(button="factor-cancel").fields
    return browser.post(
        "/login/second", data=fields | {"method": method, "code": answer, "action": "prove"}
    )


def by_passkey(browser: TestClient, key: Authenticator, **changes: Any) -> Response:
    """Signs in with a passkey alone, as the page's script would."""
    page = Page(browser.get(HOME))
    (asking,) = [one for one in page.elements if one.attributes.get("data-passkey") == "get"]
    credential = key.get(asking.attributes["data-options"], **changes)
    fields = page.form(action=HOME).fields
    return browser.post(HOME, data=fields | {"action": "passkey", "credential": credential})


def sign_out(browser: TestClient) -> None:
    """The browser forgets its session, which runs on."""
    browser.cookies.delete("idp_session")


def leads_to(browser: TestClient, app: Registered, **parameters: str) -> str:
    """Where an app's request in this browser leads."""
    flow = Flow(app).parameters(**parameters)
    return browser.get("/authorize?" + urlencode(flow)).headers["location"].partition("?")[0]


def passkey_of(unit: UnitOfWork, user: User) -> Passkey:
    (found,) = passkeys.of(unit, user.id)
    return found


def remove_passkey(idp: Idp, user: User, *, by: Started | None = None) -> None:
    """Removes somebody's one passkey: from a session of theirs, or by an administrator."""
    actor = Actor("user", by.session.id) if by is not None else ADMIN
    with idp.work.begin() as unit:
        passkeys.remove(unit, passkey_of(unit, user), actor)


def rest_on_passkey(idp: Idp, user: User, *more: Authentication) -> Started:
    """A session that was begun with the passkey, and proved `more` afterwards."""
    with idp.work.read() as unit:
        passkey = passkey_of(unit, user)
    proof = Authentication("passkey", ("hwk", "user"), "aal3", passkey.id)
    return idp.session(user, proved=[proof, *more])


def ends(idp: Idp) -> dict[str, str | None]:
    """Why each session ended; None for those that run."""
    with idp.work.read() as unit:
        return {one.id: one.end_reason for one in unit.orm.query(Session)}


# --- a passkey that is gone (H2, and what apps were told on its strength) -------------------------


@pytest.mark.attack("SE-11")
def test_removing_a_passkey_ends_what_a_copy_of_it_began(either_idp: Idp) -> None:
    """SE-11: a thief who signed in with the passkey stays in after its owner removed it."""
    idp = either_idp
    alice = idp.person("alice")
    key = with_passkey(idp, alice)
    thief = idp.browser()
    assert by_passkey(thief, key).status_code == 303
    owner = idp.session(alice)
    remove_passkey(idp, alice, by=owner)
    reasons = ends(idp)
    assert reasons.pop(owner.session.id) is None
    assert list(reasons.values()) == ["factor_removed"]
    assert thief.get("/account/sessions").headers["location"].startswith(HOME)
    assert leads_to(thief, idp.register()) == "/login"
    (ended,) = idp.events("session.ended")
    assert ended["reason"] == "factor_removed"


@pytest.mark.attack("SE-11")
def test_a_suspended_passkey_ends_what_it_began(either_idp: Idp) -> None:
    """SE-11: the copy is noticed, and the session that the copy began runs on."""
    idp = either_idp
    alice = idp.person("alice")
    key = with_passkey(idp, alice)
    thief, owner = idp.browser(), idp.browser()
    assert by_passkey(thief, key, sign_count=50).status_code == 303
    both = rest_on_passkey(idp, alice, BY_PASSWORD)
    refused = by_passkey(owner, key, sign_count=7)
    assert refused.status_code == 403
    assert "copy" in Page(refused).text
    reasons = ends(idp)
    # What also rests on something else goes on, at what that earns.
    assert reasons.pop(both.session.id) is None
    assert list(reasons.values()) == ["factor_removed"]
    assert leads_to(thief, idp.register()) == "/login"
    assert thief.get(NEW_PASSKEY).headers["location"].startswith(HOME)


@pytest.mark.attack("MF-04")
def test_what_a_removed_passkey_proved_elevates_nobody(either_idp: Idp) -> None:
    """MF-04: whoever removes the passkey they came in with changes factors on its strength."""
    idp = either_idp
    alice = idp.person("alice")
    with_passkey(idp, alice)
    started = rest_on_passkey(idp, alice)
    browser = idp.signed_in_browser(started)
    assert browser.get(NEW_PASSKEY).status_code == 200
    remove_passkey(idp, alice, by=started)
    assert ends(idp) == {started.session.id: None}
    assert browser.get("/account/security").status_code == 200
    for path in (NEW_PASSKEY, "/account/security/email", "/account/security/password"):
        assert browser.get(path).headers["location"].startswith("/step-up?"), path
    # Nor is it as fresh as an app wants it: that is a whole sign-in.
    app = idp.register()
    assert leads_to(browser, app, max_age="300") == "/login"
    assert leads_to(browser, app, acr_values="aal2") != app.redirect_uri


@pytest.mark.attack("SE-11")
@pytest.mark.parametrize("gone", ["removed", "suspended"])
def test_apps_are_told_no_more_than_is_still_proved(either_idp: Idp, gone: str) -> None:
    """SE-11: an app goes on being told that the removed passkey was used."""
    idp = either_idp
    alice, app = idp.person("alice"), idp.register()
    key = with_passkey(idp, alice)
    started = rest_on_passkey(idp, alice, BY_PASSWORD)
    scope = "openid sessions offline_access"
    tokens = idp.grant(app, started, scope=scope)
    before = idp.post("/introspect", app, token=tokens["access_token"])[1]
    assert before["acr"] == "aal3"
    if gone == "removed":
        remove_passkey(idp, alice, by=idp.session(alice))
    else:
        with idp.work.begin() as unit:
            passkey_of(unit, alice).sign_count = 90
        assert by_passkey(idp.browser(), key).status_code == 403
    status, renewed = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    for one in (tokens, renewed):
        said = idp.post("/introspect", app, token=one["access_token"])[1]
        assert (said["active"], said["acr"], said["amr"]) == (True, "aal1", ["pwd"])


@pytest.mark.attack("SE-11")
def test_a_grant_that_rests_on_nothing_any_more_says_nothing(either_idp: Idp) -> None:
    """SE-11: the session that removed its own passkey keeps an app's grant that names it."""
    idp = either_idp
    alice, app = idp.person("alice"), idp.register()
    with_passkey(idp, alice)
    started = rest_on_passkey(idp, alice)
    tokens = idp.grant(app, started, scope="openid sessions offline_access")
    elsewhere = idp.session(alice)
    remove_passkey(idp, alice, by=started)
    status, renewed = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    for one in (tokens, renewed):
        said = idp.post("/introspect", app, token=one["access_token"])[1]
        assert (said["active"], said["acr"], said["amr"]) == (True, "0", [])
        refused = revoke_all(idp, one["access_token"])
        assert refused.status_code == 401
        assert "insufficient_user_authentication" in refused.headers["www-authenticate"]
    assert ends(idp)[elsewhere.session.id] is None


@pytest.mark.attack("SE-11")
def test_our_api_takes_an_old_password_for_no_fresh_proof(either_idp: Idp) -> None:
    """SE-11: the instant of the removed passkey's proof makes an old password look fresh."""
    idp = either_idp
    alice, app = idp.person("alice"), idp.register()
    with_passkey(idp, alice)
    with idp.work.read() as unit:
        passkey_id = passkey_of(unit, alice).id
    started = idp.session(alice)
    idp.clock.advance(20 * MINUTE)
    proof = Authentication("passkey", ("hwk", "user"), "aal3", passkey_id)
    started = idp.prove(started, proof)
    tokens = idp.grant(app, started, scope="openid sessions offline_access")
    elsewhere = idp.session(alice)
    remove_passkey(idp, alice, by=elsewhere)
    assert revoke_all(idp, tokens["access_token"]).status_code == 401
    assert ends(idp)[elsewhere.session.id] is None


@pytest.mark.attack("SE-11")
def test_what_never_rested_on_the_passkey_is_told_as_before(either_idp: Idp) -> None:
    """SE-11: the removal of a passkey makes a grant say more, or less, that it never vouched for."""
    idp = either_idp
    alice, app = idp.person("alice"), idp.register()
    with_passkey(idp, alice)
    started = rest_on_passkey(idp, alice, BY_PASSWORD)
    idp.clock.advance(10 * MINUTE)
    fresh = Authentication("totp", ("otp",), "aal1")
    started = idp.prove(started, fresh)
    tokens = idp.grant(app, started, scope="openid sessions", max_age="60")
    before = idp.post("/introspect", app, token=tokens["access_token"])[1]
    assert (before["acr"], before["amr"]) == ("aal1", ["otp"])
    remove_passkey(idp, alice, by=idp.session(alice))
    after = idp.post("/introspect", app, token=tokens["access_token"])[1]
    assert {name: after[name] for name in ("acr", "amr", "auth_time")} == {
        name: before[name] for name in ("acr", "amr", "auth_time")
    }


def revoke_all(idp: Idp, token: str) -> Response:
    headers = {"Authorization": f"Bearer {token}"}
    return idp.browser().post("/api/v1/users/sessions/revoke-all", headers=headers)


@pytest.mark.attack("MF-01")
def test_a_suspended_only_factor_is_no_way_around_it(either_idp: Idp) -> None:
    """MF-01: whoever has the password makes a copy known, and then needs no second factor."""
    idp = either_idp
    alice, app = idp.person("alice"), idp.register()
    with_passkey(idp, alice)
    before = idp.session(alice)
    with idp.work.begin() as unit:
        passkey_of(unit, alice).suspended_at = unit.now
    for where in (idp.browser(), idp.browser()):
        refused = at_home(where)
        assert refused.status_code == 403
        assert "recovery codes" in Page(refused).text
        assert "idp_session" not in where.cookies
    browser = idp.browser()
    response = browser.get("/authorize?" + urlencode(Flow(app).parameters()))
    page = Page(browser.get(response.headers["location"]))
    assert sign_in(browser, page).status_code == 403
    assert idp.count("sessions") == 1
    # Nor does a session by the password alone, from before, change what there is to prove.
    holder = idp.signed_in_browser(before)
    for path in (NEW_PASSKEY, "/account/security/totp/new"):
        location = holder.get(path).headers["location"]
        assert location.startswith("/step-up?"), path
        assert holder.get(location).status_code == 403, path


# --- ceremonies and requests (M2, M3, M6) -----------------------------------------------------


@pytest.mark.attack("MF-16")
def test_a_spent_ceremony_is_not_made_good_again(either_idp: Idp) -> None:
    """MF-16: a form that signed somebody in is posted as a passkey's answer, and comes back fresh."""
    idp = either_idp
    alice = with_totp(idp, idp.person("alice"))
    with_passkey(idp, alice.user)
    browser = idp.browser()
    fields = asked(browser).form(button="factor-cancel").fields
    code = {"method": "totp", "action": "prove"}
    signed_in = browser.post("/login/second", data=fields | code | {"code": alice.code()})
    assert signed_in.status_code == 303
    sign_out(browser)
    idp.clock.advance(MINUTE)
    rubbish = {"method": "passkey", "credential": "x", "action": "passkey"}
    for answer in (rubbish, code | {"code": alice.code()}, rubbish):
        response = browser.post("/login/second", data=fields | answer)
        # Back to the password: no page that would hold a ceremony.
        assert response.status_code == 400
        assert 'id="login-submit"' in response.text
        assert 'id="factor-cancel"' not in response.text
    assert idp.count("sessions") == 1


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "60"}], ids=str)
def test_signing_in_anew_is_not_met_by_the_password_alone(
    either_idp: Idp, demand: dict[str, str]
) -> None:
    """MF-02: a request for a new sign-in is carried to the step-up page, which asks for one factor."""
    idp = either_idp
    alice, app = with_totp(idp, idp.person("alice")), idp.register()
    proofs = [BY_PASSWORD, Authentication("totp", ("otp",), "aal1")]
    browser = idp.signed_in_browser(idp.session(alice.user, proved=proofs))
    idp.clock.advance(10 * MINUTE)
    response = browser.get("/authorize?" + urlencode(Flow(app).parameters(**demand)))
    location = response.headers["location"]
    assert location.startswith("/login?")
    reference = location.partition("request=")[2]
    shown = browser.get(f"/step-up?request={reference}&method=password")
    assert shown.status_code == 303
    csrf = Page(browser.get("/account/sessions")).form(action="/account/sessions/end").fields
    proved = browser.post(
        "/step-up",
        data={
            "csrf": csrf["csrf"], "request": reference, "method": "password",
            "password": PASSWORD, "action": "prove",
        },
    )  # fmt: skip
    assert proved.status_code == 303
    back = browser.get(proved.headers["location"])
    assert back.headers["location"].startswith("/login?")
    # The way there is: everything, once more.
    page = Page(sign_in(browser, Page(browser.get(back.headers["location"]))))
    response = page.press(browser, "factor-submit", code=alice.code())
    assert (
        browser.get(response.headers["location"]).headers["location"].startswith(app.redirect_uri)
    )


@pytest.mark.attack("MF-17")
@pytest.mark.parametrize("spelled", ["\ud800", "a\udfff", "\ud800\udc00", "a\x00b"])
def test_an_id_that_is_no_text_is_refused(either_idp: Idp, spelled: str) -> None:
    """MF-17: half a character as the id of a credential stops the server instead of being refused."""
    idp = either_idp
    browser, key = idp.browser(), Authenticator()
    key.user_handle = b"x"
    page = Page(browser.get(HOME))
    (asking,) = [one for one in page.elements if one.attributes.get("data-passkey") == "get"]
    answer = json.loads(key.get(asking.attributes["data-options"], user_handle=ABSENT))
    credential = json.dumps(answer | {"id": spelled})
    fields = page.form(action=HOME).fields
    sent = browser.post(HOME, data=fields | {"action": "passkey", "credential": credential})
    assert sent.status_code == 400

"""Who is asked what, and when (OpenID Connect Core section 3.1.2.1)."""

import json

import pytest

from idp.clock import SECOND
from idp.policy.timeouts import IDLE_DEFAULT
from tests.harness.provider import Flow, Idp, Registered, Started
from tests.oauth.asking import Request, remember_consent


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register()


@pytest.fixture
def alice(idp: Idp) -> Started:
    return idp.session(idp.person("alice"))


def ask(idp: Idp, started: Started | None, client: Registered, **changes: str | None) -> Request:
    browser = idp.signed_in_browser(started) if started else idp.browser()
    return Request(idp, browser, client, **changes)


@pytest.mark.parametrize("scope", ["openid", "openid profile email", None])
def test_who_is_signed_in_gets_a_code_without_a_page(
    idp: Idp, app: Registered, alice: Started, scope: str | None
) -> None:
    assert ask(idp, alice, app, scope=scope).step == "code"
    assert ask(idp, alice, app, scope=scope, prompt="none").step == "code"


def test_who_is_not_signed_in_sees_the_sign_in_page_unless_no_page_is_wanted(
    idp: Idp, app: Registered
) -> None:
    assert ask(idp, None, app).step == "/login"
    for prompt in ("login", "consent", "select_account", "login consent"):
        assert ask(idp, None, app, prompt=prompt).step == "/login"
    assert ask(idp, None, app, prompt="none").step == "login_required"


def test_a_session_that_ran_out_counts_as_none(idp: Idp, app: Registered, alice: Started) -> None:
    idp.clock.advance(IDLE_DEFAULT)
    assert ask(idp, alice, app).step == "/login"
    assert ask(idp, alice, app, prompt="none").step == "login_required"


@pytest.mark.parametrize("prompt", ["login", "select_account"])
def test_a_sign_in_that_was_asked_for_is_done_for_this_very_request(
    idp: Idp, app: Registered, alice: Started, prompt: str
) -> None:
    request = ask(idp, alice, app, prompt=prompt)
    assert request.step == "/login"
    # Coming back without having signed in leads to the page again.
    assert request._again().step == "/login"
    assert request.authenticated("ses_of_somebody_else").step == "/login"
    assert request.authenticated(alice.session.id).step == "code"
    assert ask(idp, alice, app, prompt=prompt).step == "/login"


def test_prompt_consent_asks_also_who_has_allowed_before(idp: Idp, alice: Started) -> None:
    for app in (idp.register(), idp.register(first_party=0)):
        remember_consent(idp, alice, app)
        assert ask(idp, alice, app).step == "code"
        request = ask(idp, alice, app, prompt="consent")
        assert request.step == "/consent"
        assert request.allowed(alice).step == "code"
        assert ask(idp, alice, app, prompt="consent").step == "/consent"


def test_sign_in_and_consent_can_both_be_asked_for(
    idp: Idp, app: Registered, alice: Started
) -> None:
    request = ask(idp, alice, app, prompt="login consent")
    assert request.step == "/login"
    assert request.authenticated(alice.session.id).step == "/consent"
    assert request.allowed(alice).step == "code"


def test_a_refusal_is_final_for_its_request(idp: Idp, alice: Started) -> None:
    app = idp.register(first_party=0)
    request = ask(idp, alice, app)
    assert request.step == "/consent"
    reference = request.reference
    assert request.denied().step == "access_denied"
    browser = idp.signed_in_browser(alice)
    assert browser.get(f"/consent?request={reference}").status_code == 400


def test_an_unfinished_consent_is_told_to_who_wants_no_page(idp: Idp, alice: Started) -> None:
    app = idp.register(first_party=0)
    assert ask(idp, alice, app, prompt="none").step == "consent_required"


def test_a_native_app_asks_every_time_and_a_public_web_app_once(idp: Idp, alice: Started) -> None:
    public = {"token_endpoint_auth_method": "none", "grant_types": ["authorization_code"]}
    native = idp.register(
        **public, application_type="native", redirect_uris=["http://127.0.0.1/cb"]
    )
    web = idp.register(**public)
    for app in (native, web):
        # Even of our own organisation: it has no secret, so it could be anybody.
        assert ask(idp, alice, app).step == "/consent"
        remember_consent(idp, alice, app)
    assert ask(idp, alice, web).step == "code"
    assert ask(idp, alice, native).step == "/consent"
    assert ask(idp, alice, native, prompt="none").step == "consent_required"
    assert ask(idp, alice, native).allowed(alice).step == "code"


def test_max_age_counts_from_the_last_proof(idp: Idp, app: Registered, alice: Started) -> None:
    idp.clock.advance(10 * SECOND)
    assert ask(idp, alice, app, max_age="10").step == "code"
    idp.clock.advance(1)
    assert ask(idp, alice, app, max_age="11").step == "code"
    for seconds in ("10", "0"):
        assert ask(idp, alice, app, max_age=seconds, prompt="none").step == "login_required"
        request = ask(idp, alice, app, max_age=seconds)
        assert request.step == "/login"
        assert request.authenticated(alice.session.id).step == "code"


def test_an_id_token_hint_of_the_same_person_needs_no_page_even_when_it_has_expired(
    idp: Idp, app: Registered, alice: Started
) -> None:
    hint = idp.grant(app, alice)["id_token"]
    idp.clock.advance(idp.settings.tokens.id_token_lifetime * SECOND + SECOND)
    assert ask(idp, alice, app, id_token_hint=hint, prompt="none").step == "code"


def test_an_id_token_hint_of_another_person_asks_once_and_then_tells_the_app(
    idp: Idp, app: Registered, alice: Started
) -> None:
    bob = idp.session(idp.person("bob"))
    hint = idp.grant(app, bob)["id_token"]
    assert ask(idp, alice, app, id_token_hint=hint, prompt="none").step == "login_required"
    request = ask(idp, alice, app, id_token_hint=hint)
    assert request.step == "/login"
    assert request.authenticated(alice.session.id).step == "login_required"
    assert ask(idp, None, app, id_token_hint=hint).step == "/login"


def sub_claim(**wanted: object) -> str:
    return json.dumps({"id_token": {"sub": wanted}})


def test_a_sub_in_claims_names_who_alone_may_answer(
    idp: Idp, app: Registered, alice: Started
) -> None:
    """OpenID Connect Core section 3.1.2.2: no ID token or access token for a different user."""
    me, bob = alice.session.user_id, idp.session(idp.person("bob"))
    for wanted in ({"value": me}, {"values": ["x", me]}, {"value": me, "essential": True}, {}):
        assert ask(idp, alice, app, claims=sub_claim(**wanted), prompt="none").step == "code"
    for wanted in ({"value": bob.session.user_id}, {"value": "x"}, {"values": []}, {"value": 1}):
        asked = sub_claim(**wanted)
        assert ask(idp, alice, app, claims=asked, prompt="none").step == "login_required", wanted
        request = ask(idp, alice, app, claims=asked)
        assert request.step == "/login"
        assert request.authenticated(alice.session.id).step == "login_required"
    # A hint and a claim that name two people leave nobody.
    hint = idp.grant(app, bob)["id_token"]
    both = ask(idp, alice, app, id_token_hint=hint, claims=sub_claim(value=me), prompt="none")
    assert both.step == "login_required"


@pytest.mark.attack("BF-14")
def test_an_app_that_was_allowed_nothing_does_not_learn_who_is_signed_in(
    idp: Idp, alice: Started
) -> None:
    stranger = idp.register(first_party=0)
    for changes in ({}, {"acr_values": "aal2"}):
        told = {
            ask(idp, alice, stranger, claims=sub_claim(value=one), prompt="none", **changes).step
            for one in (alice.session.user_id, idp.person(f"n{len(changes)}").id, "usr_unknown")
        }
        assert told == {"interaction_required" if changes else "consent_required"}


def test_a_login_hint_fills_in_the_name_and_says_nothing_about_whether_it_exists(
    idp: Idp, app: Registered
) -> None:
    idp.person("carol")
    pages = []
    for name in ("carol", "nobody"):
        browser = idp.browser()
        location = Request(idp, browser, app, login_hint=name).location
        page = browser.get(location).text
        assert f'value="{name}"' in page
        pages.append(page.replace(name, ""))
    assert len(pages[0]) == len(pages[1])


def test_an_app_without_the_code_flow_is_told_so(idp: Idp, alice: Started) -> None:
    app = idp.register()
    idp.execute("""UPDATE clients SET grant_types = '["client_credentials"]'""")
    assert ask(idp, alice, app).step == "unauthorized_client"


def test_a_request_begun_by_post_is_the_same_request(
    idp: Idp, app: Registered, alice: Started
) -> None:
    browser = idp.signed_in_browser(alice)
    response = browser.post("/authorize", data=Flow(app).parameters())
    assert response.status_code == 303
    assert response.headers["location"].startswith("/authorize?")
    assert "code=" in browser.get(response.headers["location"]).headers["location"]

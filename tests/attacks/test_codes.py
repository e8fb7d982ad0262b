"""Authorization codes and PKCE (attack group AC)."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from idp.clock import SECOND
from idp.oauth import pushed
from idp.oauth.facts import TokenFacts, token_facts
from idp.storage.database import Row
from tests.attacks.wire import Wire, cookie
from tests.harness.provider import Flow, Idp, Registered
from tests.oauth.asking import remember_consent

REFUSED = "invalid_grant"
PUBLIC: dict[str, Any] = {
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
}


@dataclass
class Issued:
    """A code that an app was sent, and what the app needs to redeem it."""

    flow: Flow
    code: str

    def form(self, **changes: str | None) -> dict[str, str]:
        values = {
            "grant_type": "authorization_code",
            "code": self.code,
            "redirect_uri": self.flow.client.redirect_uri,
            "code_verifier": self.flow.verifier,
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}


def issue(idp: Idp, client: Registered, **changes: str | None) -> Issued:
    """A code for a person who has just signed in."""
    flow = Flow(client)
    browser = idp.signed_in_browser(idp.session(idp.person(f"person-{flow.state}")))
    answer = idp.authorize(browser, flow.parameters(**changes))
    assert "code" in answer, answer
    return Issued(flow, answer["code"])


def redeem(
    idp: Idp, issued: Issued, client: Registered | None = None, **changes: str | None
) -> tuple[int, dict[str, Any]]:
    return idp.token(client or issued.flow.client, **issued.form(**changes))


@pytest.mark.attack("AC-01")
def test_a_code_that_comes_again_ends_everything_it_gave(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    issued = issue(idp, app, scope="openid offline_access")
    tokens = redeem(idp, issued)[1]
    refreshed = idp.refresh(app, tokens["refresh_token"])[1]
    assert idp.is_active(app, refreshed["access_token"])
    assert redeem(idp, issued) == (
        400,
        {"error": REFUSED, "error_description": "Invalid 'code' in request."},
    )
    for token in (tokens["access_token"], refreshed["access_token"], refreshed["refresh_token"]):
        assert not idp.is_active(app, token)
    assert idp.userinfo(refreshed["access_token"])[0] == 401
    assert idp.refresh(app, refreshed["refresh_token"])[0] == 400
    [event] = idp.events("token.reuse_detected")
    assert event["reason"] == "code_reused"


@pytest.mark.attack("AC-01")
def test_a_spent_code_is_recognised_also_after_it_would_have_expired(idp: Idp) -> None:
    app = idp.register()
    issued = issue(idp, app)
    tokens = redeem(idp, issued)[1]
    idp.clock.advance(61 * SECOND)
    assert redeem(idp, issued)[1]["error"] == REFUSED
    assert not idp.is_active(app, tokens["access_token"])


@pytest.mark.attack("AC-01")
def test_a_code_lives_sixty_seconds(idp: Idp) -> None:
    app = idp.register()
    young, old = issue(idp, app), issue(idp, app)
    idp.clock.advance(60 * SECOND - 1)
    assert redeem(idp, young)[0] == 200
    idp.clock.advance(1)
    assert redeem(idp, old)[1]["error"] == REFUSED


@pytest.mark.attack("AC-02")
def test_a_code_in_the_hands_of_another_app_is_worth_nothing_to_anybody(either_idp: Idp) -> None:
    idp = either_idp
    owner, thief = idp.register(), idp.register()
    issued = issue(idp, owner)
    assert redeem(idp, issued, thief)[1]["error"] == REFUSED
    assert redeem(idp, issued)[1]["error"] == REFUSED
    [event] = idp.events("token.reuse_detected")
    assert (event["reason"], event["actor_id"], event["client_id"]) == (
        "code_stolen",
        thief.id,
        owner.id,
    )


@pytest.mark.attack("AC-02")
def test_a_spent_code_in_the_hands_of_another_app_ends_what_it_gave(idp: Idp) -> None:
    owner, thief = idp.register(), idp.register(**PUBLIC)
    issued = issue(idp, owner)
    tokens = redeem(idp, issued)[1]
    assert redeem(idp, issued, thief)[1]["error"] == REFUSED
    assert not idp.is_active(owner, tokens["access_token"])
    assert not idp.is_active(owner, tokens["refresh_token"])


@pytest.mark.attack("AC-04")
def test_a_request_without_a_challenge_gets_no_code(idp: Idp, wire: Wire) -> None:
    signed_in = cookie(idp.session(idp.person()))
    for app in (idp.register(**PUBLIC), idp.register()):
        good = Flow(app).parameters()
        for changed in (
            {"code_challenge": None, "code_challenge_method": None},
            {"code_challenge": None},
            {"code_challenge": ""},
            {"code_challenge_method": None},
            {"code_challenge_method": "plain"},
            {"code_challenge_method": "s256"},
            {"code_challenge_method": "S512"},
            {"code_challenge": good["code_challenge"][:-1]},
            {"code_challenge": good["code_challenge"] + "A"},
            {"code_challenge": good["code_challenge"] + "="},
            {"code_challenge": good["code_challenge"][:-1] + "+"},
            {"code_challenge": good["code_challenge"] + "\n"},
        ):
            answer = wire.get("/authorize", Flow(app).parameters(**changed), cookie=signed_in)
            assert answer.error == "invalid_request", changed
    assert idp.count("authorizations") == 0


@pytest.mark.attack("AC-04")
def test_pkce_may_be_left_out_only_by_an_app_with_a_secret_that_was_registered_so(
    idp: Idp, wire: Wire
) -> None:
    """With a nonce and without, as oidcc-ensure-request-without-nonce-succeeds-for-code-flow asks."""
    app, public = idp.register(require_pkce=0), idp.register(**PUBLIC)
    # Cannot be registered; whatever the row says, anybody may have sent this request.
    idp.execute("UPDATE clients SET require_pkce = 0 WHERE id = :id", id=public.id)
    signed_in = cookie(idp.session(idp.person()))
    without = {"code_challenge": None, "code_challenge_method": None}
    for nonce in ("n", None):
        asked = Flow(app).parameters(**without, nonce=nonce)
        assert "code" in wire.get("/authorize", asked, cookie=signed_in).redirected
        asked = Flow(public).parameters(**without, nonce=nonce)
        assert wire.get("/authorize", asked, cookie=signed_in).error == "invalid_request"


@pytest.mark.attack("AC-05")
def test_a_verifier_without_a_challenge_is_refused(idp: Idp) -> None:
    app = idp.register(require_pkce=0)
    without = {"code_challenge": None, "code_challenge_method": None}
    issued = issue(idp, app, **without)
    assert redeem(idp, issued)[1]["error"] == REFUSED
    assert redeem(idp, issue(idp, app, **without), code_verifier=None)[0] == 200


@pytest.mark.attack("AC-05")
def test_a_code_with_a_challenge_needs_its_verifier(idp: Idp) -> None:
    for app in (idp.register(), idp.register(require_pkce=0)):
        issued = issue(idp, app)
        verifier = issued.flow.verifier
        for wrong in (
            None,
            "",
            issued.flow.parameters()["code_challenge"],
            verifier[:-1],
            verifier + "A",
            verifier.swapcase(),
            verifier + " ",
            "A" * 42,
            "A" * 129,
            "ü" * 43,
        ):
            assert redeem(idp, issued, code_verifier=wrong)[1]["error"] == REFUSED, wrong
        assert redeem(idp, issued)[0] == 200


@pytest.mark.attack("AC-07")
def test_a_challenge_that_was_not_read_from_its_row_does_not_count_as_none(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issue(idp, idp.register())

    def forgetful(row: Row | None) -> TokenFacts:
        facts = token_facts(row)
        assert facts.authorization is not None
        return replace(facts, authorization=replace(facts.authorization, code_challenge=None))

    monkeypatch.setattr("idp.web.protocol.token_facts", forgetful)
    assert redeem(idp, issued)[1]["error"] == REFUSED
    assert redeem(idp, issued, code_verifier=None)[1]["error"] == REFUSED


@pytest.mark.attack("AC-08")
def test_a_request_under_way_is_useless_in_another_browser(idp: Idp) -> None:
    victim, thief = idp.person("victim"), idp.person("thief")
    flow = Flow(idp.register(first_party=0))
    started = idp.session(victim)
    own = idp.signed_in_browser(started)
    page = own.get("/authorize", params=flow.parameters()).headers["location"]
    reference = page.partition("request=")[2]
    remember_consent(idp, started, flow.client)
    with idp.work.begin() as unit:
        pushed.note_consent(unit, reference, started.session.id)
    address = pushed.return_url(reference, flow.client.id)
    for other in (idp.browser(), idp.signed_in_browser(idp.session(thief))):
        other.get("/login")
        response = other.get(address)
        assert (response.status_code, response.headers.get("location")) == (400, None)
        assert other.get(page).status_code == 400
    assert idp.count("authorizations") == 0
    assert "code=" in own.get(address).headers["location"]


@pytest.mark.attack("AC-08")
def test_a_request_under_way_is_finished_once_in_time_and_for_its_own_app(idp: Idp) -> None:
    app, other = idp.register(first_party=0), idp.register(first_party=0)
    started = idp.session(idp.person())
    browser = idp.signed_in_browser(started)

    def begin() -> str:
        response = browser.get("/authorize", params=Flow(app).parameters(prompt="consent"))
        return str(response.headers["location"]).partition("request=")[2]

    remember_consent(idp, started, app)
    once, foreign, late = begin(), begin(), begin()
    with idp.work.begin() as unit:
        for reference in (once, foreign, late):
            pushed.note_consent(unit, reference, started.session.id)
    assert "code=" in browser.get(pushed.return_url(once, app.id)).headers["location"]
    assert browser.get(pushed.return_url(once, app.id)).status_code == 400
    assert browser.get(pushed.return_url(foreign, other.id)).status_code == 400
    idp.clock.advance(idp.settings.tokens.request_lifetime * SECOND)
    assert browser.get(pushed.return_url(late, app.id)).status_code == 400
    assert idp.count("authorizations") == 1


@pytest.mark.attack("AC-08")
def test_consent_of_another_session_in_the_same_browser_does_not_count(idp: Idp) -> None:
    app = idp.register(first_party=0)
    first, second = idp.session(idp.person("first")), idp.session(idp.person("second"))
    browser = idp.signed_in_browser(first)
    page = browser.get("/authorize", params=Flow(app).parameters()).headers["location"]
    reference = page.partition("request=")[2]
    remember_consent(idp, first, app)
    with idp.work.begin() as unit:
        pushed.note_consent(unit, reference, first.session.id)
    browser.cookies.set("idp_session", second.secret, domain="localhost.local")
    response = browser.get(pushed.return_url(reference, app.id))
    assert response.headers["location"] == page
    assert idp.count("authorizations") == 0


@pytest.mark.attack("AC-11")
def test_a_code_is_redeemed_with_the_redirect_uri_of_its_request(idp: Idp) -> None:
    app = idp.register(redirect_uris=["https://a.example/one", "https://a.example/two"])
    issued = issue(idp, app)
    for wrong in (
        None,
        "",
        "https://a.example/two",
        "https://a.example/one/",
        "HTTPS://a.example/one",
        "https://a.example/one ",
    ):
        assert redeem(idp, issued, redirect_uri=wrong)[1]["error"] == REFUSED, wrong
    assert redeem(idp, issued)[0] == 200


def test_nothing_that_is_not_a_code_is_taken_for_one(idp: Idp) -> None:
    app = idp.register()
    issued = issue(idp, app)
    tokens = idp.grant(app, idp.session(idp.person()))
    for wrong in (
        issued.code[:-1],
        issued.code + "A",
        issued.code.removeprefix("ac_"),
        issued.code.upper(),
        "%",
        "' OR 1=1 --",
        tokens["refresh_token"],
        tokens["access_token"],
        tokens["id_token"],
    ):
        assert redeem(idp, issued, code=wrong)[1]["error"] == REFUSED, wrong
    assert redeem(idp, issued, code=None)[1]["error"] == "invalid_request"
    assert redeem(idp, issued)[0] == 200

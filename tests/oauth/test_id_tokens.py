"""ID tokens (OpenID Connect Core sections 2, 3.1.3.6 and 12.2)."""

import base64
import hashlib

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from idp.clock import HOUR, MINUTE, to_seconds
from tests.flows.apps import claims_of
from tests.harness.provider import ISSUER, Flow, Idp


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_an_id_token_is_signed_as_registered_and_says_who_when_and_how(idp: Idp, alg: str) -> None:
    alice = idp.person()
    started = idp.session(alice)
    idp.clock.advance(5 * MINUTE)
    app = idp.register(id_token_signed_response_alg=alg)
    tokens = idp.grant(app, started, nonce="n-0S6_WzA2Mj ü")
    key_set = KeySet.import_key_set(idp.browser().get("/jwks").json())
    token = jwt.decode(tokens["id_token"], key_set, algorithms=[alg])
    assert token.header["alg"] == alg
    now = to_seconds(idp.clock.now())
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert token.claims == {
        "iss": ISSUER,
        "sub": alice.id,
        "aud": app.id,
        "exp": now + 300,
        "iat": now,
        "auth_time": now - 300,
        "nonce": "n-0S6_WzA2Mj ü",
        "acr": "aal1",
        "amr": ["pwd"],
        "sid": started.session.id,
        "session_expiry": to_seconds(started.session.expires_at),
        "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
    }


def test_a_refresh_says_the_same_about_the_sign_in_at_a_later_time(idp: Idp) -> None:
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()), nonce="once")
    idp.clock.advance(MINUTE)
    refreshed = idp.refresh(app, tokens["refresh_token"])[1]
    before, after = claims_of(tokens["id_token"]), claims_of(refreshed["id_token"])
    assert before.pop("nonce") == "once"
    assert set(after) == set(before)
    assert after["iat"] == before["iat"] + 60
    for name in ("iss", "sub", "aud", "auth_time", "acr", "amr", "sid", "session_expiry"):
        assert after[name] == before[name]


def test_a_grant_that_outlives_its_session_says_no_end_of_it(idp: Idp) -> None:
    """`session_expiry` is a moment to end at; where the session is over there is none left."""
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()), scope="openid offline_access")
    assert "session_expiry" in claims_of(tokens["id_token"])
    idp.clock.advance(25 * HOUR)
    status, refreshed = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    assert "session_expiry" not in claims_of(refreshed["id_token"])


def test_without_a_nonce_there_is_none(idp: Idp) -> None:
    tokens = idp.grant(idp.register(), idp.session(idp.person()), nonce=None)
    assert "nonce" not in claims_of(tokens["id_token"])


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        ('{"essential":true,"values":["aal9"]}', "unmet_authentication_requirements"),
        ('{"essential":true,"value":"aal9"}', "unmet_authentication_requirements"),
        ('{"essential":true,"values":["aal3"]}', "interaction_required"),
        ('{"essential":true,"value":"aal3"}', "interaction_required"),
        ('{"essential":true,"values":["aal3","aal1"]}', None),
        ('{"values":["aal3"]}', None),
        ("null", None),
    ],
)
def test_an_essential_acr_that_cannot_be_met_is_no_success(
    idp: Idp, asked: str, outcome: str | None
) -> None:
    """OpenID Connect Core section 5.5.1.1: must be treated as a failed authentication."""
    browser = idp.signed_in_browser(idp.session(idp.person()))
    flow = Flow(idp.register())
    claims = f'{{"id_token":{{"acr":{asked}}}}}'
    answer = idp.authorize(browser, flow.parameters(prompt="none", claims=claims))
    assert answer.get("error") == outcome

"""What the provider says of itself is there, and what is there it says (RFC 8414)."""

from typing import Any

import pytest

from idp.oauth.claims import SUPPORTED
from idp.oauth.discovery import SCOPES
from idp.oauth.server import GRANT_TYPES
from tests.harness.provider import ISSUER, Flow, Idp
from tests.oauth.asking import Request

WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


@pytest.fixture
def document(idp: Idp) -> dict[str, Any]:
    found: dict[str, Any] = idp.browser().get(WELL_KNOWN[0]).json()
    return found


def test_both_documents_are_the_same_and_may_be_kept_a_while(idp: Idp) -> None:
    answers = [idp.browser().get(path) for path in WELL_KNOWN]
    assert answers[0].content == answers[1].content
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "public, max-age=300"
        again = idp.browser().get(WELL_KNOWN[0], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert answers[0].json()["issuer"] == ISSUER


def test_every_endpoint_that_is_named_is_there(idp: Idp, document: dict[str, Any]) -> None:
    endpoints = {
        name: value
        for name, value in document.items()
        if name.endswith("_endpoint") or name == "jwks_uri"
    }
    assert len(endpoints) == 8
    for name, address in endpoints.items():
        assert address.startswith(f"{ISSUER}/"), name
        path = address.removeprefix(ISSUER)
        browser = idp.browser()
        found = {browser.get(path).status_code, browser.post(path).status_code}
        assert found.isdisjoint({404, 500}), (name, found)


def test_every_supported_value_is_accepted(idp: Idp, document: dict[str, Any]) -> None:
    started = idp.session(idp.person())
    assert document["response_types_supported"] == ["code"]
    assert document["response_modes_supported"] == ["query"]
    assert document["grant_types_supported"] == list(GRANT_TYPES)
    assert document["scopes_supported"] == list(SCOPES)
    assert set(SUPPORTED) < set(document["claims_supported"])
    app = idp.register(scope=" ".join(SCOPES))
    for changes in (
        *({"scope": f"openid {scope}"} for scope in document["scopes_supported"]),
        *({"prompt": prompt} for prompt in document["prompt_values_supported"]),
        *({"display": display} for display in document["display_values_supported"]),
        *({"acr_values": acr} for acr in document["acr_values_supported"]),
        *({"ui_locales": locale} for locale in document["ui_locales_supported"]),
        {"response_mode": "query"},
        {"claims": '{"userinfo":{"name":null}}'},
    ):
        browser = idp.signed_in_browser(started)
        assert Request(idp, browser, app, **changes).step in (
            "code",
            "/login",
            "/step-up",
            "/consent",
        ), changes
    for alg in document["id_token_signing_alg_values_supported"]:
        assert idp.grant(idp.register(id_token_signed_response_alg=alg), started)["id_token"]
    for method in document["token_endpoint_auth_methods_supported"]:
        assert method in ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
    assert "none" not in document["introspection_endpoint_auth_methods_supported"]


def test_what_is_not_supported_is_said_to_be_so_and_refused(
    idp: Idp, document: dict[str, Any]
) -> None:
    assert document["request_parameter_supported"] is False
    assert document["request_uri_parameter_supported"] is False
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["backchannel_logout_supported"] is True
    assert document["backchannel_logout_session_supported"] is True
    browser = idp.signed_in_browser(idp.session(idp.person()))
    app = idp.register()
    for changes, error in (
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"request_uri": "https://app.example/request"}, "request_uri_not_supported"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ):
        answer = idp.authorize(browser, Flow(app).parameters(**changes))
        assert answer["error"] == error

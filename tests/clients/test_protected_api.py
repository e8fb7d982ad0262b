"""Which tokens the example API takes, how it says no (RFC 6750), and asks for more (RFC 9470)."""

import time
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from clients.protected_api.app import ProtectedApi, Refused, require_proof, routes

ISSUER = "https://id.example.com"
GOOD = {
    "active": True,
    "iss": ISSUER,
    "aud": ["https://api.example.com"],
    "scope": "openid profile",
    "sub": "usr_1",
    "username": "alice",
    "sid": "ses_1",
    "client_id": "app",
}
BEARER = {"Authorization": "Bearer token"}


class Provider:
    """Answers metadata and introspection as it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: dict[str, Any] = dict(GOOD)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/.well-known/"):
            return httpx2.Response(200, json={"introspection_endpoint": f"{ISSUER}/introspect"})
        self.asked.append(request)
        return httpx2.Response(self.status, json=self.answer)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def api(provider: Provider) -> TestClient:
    made = ProtectedApi(
        {
            "ISSUER": ISSUER,
            "API_URL": "https://api.example.com",
            "CLIENT_ID": "api:1",
            "CLIENT_SECRET": "s ecret",
        }
    )
    made.http = httpx2.AsyncClient(transport=httpx2.MockTransport(provider))
    return TestClient(Starlette(routes=routes(made)))


def test_a_good_token_is_told_whom_it_stands_for(api: TestClient, provider: Provider) -> None:
    answer = api.get("/whoami", headers=BEARER)
    assert answer.json() == {
        "sub": "usr_1",
        "username": "alice",
        "scope": "openid profile",
        "sid": "ses_1",
    }
    assert b"token=token" in provider.asked[0].content
    # Form-encoded before it is put together (RFC 6749 section 2.3.1): "api%3A1:s+ecret".
    assert provider.asked[0].headers["authorization"] == "Basic YXBpJTNBMTpzK2VjcmV0"


def test_without_a_token_nothing_is_said_of_an_error(api: TestClient) -> None:
    answer = api.get("/whoami")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize(
    "changed",
    [
        {"active": False},
        {"active": "true"},
        {"aud": "https://other.example.com"},
        {"aud": None},
        {"iss": "https://evil.example.com"},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_here_is_invalid(
    api: TestClient, provider: Provider, changed: dict[str, Any]
) -> None:
    provider.answer |= changed
    answer = api.get("/whoami", headers=BEARER)
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_token"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_token_without_the_scope_is_told_which(api: TestClient, provider: Provider) -> None:
    provider.answer["scope"] = "openid"
    answer = api.get("/whoami", headers=BEARER)
    assert answer.status_code == 403
    assert answer.json() == {"error": "insufficient_scope", "scope": "profile"}
    assert 'scope="profile"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("sent", ["Basic abc", "Bearer", "Bearer ", "Bearer " + "x" * 5_000])
def test_what_is_no_bearer_token_is_not_asked_about(
    api: TestClient, provider: Provider, sent: str
) -> None:
    answer = api.get("/whoami", headers={"Authorization": sent})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert provider.asked == []


def test_two_tokens_are_one_too_many(api: TestClient) -> None:
    pair = [("Authorization", "Bearer one"), ("Authorization", "Bearer two")]
    assert api.get("/whoami", headers=pair).status_code == 400


def test_a_provider_that_fails_is_not_taken_for_an_answer(
    api: TestClient, provider: Provider
) -> None:
    provider.status = 500
    answer = api.get("/whoami", headers=BEARER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


# --- payments: a route that needs more -----------------------------------------------------------

PAYMENT = {"amount": "12.50", "note": "Rent"}
CHALLENGE = (
    'Bearer realm="api", error="insufficient_user_authentication", '
    'error_description="This needs a surer or a more recent sign-in.", '
    'acr_values="aal2", max_age="300"'
)


@pytest.fixture
def paying(provider: Provider) -> Provider:
    """The provider when the token's person just proved two things."""
    provider.answer |= {
        "scope": "openid profile payments",
        "acr": "aal2",
        "auth_time": int(time.time()),
    }
    return provider


def test_a_payment_of_somebody_who_proved_enough_is_made(api: TestClient, paying: Provider) -> None:
    for acr in ("aal2", "aal3"):
        paying.answer["acr"] = acr
        answer = api.post("/payments", headers=BEARER, json=PAYMENT)
        assert answer.status_code == 201
        assert answer.json()["paid"] == PAYMENT
        assert answer.json()["by"]["acr"] == acr
    assert api.get("/payments", headers=BEARER).json() == {"payments": [PAYMENT, PAYMENT]}
    paying.answer |= {"sub": "usr_2", "acr": "aal1"}
    assert api.get("/payments", headers=BEARER).json() == {"payments": []}


@pytest.mark.parametrize(
    "changed",
    [
        {"acr": "aal1"},
        {"acr": None},
        {"acr": "aal4"},
        {"acr": ["aal2"]},
        {"auth_time": None},
        {"auth_time": "now"},
        {"auth_time": 0},
        {"acr": "aal3", "auth_time": 1},
        {"acr": "aal1", "auth_time": 2**40},
    ],
    ids=str,
)
def test_who_proved_too_little_or_too_long_ago_is_told_what_is_needed(
    api: TestClient, paying: Provider, changed: dict[str, Any]
) -> None:
    """MF-02: a level without its age is nothing, and an age without its level neither."""
    paying.answer |= changed
    answer = api.post("/payments", headers=BEARER, json=PAYMENT)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, CHALLENGE)
    assert answer.json()["error"] == "insufficient_user_authentication"
    assert api.get("/payments", headers=BEARER).json() == {"payments": []}


def test_a_proof_counts_to_the_last_second(paying: Provider) -> None:
    token = {"acr": "aal2", "auth_time": 1_000}
    require_proof(token, level="aal2", max_age=300, now=1_300)
    with pytest.raises(Refused):
        require_proof(token, level="aal2", max_age=300, now=1_300.5)


def test_the_scope_is_asked_for_before_the_proof(api: TestClient, paying: Provider) -> None:
    paying.answer |= {"scope": "openid profile", "acr": "aal1"}
    for method in ("GET", "POST"):
        answer = api.request(method, "/payments", headers=BEARER)
        assert (answer.status_code, answer.json()["scope"]) == (403, "payments")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 4_000,
        b'{"amount": "1"}',
        b'{"amount": 1, "note": ""}',
        b'{"amount": "0", "note": ""}',
        b'{"amount": "0.00", "note": ""}',
        b'{"amount": "-1", "note": ""}',
        b'{"amount": "1e9", "note": ""}',
        b'{"amount": "12.5", "note": ""}',
        b'{"amount": "\xd9\xa1", "note": ""}',
        b'{"amount": "1\\n", "note": ""}',
        b'{"amount": "1", "note": "\\ud800"}',
        b'{"amount": "1", "note": "", "to": "me"}',
        b'{"amount": "1", "note": "' + b"x" * 141 + b'"}',
        b" " * 5_000,
    ],
)
def test_a_payment_that_is_not_exactly_right_is_refused(
    api: TestClient, paying: Provider, body: bytes
) -> None:
    answer = api.post("/payments", headers=BEARER, content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert api.get("/payments", headers=BEARER).json() == {"payments": []}

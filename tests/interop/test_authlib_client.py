"""authlib's own client against our provider: it is the library most Python apps sign in with."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7523.assertion import private_key_jwt_sign
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.interop import provider, registrations
from tests.interop.conftest import Stage
from tests.interop.person import Person

VERIFIER = "a-code-verifier-that-is-long-enough-0123456789"
KEY = ECKey.import_key(registrations.PRIVATE_JWK)


class ShortLivedAssertion(PrivateKeyJWT):  # type: ignore[misc]
    """What an app has to change: authlib's assertions live an hour, ours may live five minutes,
    and name the issuer (rfc7523bis) instead of the token endpoint."""

    def __init__(self, issuer: str) -> None:
        super().__init__(token_endpoint=issuer, alg="ES256")

    def sign(self, auth: Any, token_endpoint: str) -> str:
        # A new dict every time: authlib writes the jti into the one it is given.
        claims = {"exp": int(time.time()) + 60}
        return private_key_jwt_sign(  # type: ignore[no-any-return]
            auth.client_secret, auth.client_id, token_endpoint, alg=self.alg, claims=claims
        )


@pytest.fixture(scope="module")
def metadata(ours: Stage) -> dict[str, Any]:
    answer = httpx2.get(f"{ours.issuer}/.well-known/openid-configuration")
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture(scope="module")
def person(ours: Stage) -> Iterator[Person]:
    person = Person(**ours.user)
    yield person
    person.close()


def _client(stage: Stage, name: str, **more: Any) -> OAuth2Client:
    registered = stage.clients[name]
    return OAuth2Client(
        **{
            "client_id": registered["client_id"],
            "client_secret": registered["client_secret"],
            "token_endpoint_auth_method": registered["method"],
            "redirect_uri": registrations.REDIRECT_URI,
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            **more,
        }
    )


def _keyed(stage: Stage, method: PrivateKeyJWT) -> OAuth2Client:
    client = _client(stage, "keyed", client_secret=KEY)
    client.register_client_auth_method(method)
    return client


def _sign_in(client: OAuth2Client, person: Person, metadata: dict[str, Any]) -> dict[str, Any]:
    address, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=VERIFIER, nonce="nonce-of-the-app"
    )
    answer = person.authorize(address, registrations.REDIRECT_URI)
    return client.fetch_token(
        metadata["token_endpoint"],
        authorization_response=answer,
        state=state,
        code_verifier=VERIFIER,
    )


def _claims(token: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The ID token's claims, checked as OpenID Connect Core section 3.1.3.7 asks."""
    keys = KeySet.import_key_set(httpx2.get(metadata["jwks_uri"]).json())
    claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": metadata["issuer"]},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
    ).validate(claims)
    return claims


@pytest.mark.parametrize("name", ["web", "post", "public"])
def test_authlib_signs_in_with_a_code_and_pkce(
    name: str, ours: Stage, metadata: dict[str, Any], person: Person
) -> None:
    with _client(ours, name) as client:
        token = _sign_in(client, person, metadata)
        claims = _claims(token, metadata)
        assert claims["aud"] == ours.clients[name]["client_id"]
        assert claims["nonce"] == "nonce-of-the-app"
        info = client.get(metadata["userinfo_endpoint"])
        assert info.status_code == 200
        assert info.json()["sub"] == claims["sub"]
        assert info.json()["email"] == "alice@example.com"


def test_authlib_refreshes_and_the_token_rotates(
    ours: Stage, metadata: dict[str, Any], person: Person
) -> None:
    with _client(ours, "web") as client:
        first = _sign_in(client, person, metadata)
        second = client.refresh_token(metadata["token_endpoint"], first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        third = client.refresh_token(metadata["token_endpoint"], second["refresh_token"])
        assert _claims(third, metadata)["sub"] == _claims(first, metadata)["sub"]
        with pytest.raises(OAuthError) as refused:
            client.refresh_token(metadata["token_endpoint"], first["refresh_token"])
        assert refused.value.error == "invalid_grant"


def test_authlib_refreshes_by_itself_when_a_token_has_expired(
    ours: Stage, metadata: dict[str, Any], person: Person
) -> None:
    with _client(ours, "web", token_endpoint=metadata["token_endpoint"]) as client:
        first = _sign_in(client, person, metadata)
        client.token = {**client.token, "expires_at": int(time.time()) - 1}
        assert client.get(metadata["userinfo_endpoint"]).status_code == 200
        assert client.token["access_token"] != first["access_token"]


def test_authlib_introspects_and_revokes(
    ours: Stage, metadata: dict[str, Any], person: Person
) -> None:
    with _client(ours, "web") as client:
        token = _sign_in(client, person, metadata)
        endpoint = metadata["introspection_endpoint"]
        before = client.introspect_token(endpoint, token["access_token"])
        assert before.json()["active"] is True
        revoked = client.revoke_token(metadata["revocation_endpoint"], token["refresh_token"])
        assert revoked.status_code == 200
        after = client.introspect_token(endpoint, token["access_token"])
        assert after.json() == {"active": False}


def test_authlib_authenticates_with_a_private_key(
    ours: Stage, metadata: dict[str, Any], person: Person
) -> None:
    with _keyed(ours, ShortLivedAssertion(ours.issuer)) as client:
        token = _sign_in(client, person, metadata)
        assert _claims(token, metadata)["sub"]
        assert client.refresh_token(metadata["token_endpoint"], token["refresh_token"])
        own = client.fetch_token(
            metadata["token_endpoint"], grant_type="client_credentials", scope=provider.API_SCOPE
        )
        assert own["access_token"]


@pytest.mark.attack("CL-10")
def test_authlibs_assertion_that_lives_an_hour_is_refused(
    ours: Stage, metadata: dict[str, Any]
) -> None:
    stock = PrivateKeyJWT(token_endpoint=ours.issuer, alg="ES256")
    with _keyed(ours, stock) as client, pytest.raises(OAuthError) as refused:
        client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert refused.value.error == "invalid_client"


def test_authlib_acts_for_itself(ours: Stage, metadata: dict[str, Any]) -> None:
    with _client(ours, "service", scope=provider.API_SCOPE) as client:
        token = client.fetch_token(
            metadata["token_endpoint"], grant_type="client_credentials", scope=provider.API_SCOPE
        )
        assert token["access_token"]
        assert "refresh_token" not in token

"""Access tokens in both forms (RFC 6750, RFC 9068)."""

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from idp.clock import to_seconds
from idp.users import queries
from tests.harness.provider import ISSUER, Idp

AS_JWT = {"access_token_format": "jwt"}


def keys_of(idp: Idp) -> KeySet:
    return KeySet.import_key_set(idp.browser().get("/jwks").json())


def test_a_jwt_access_token_says_what_a_resource_server_needs(idp: Idp) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "editor", ["docs:write"])
    alice = idp.person(roles=["editor"])
    started = idp.session(alice)
    app = idp.register(**AS_JWT, scope="openid roles docs:write", audience=["https://api.example"])
    tokens = idp.grant(app, started, scope="openid roles docs:write")
    token = jwt.decode(tokens["access_token"], keys_of(idp), algorithms=["ES256"])
    now = to_seconds(idp.clock.now())
    jti = token.claims.pop("jti")
    assert token.header["typ"] == "at+jwt"
    assert token.claims == {
        "iss": ISSUER,
        "sub": alice.id,
        "aud": ["https://api.example", ISSUER],
        "client_id": app.id,
        "iat": now,
        "exp": now + 300,
        "scope": "openid roles docs:write",
        "sid": started.session.id,
        "auth_time": now,
        "acr": "aal1",
        "amr": ["pwd"],
        "roles": ["editor"],
    }
    again = idp.refresh(app, tokens["refresh_token"])[1]["access_token"]
    assert jwt.decode(again, keys_of(idp), algorithms=["ES256"]).claims["jti"] != jti


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_jwt_is_signed_with_the_algorithm_of_its_app(idp: Idp, alg: str) -> None:
    """RFC 9068 section 2.1: RS256 must be among them; Spring's decoder takes nothing else unasked."""
    app = idp.register(**AS_JWT, id_token_signed_response_alg=alg)
    tokens = idp.grant(app, idp.session(idp.person()))
    own = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    for made in (tokens["access_token"], own):
        token = jwt.decode(made, keys_of(idp), algorithms=[alg])
        assert (token.header["alg"], token.header["typ"]) == (alg, "at+jwt")
        assert idp.is_active(app, made)
    assert idp.userinfo(tokens["access_token"])[0] == 200


def test_roles_are_in_a_token_only_with_their_scope(idp: Idp) -> None:
    app = idp.register(**AS_JWT)
    token = idp.grant(app, idp.session(idp.person()))["access_token"]
    assert "roles" not in jwt.decode(token, keys_of(idp), algorithms=["ES256"]).claims


def test_a_jwt_of_an_app_itself_names_no_person(idp: Idp) -> None:
    app = idp.register(**AS_JWT, scope="read")
    answer = idp.token(app, grant_type="client_credentials")[1]
    claims = jwt.decode(answer["access_token"], keys_of(idp), algorithms=["ES256"]).claims
    assert claims["sub"] == claims["client_id"] == app.id
    assert claims["aud"] == ISSUER
    assert not {"sid", "acr", "amr", "auth_time", "roles"} & set(claims)


def test_an_opaque_token_tells_nothing_and_is_different_each_time(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = {idp.grant(app, started)["access_token"] for _ in range(3)}
    assert len(tokens) == 3
    for token in tokens:
        assert token.startswith("at_")
        assert "." not in token
        assert app.id not in token


@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_a_client_may_have_a_lifetime_of_its_own(idp: Idp, form: str) -> None:
    app = idp.register(access_token_format=form, access_token_lifetime=90)
    tokens = idp.grant(app, idp.session(idp.person()))
    assert tokens["expires_in"] == 90
    idp.clock.advance(90_000_000 - 1)
    assert idp.is_active(app, tokens["access_token"])
    idp.clock.advance(1)
    assert not idp.is_active(app, tokens["access_token"])


@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_raising_an_apps_generation_refuses_its_own_tokens_and_no_persons(
    either_idp: Idp, form: str
) -> None:
    idp = either_idp
    app = idp.register(access_token_format=form, scope="openid read")
    old = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    persons = idp.grant(app, idp.session(idp.person()))["access_token"]
    idp.execute("UPDATE clients SET token_generation = token_generation + 1")
    assert not idp.is_active(app, old)
    assert idp.is_active(app, persons)
    new = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    assert idp.is_active(app, new)


def test_the_token_answer_is_complete_and_not_kept_by_caches(idp: Idp) -> None:
    app = idp.register()
    response = idp.browser().post(
        "/token", data={"grant_type": "client_credentials"}, auth=(app.id, str(app.secret))
    )
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"access_token", "token_type", "expires_in"}
    tokens = idp.grant(app, idp.session(idp.person()))
    assert set(tokens) == {
        "access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token",
            "refresh_token_timeout", "authorization_expires_in",
    }  # fmt: skip


def test_an_app_without_the_refresh_grant_gets_no_refresh_token(idp: Idp) -> None:
    app = idp.register(grant_types=["authorization_code"])
    tokens = idp.grant(app, idp.session(idp.person()), scope="openid offline_access profile")
    assert "refresh_token" not in tokens
    assert tokens["scope"] == "openid profile"


def test_without_openid_there_is_no_id_token_and_no_userinfo(idp: Idp) -> None:
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()), scope="email")
    assert "id_token" not in tokens
    status, body = idp.userinfo(tokens["access_token"])
    assert (status, body["error"]) == (403, "insufficient_scope")

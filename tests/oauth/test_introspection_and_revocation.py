"""Asking about tokens and giving them back (RFC 7662, RFC 7009)."""

import pytest

from idp.clock import SECOND, to_seconds
from tests.harness.provider import ISSUER, Idp
from tests.oauth.asking import remember_consent

FORMS = pytest.mark.parametrize("form", ["opaque", "jwt"])


@FORMS
def test_introspection_tells_all_about_a_good_token(idp: Idp, form: str) -> None:
    alice = idp.person()
    started = idp.session(alice)
    app = idp.register(access_token_format=form)
    tokens = idp.grant(app, started, scope="openid email")
    now = to_seconds(idp.clock.now())
    shared = {
        "active": True,
        "iss": ISSUER,
        "client_id": app.id,
        "scope": "openid email",
        "sub": alice.id,
        "username": "alice",
        "sid": started.session.id,
        "auth_time": now,
        "acr": "aal1",
        "amr": ["pwd"],
    }
    body = idp.post("/introspect", app, token=tokens["access_token"])[1]
    assert len(body.pop("jti")) > 20
    assert body == shared | {
        "token_type": "Bearer",
        "aud": [ISSUER],
        "iat": now,
        "exp": now + 300,
    }
    body = idp.post("/introspect", app, token=tokens["refresh_token"])[1]
    assert body == shared | {"exp": now + idp.settings.tokens.refresh_lifetime}


@FORMS
def test_a_token_of_no_scope_is_shown_without_one(idp: Idp, form: str) -> None:
    robot = idp.register(access_token_format=form, scope="openid")
    _, tokens = idp.token(robot, grant_type="client_credentials")
    assert "scope" not in tokens
    body = idp.post("/introspect", robot, token=tokens["access_token"])[1]
    assert (body["active"], body["sub"]) == (True, robot.id)
    assert "scope" not in body


@pytest.mark.attack("JW-11")
@FORMS
def test_a_token_is_shown_to_its_app_its_audience_and_to_resource_servers(
    idp: Idp, form: str
) -> None:
    api, observer, stranger = (
        idp.register(),
        idp.register(introspects_all=1),
        idp.register(),
    )
    app = idp.register(access_token_format=form, audience=[api.id])
    tokens = idp.grant(app, idp.session(idp.person()))
    for client, sees in ((app, True), (api, True), (observer, True), (stranger, False)):
        assert idp.is_active(client, tokens["access_token"]) is sees
    # The audience is who the access token is for; the refresh token is the app's alone.
    for client, sees in ((app, True), (api, False), (observer, False), (stranger, False)):
        assert idp.is_active(client, tokens["refresh_token"]) is sees


def test_introspection_changes_nothing(idp: Idp) -> None:
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    idp.clock.advance(60 * SECOND)
    before = idp.events()
    for _ in range(3):
        assert idp.is_active(app, tokens["refresh_token"])
    assert idp.events() == before
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200


@FORMS
def test_revoking_an_access_token_ends_it_alone(either_idp: Idp, form: str) -> None:
    idp = either_idp
    app = idp.register(access_token_format=form)
    started = idp.session(idp.person())
    tokens, other = idp.grant(app, started), idp.grant(app, started)
    newer = idp.refresh(app, tokens["refresh_token"])[1]
    for _ in range(2):
        assert idp.post("/revoke", app, token=tokens["access_token"]) == (200, {})
    assert not idp.is_active(app, tokens["access_token"])
    assert idp.userinfo(tokens["access_token"])[0] == 401
    for token in (newer["access_token"], newer["refresh_token"], other["access_token"]):
        assert idp.is_active(app, token)
    assert len(idp.events("token.revoked")) == 1


@FORMS
def test_an_app_of_any_name_can_give_its_own_token_back(either_idp: Idp, form: str) -> None:
    idp = either_idp
    app = idp.register(client_id="c" * 64, access_token_format=form, scope="read")
    token = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    assert idp.post("/revoke", app, token=token) == (200, {})
    assert not idp.is_active(app, token)


def test_revoking_what_is_not_ones_own_changes_nothing_and_says_nothing(idp: Idp) -> None:
    app = idp.register()
    thief = idp.register(introspects_all=1)
    tokens = idp.grant(app, idp.session(idp.person()))
    for token in (tokens["access_token"], tokens["refresh_token"], tokens["id_token"], "unknown"):
        assert idp.post("/revoke", thief, token=token) == (200, {})
    assert idp.is_active(app, tokens["access_token"])
    assert idp.is_active(app, tokens["refresh_token"])


def test_a_refresh_token_whose_seal_was_altered_ends_nothing(idp: Idp) -> None:
    app = idp.register()
    good = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    altered = good[:50] + ("A" if good[50] != "A" else "B") + good[51:]
    assert not idp.is_active(app, altered)
    assert idp.post("/revoke", app, token=altered) == (200, {})
    assert idp.is_active(app, good)


def test_a_public_client_gives_its_token_back_by_holding_it(idp: Idp) -> None:
    public = {
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    }
    app, other = idp.register(**public), idp.register(**public)
    started = idp.session(idp.person())
    remember_consent(idp, started, app)
    tokens = idp.grant(app, started)
    assert idp.post("/revoke", other, token=tokens["refresh_token"]) == (200, {})
    assert idp.userinfo(tokens["access_token"])[0] == 200
    assert idp.post("/revoke", app, token=tokens["refresh_token"]) == (200, {})
    assert idp.userinfo(tokens["access_token"])[0] == 401
    assert idp.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"


def test_a_spent_refresh_token_still_ends_its_family_when_it_is_given_back(idp: Idp) -> None:
    app = idp.register()
    first = idp.grant(app, idp.session(idp.person()))
    second = idp.refresh(app, first["refresh_token"])[1]
    assert not idp.is_active(app, first["refresh_token"])
    assert idp.post("/revoke", app, token=first["refresh_token"]) == (200, {})
    assert not idp.is_active(app, second["refresh_token"])
    assert not idp.is_active(app, second["access_token"])

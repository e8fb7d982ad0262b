"""Good tokens in the wrong place, or at the wrong time (attack group JW)."""

import pytest

from tests.attacks import forge
from tests.attacks.readers import MEANT_FOR, Target
from tests.harness.provider import ISSUER, Flow, Idp


@pytest.mark.attack("JW-11")
def test_each_kind_of_token_is_good_for_its_own_purpose_only(target: Target) -> None:
    idp = target.idp
    opaque = idp.register(scope="openid sessions")
    started = idp.session(idp.person("bob"))
    flow = Flow(target.app)
    answer = idp.authorize(idp.signed_in_browser(started), flow.parameters())
    logout = forge.parts_of(target.good["id_token"])[1] | {
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}
    }
    kinds = target.good | {
        "client_assertion": target.assertion(),
        "opaque access token": idp.grant(opaque, started, scope="openid sessions")["access_token"],
        "logout token": idp.app.provider.keyring.sign("ES256", logout, "logout+jwt"),
        "authorization code": answer["code"],
        "client secret": str(target.app.secret),
        "session secret": started.secret,
    }
    # Introspection shows a token to its own app: this one may see all of them.
    target.app = idp.register(introspects_all=1)
    believed = {kind: target.believers(token) for kind, token in kinds.items()}
    assert believed == MEANT_FOR


@pytest.mark.attack("JW-11")
@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_a_token_for_one_audience_is_not_shown_or_taken_elsewhere(idp: Idp, form: str) -> None:
    api, stranger = idp.register(name="API"), idp.register()
    app = idp.register(access_token_format=form, audience=[api.id], scope="openid read")
    started = idp.session(idp.person())
    token = idp.grant(app, started, scope="read")["access_token"]
    assert idp.is_active(app, token)
    assert idp.is_active(api, token)
    assert not idp.is_active(stranger, token)
    # It is for the API, and not for us.
    assert idp.userinfo(token) == (
        401,
        {"error": "invalid_token", "error_description": "The access token is not valid."},
    )
    both = idp.grant(app, started, scope="openid read")["access_token"]
    assert idp.userinfo(both)[0] == 200


@pytest.mark.attack("JW-11")
@pytest.mark.parametrize("typ", ["JWT", "jwt", "logout+jwt", "dpop+jwt", "", None, 1, ["at+jwt"]])
def test_an_access_token_says_that_it_is_one(target: Target, typ: object) -> None:
    header, claims = forge.parts_of(target.good["access_token"])
    assert header["typ"] == "at+jwt"
    token = forge.signed(header | {"typ": typ}, claims, target.own_key)
    assert target.believers(token) == set()


@pytest.mark.attack("JW-11")
def test_an_access_token_of_another_issuer_is_refused(target: Target) -> None:
    header, claims = forge.parts_of(target.good["access_token"])
    for issuer in ("http://localhost:8001", f"{ISSUER}/", "", None, [ISSUER]):
        token = forge.signed(header, claims | {"iss": issuer}, target.own_key)
        assert target.believers(token) == set(), issuer


@pytest.mark.attack("JW-13")
@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_what_was_revoked_stays_revoked_after_a_restart(idp: Idp, form: str) -> None:
    app = idp.register(access_token_format=form, scope="openid read")
    started = idp.session(idp.person())
    alone, whole, kept = (idp.grant(app, started) for _ in range(3))
    own = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    for token in (alone["access_token"], whole["refresh_token"], own):
        assert idp.post("/revoke", app, token=token) == (200, {})
    restarted = Idp(idp.settings, idp.clock)
    try:
        for token in (alone["access_token"], own, whole["access_token"], whole["refresh_token"]):
            assert not restarted.is_active(app, token)
        assert restarted.is_active(app, alone["refresh_token"])
        assert restarted.is_active(app, kept["access_token"])
        assert restarted.refresh(app, kept["refresh_token"])[0] == 200
    finally:
        restarted.close()


@pytest.mark.attack("JW-14")
@pytest.mark.parametrize("micros", [0, 1, 499_000, 499_999, 500_000, 999_999])
@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_a_token_is_good_from_the_moment_it_is_made_until_its_second(
    idp: Idp, form: str, micros: int
) -> None:
    idp.clock.instant += micros
    now = idp.clock.now()
    app = idp.register(access_token_format=form)
    tokens = idp.grant(app, idp.session(idp.person()))
    status, body = idp.post("/introspect", app, token=tokens["access_token"])
    assert (status, body["active"]) == (200, True)
    assert body["iat"] == now // 1_000_000
    assert body["exp"] == body["iat"] + 300
    assert idp.userinfo(tokens["access_token"])[0] == 200
    claims = forge.parts_of(tokens["id_token"])[1]
    assert (claims["iat"], claims["auth_time"]) == (body["iat"], body["iat"])
    idp.clock.instant = body["exp"] * 1_000_000 - 1
    assert idp.is_active(app, tokens["access_token"])
    idp.clock.instant += 1
    assert not idp.is_active(app, tokens["access_token"])
    assert idp.userinfo(tokens["access_token"])[0] == 401

"""Apps that pose as others, and assertions that were made for elsewhere (attack group CL)."""

from typing import Any

import pytest

from idp.clock import SECOND
from idp.errors import Refused
from idp.oauth import cleanup, client_auth
from tests.attacks import forge
from tests.attacks.readers import Target
from tests.attacks.wire import Wire, cookie
from tests.harness.provider import ISSUER, Flow, Idp

MARK = "zq-marker-7"


def attempt(target: Target, **changes: Any) -> tuple[int, str | None]:
    """What a client gets for an assertion with these claims."""
    return present(target, target.assertion(**changes))


def present(target: Target, assertion: str, **form: str) -> tuple[int, str | None]:
    answer = target.wire.post(
        "/token",
        {
            "grant_type": "client_credentials",
            "client_assertion_type": client_auth.ASSERTION_TYPE,
            "client_assertion": assertion,
            **form,
        },
    )
    return answer.status, answer.json.get("error")


GOOD = (200, None)
REFUSED = (401, "invalid_client")


@pytest.mark.attack("CL-05")
def test_an_app_cannot_be_named_like_a_person(idp: Idp) -> None:
    alice = idp.person()
    for name in (alice.id, "usr_anything"):
        with pytest.raises(Refused):
            idp.register(client_id=name)
    app = idp.register(scope="openid read")
    assert app.id.startswith("cli_")
    own = idp.token(app, grant_type="client_credentials")[1]["access_token"]
    body = idp.post("/introspect", app, token=own)[1]
    assert (body["sub"], body["client_id"]) == (app.id, app.id)
    assert not {"username", "sid", "acr"} & set(body)


@pytest.mark.attack("CL-05")
@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "ä", "a" * 65, "a\n", "a:b", "a%20b"])
def test_a_client_identifier_needs_no_escaping_anywhere(idp: Idp, name: str) -> None:
    if name == "":
        assert idp.register(client_id=name).id.startswith("cli_")
        return
    with pytest.raises(Refused):
        idp.register(client_id=name)


@pytest.mark.attack("CL-07")
def test_an_assertion_names_our_issuer_and_nothing_else(target: Target) -> None:
    assert attempt(target, aud=ISSUER) == GOOD
    for audience in (
        f"{ISSUER}/token",
        f"{ISSUER}/authorize",
        f"{ISSUER}/",
        "http://LOCALHOST:8000",
        "https://other.example",
        target.asserting.id,
        "",
        None,
        1,
        {},
        [],
        [ISSUER],
        [ISSUER, ISSUER],
        [ISSUER, "https://other.example"],
        [f"{ISSUER}/token"],
    ):
        assert attempt(target, aud=audience) == REFUSED, audience
    claims = forge.parts_of(target.assertion())[1]
    del claims["aud"]
    assert present(target, forge.signed({"alg": "ES256"}, claims, target.client_key)) == REFUSED


@pytest.mark.attack("CL-07")
def test_only_a_client_set_to_lenient_may_name_the_token_endpoint(target: Target) -> None:
    target.idp.execute("UPDATE clients SET assertion_audience = 'lenient'")
    for audience in (ISSUER, f"{ISSUER}/token", [ISSUER], [f"{ISSUER}/token", "x"]):
        assert attempt(target, aud=audience) == GOOD, audience
    for audience in (f"{ISSUER}/token/", f"{ISSUER}/revoke", "x", ["x"], [], None, [[ISSUER]]):
        assert attempt(target, aud=audience) == REFUSED, audience


@pytest.mark.attack("CL-07")
def test_an_assertion_speaks_for_the_client_that_made_it(target: Target) -> None:
    other = target.app.id
    for changes in (
        {"iss": other},
        {"sub": other},
        {"iss": other, "sub": other},
        {"iss": None},
        {"sub": None},
        {"sub": [target.asserting.id]},
        {"sub": f"{target.asserting.id}\x00"},
        {"iss": ISSUER},
        {"sub": "\U0001f600"},
    ):
        assert attempt(target, **changes) == REFUSED, changes
    assert present(target, target.assertion(), client_id=other) == (400, "invalid_request")
    assert present(target, target.assertion(), client_id=target.asserting.id) == GOOD
    assert present(target, target.assertion(), client_secret="x") == (400, "invalid_request")


@pytest.mark.attack("CL-10")
def test_an_assertion_lives_five_minutes_at_most(target: Target) -> None:
    now = target.idp.clock.now() // SECOND
    for changes in (
        {"iat": now, "exp": now + 300},
        {"iat": now - 240, "exp": now + 60},
        {"exp": now + 1},
        {"exp": now - client_auth.SKEW + 1},
        {"nbf": now + client_auth.SKEW},
        {"iat": now + 8, "nbf": now + 8},
        {"exp": now + 60.5},
    ):
        assert attempt(target, **changes) == GOOD, changes
    for changes in (
        {"iat": now, "exp": now + 301},
        {"iat": now - 3_600, "exp": now + 60},
        {"exp": now + 86_400},
        {"iat": now + 100_000, "exp": now + 100_060},
        {"exp": now - client_auth.SKEW},
        {"exp": now - 3_600, "iat": now - 3_700},
        {"nbf": now + client_auth.SKEW + 1},
        {"iat": now + client_auth.SKEW + 1},
        {"exp": None},
        {"exp": True},
        {"exp": str(now + 60)},
        {"exp": [now + 60]},
        {"exp": 10**400},
        {"iat": "now"},
        {"nbf": {}},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": ["x"]},
    ):
        assert attempt(target, **changes) == REFUSED, changes


@pytest.mark.attack("CL-10")
def test_an_assertion_without_iat_still_expires_within_five_minutes(target: Target) -> None:
    now = target.idp.clock.now() // SECOND
    claims = forge.parts_of(target.assertion())[1]
    del claims["iat"]
    for lifetime, expected in ((300, GOOD), (331, REFUSED), (86_400, REFUSED)):
        made = claims | {"exp": now + lifetime, "jti": f"of {lifetime}"}
        assertion = forge.signed({"alg": "ES256"}, made, target.client_key)
        assert present(target, assertion) == expected


@pytest.mark.attack("CL-10")
def test_what_is_kept_of_spent_assertions_goes_away(target: Target) -> None:
    idp = target.idp
    longest = target.assertion(jti="x" * 4_000)
    assert present(target, longest) == GOOD
    assert present(target, longest) == REFUSED
    assert attempt(target, jti="another") == GOOD
    assert attempt(target, aud="wrong") == REFUSED
    assert idp.count("used_assertions") == 2
    idp.clock.advance((client_auth.ASSERTION_LIFETIME + 2 * client_auth.SKEW) * SECOND)
    with idp.work.begin() as unit:
        cleanup.delete_spent(unit)
    assert idp.count("used_assertions") == 0
    # By now it has expired: forgetting it does not bring it back.
    assert present(target, longest) == REFUSED


@pytest.mark.attack("CL-11")
def test_no_cookie_and_no_page_address_carries_anything_of_a_request(idp: Idp, wire: Wire) -> None:
    app = idp.register(first_party=0)
    parameters = Flow(app).parameters(
        state=MARK, nonce=MARK, login_hint=MARK, ui_locales=MARK, scope="openid email"
    ) | {"extra": MARK}
    signed_in = cookie(idp.session(idp.person()))
    for headers in ({}, {"cookie": signed_in}):
        answer = wire.get("/authorize", parameters, **headers)
        page, _, reference = (answer.location or "").partition("?request=")
        assert page in ("/login", "/consent")
        assert reference.startswith("req_")
        assert len(reference) == 36
        [set_cookie] = [value for name, value in answer.headers if name == "set-cookie"]
        secret = set_cookie.partition("=")[2].partition(";")[0]
        assert len(secret) == 43
        for value in (MARK, app.id, app.redirect_uri, "email", parameters["code_challenge"]):
            assert value not in set_cookie
            assert value not in (answer.location or "")

"""Fifty redemptions of one code at one moment: one success, and it is worth nothing afterwards."""

import time
from collections import Counter
from collections.abc import Callable
from secrets import token_urlsafe

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from idp.oauth.client_auth import ASSERTION_TYPE
from tests.bench import wire
from tests.harness.deployment import Deployment, authorize_path
from tests.harness.fault_proxy import bad_way_to
from tests.harness.load_clients import burst, code_of, error_of, json_of
from tests.harness.provider import PASSWORD
from tests.races.conftest import LONGER

PARALLEL = 50
ROUNDS = 5 * LONGER


@pytest.mark.attack("AC-01")
def test_of_fifty_parallel_redemptions_one_succeeds_and_the_replays_end_its_grant(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """FT-11: there is no grace for codes, so whoever comes second ends what the first was given."""
    deployment.person("alice")
    browser, app = deployment.signed_in("alice"), deployment.app("App")
    for round_ in range(1, ROUNDS + 1):
        code, flow = deployment.code(browser, app)
        made = burst(deployment.ports, [app.redeeming(flow, code)] * PARALLEL)
        assert Counter(made.statuses) == {200: 1, 400: PARALLEL - 1}
        assert {error_of(one) for one in made.answers} == {None, "invalid_grant"}
        winner = next(json_of(one) for one in made.answers if one and one.status == 200)
        assert not deployment.is_active(app, str(winner["access_token"]))
        assert not deployment.is_active(app, str(winner["refresh_token"]))
        refused = deployment.ask(app.refreshing(str(winner["refresh_token"])))
        assert error_of(refused) == "invalid_grant"
        for type_ in ("token.issued", "token.reuse_detected", "authorization.ended"):
            assert deployment.count_events(type_) == round_
    say(f"code: n={ROUNDS}x{PARALLEL}, two successes 0, 5xx 0, surviving tokens 0")


@pytest.mark.attack("AC-01")
def test_a_code_whose_answer_was_cut_off_is_not_redeemed_again_and_its_grant_ends(
    deployment: Deployment,
) -> None:
    """FT-11: a client that lost the answer begins anew; what it would have got is worth nothing."""
    deployment.person("alice")
    browser, app = deployment.signed_in("alice"), deployment.app("App")
    code, flow = deployment.code(browser, app)
    request = app.redeeming(flow, code)
    with bad_way_to(deployment.port) as way:
        way.fault = "cut"
        assert burst([way.port], [request]).statuses == [0]
    assert deployment.count_events("token.issued") == 1
    made = burst(deployment.ports, [request] * PARALLEL)
    assert {error_of(one) for one in made.answers} == {"invalid_grant"}
    assert deployment.scalar("SELECT count(*) FROM authorizations WHERE ended_at IS NULL") == 0
    for type_ in ("token.issued", "token.reuse_detected", "authorization.ended"):
        assert deployment.count_events(type_) == 1
    # The person is still signed in, so beginning anew is one redirect.
    assert deployment.code(browser, app)[0] != code


@pytest.mark.attack("AC-02")
def test_a_code_that_another_client_redeems_meanwhile_gives_nobody_anything_lasting(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    deployment.person("alice")
    browser = deployment.signed_in("alice")
    owner, thief = deployment.app("Owner"), deployment.app("Thief")
    outcomes: Counter[int] = Counter()
    for _ in range(ROUNDS):
        code, flow = deployment.code(browser, owner)
        made = burst(
            deployment.ports, [thief.redeeming(flow, code), owner.redeeming(flow, code)] * 10
        )
        outcomes.update(made.statuses)
        assert set(made.statuses) <= {200, 400}
        assert set(made.statuses[::2]) == {400}, "the thief was given tokens"
        successes = [one for one in made.answers if one is not None and one.status == 200]
        assert len(successes) <= 1
        for one in successes:
            assert not deployment.is_active(owner, str(json_of(one)["access_token"]))
    say(f"code of another client: n={ROUNDS}x20, answers {dict(outcomes)}, survivors 0")


def test_a_pushed_request_that_is_finished_twenty_times_at_once_gives_one_code(
    deployment: Deployment,
) -> None:
    """FT-16: the request a sign-in was begun for is used once."""
    deployment.person("alice")
    app = deployment.app("App")
    for _ in range(3 * LONGER):
        browser = deployment.browser()
        to_login = browser.get(authorize_path(app.flow().parameters()))
        page = browser.get(to_login.path())
        fields = page.hidden_fields() | {"username": "alice", "password": PASSWORD}
        finishing = browser.post("/login", fields).path()
        made = burst(deployment.ports, [browser.getting(finishing)] * 20)
        codes = [code_of(one) for one in made.answers if one is not None and one.status == 303]
        assert set(made.statuses) <= {303, 400}
        assert sum(code is not None for code in codes) == 1
        browser.close()


@pytest.mark.attack("CL-10")
def test_a_client_assertion_that_comes_twenty_times_at_once_is_honoured_once(
    deployment: Deployment,
) -> None:
    """FT-16: `jti` is single use (RFC 7523 section 3)."""
    key = ECKey.generate_key("P-256")
    app = deployment.app(
        "Machine",
        token_endpoint_auth_method="private_key_jwt",
        grant_types=["client_credentials"],
        redirect_uris=[],
        scope="reports",
        jwks={"keys": [key.as_dict(private=False)]},
    )
    for _ in range(3 * LONGER):
        request = _credentials_request(deployment, app.registered.id, key)
        made = burst(deployment.ports, [request] * 20)
        assert Counter(made.statuses) == {200: 1, 401: 19}


def _credentials_request(deployment: Deployment, client_id: str, key: ECKey) -> bytes:
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": deployment.server.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": token_urlsafe(16),
    }
    return wire.form(
        "/token",
        {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode({"alg": "ES256"}, claims, key),
        },
        host=f"localhost:{deployment.port}",
    )

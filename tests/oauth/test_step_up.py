"""What an app, its registration and the rules may demand of a sign-in, and what tokens say of it.

OpenID Connect Core sections 2, 3.1.2.1 and 5.5.1.1; RFC 9470; rows B4, T5.
"""

import base64
import json
from typing import Any

import pytest

from idp.clock import MINUTE, SECOND, to_seconds
from idp.policy.assurance import Authentication
from idp.sessions.prove import PASSWORD
from idp.users import queries, rules
from tests.harness.provider import ADMIN, Idp, Registered, Started
from tests.oauth.asking import Request

CODE = Authentication("totp", ("otp",), "aal1", "totp_1")
RECOVERY = Authentication("recovery_code", ("otp",), "aal1")
SYNCED = Authentication("passkey", ("swk", "user"), "aal2", "pky_1")
BOUND = Authentication("passkey", ("hwk", "user"), "aal3", "pky_2")
TOUCHED = Authentication("passkey", ("hwk",), "aal1", "pky_2")


@pytest.fixture
def idp(either_idp: Idp) -> Idp:
    """On SQLite, and again on PostgreSQL."""
    return either_idp


@pytest.fixture
def app(idp: Idp) -> Registered:
    return idp.register(scope="openid profile offline_access payments")


@pytest.fixture
def alice(idp: Idp) -> Started:
    return idp.session(idp.person("alice"))


def ask(idp: Idp, started: Started | None, client: Registered, **changes: str | None) -> Request:
    browser = idp.signed_in_browser(started) if started else idp.browser()
    return Request(idp, browser, client, **changes)


def essential(*values: str, **more: Any) -> str:
    return json.dumps({"id_token": {"acr": {"essential": True, "values": list(values), **more}}})


def redeem(idp: Idp, request: Request) -> dict[str, Any]:
    status, tokens = idp.token(
        request.client,
        grant_type="authorization_code",
        code=request.answer["code"],
        redirect_uri=request.client.redirect_uri,
        code_verifier=request.flow.verifier,
    )
    assert status == 200, tokens
    return tokens


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found


def said(claims: dict[str, Any]) -> tuple[str, int, list[str]]:
    return claims["acr"], claims["auth_time"], sorted(claims["amr"])


# --- what an app asks for -------------------------------------------------------------------------


def test_a_level_is_reached_by_the_proofs_it_needs_and_by_no_others(
    idp: Idp, app: Registered
) -> None:
    """MF-02, invariant 14: two of one kind are one factor."""
    user = idp.person("alice")
    for proved, best in (
        ([PASSWORD], 1),
        ([PASSWORD, PASSWORD], 1),
        ([CODE, RECOVERY], 1),
        ([CODE, TOUCHED], 1),
        ([PASSWORD, CODE], 2),
        ([PASSWORD, RECOVERY], 2),
        ([PASSWORD, TOUCHED], 2),
        ([SYNCED], 2),
        ([PASSWORD, SYNCED, CODE], 2),
        ([BOUND], 3),
        ([PASSWORD, BOUND], 3),
    ):
        started = idp.session(user, proved=proved)
        for level in (1, 2, 3):
            request = ask(idp, started, app, acr_values=f"aal{level}")
            assert request.step == ("code" if level <= best else "/step-up"), (proved, level)


@pytest.mark.parametrize(
    ("acr_values", "step"),
    [
        ("aal1", "code"),
        ("aal2", "/step-up"),
        ("aal3 aal2", "/step-up"),
        # Any of them will do, and what is not ours is passed over.
        ("aal3 aal1", "code"),
        ("gold", "code"),
        ("gold aal2", "/step-up"),
        ("AAL2", "code"),
        ("", "code"),
        (None, "code"),
    ],
)
def test_any_of_the_values_that_were_asked_for_will_do(
    idp: Idp, app: Registered, alice: Started, acr_values: str | None, step: str
) -> None:
    assert ask(idp, alice, app, acr_values=acr_values).step == step


@pytest.mark.parametrize(
    ("claims", "acr_values", "step"),
    [
        (essential("aal2"), None, "/step-up"),
        (essential("aal1"), None, "code"),
        (essential("gold", "aal2"), None, "/step-up"),
        (essential("aal1"), "aal2", "/step-up"),
        (essential("aal2"), "aal1", "/step-up"),
        (essential("gold"), None, "unmet_authentication_requirements"),
        (essential("gold"), "aal1", "unmet_authentication_requirements"),
        ('{"id_token": {"acr": {"essential": true, "value": "aal2"}}}', None, "/step-up"),
        # A claim that is not essential is a wish (section 5.5.1).
        ('{"id_token": {"acr": {"values": ["aal2"]}}}', None, "code"),
        ('{"id_token": {"acr": {"essential": false, "values": ["aal2"]}}}', None, "code"),
        ('{"id_token": {"acr": null}}', None, "code"),
        ('{"id_token": {"acr": {"essential": true}}}', None, "code"),
        # Of the userinfo answer it says nothing.
        ('{"userinfo": {"acr": {"essential": true, "values": ["aal2"]}}}', None, "code"),
    ],
)
def test_an_essential_acr_is_demanded_and_another_is_not(
    idp: Idp,
    app: Registered,
    alice: Started,
    claims: str,
    acr_values: str | None,
    step: str,
) -> None:
    assert ask(idp, alice, app, claims=claims, acr_values=acr_values).step == step


def test_who_proves_what_was_missing_comes_back_with_it(
    idp: Idp, app: Registered, alice: Started
) -> None:
    request = ask(idp, alice, app, acr_values="aal2")
    assert request.step == "/step-up"
    # Coming back without having proved anything leads to the page again.
    assert request._again().step == "/step-up"
    assert request.authenticated(alice.session.id, PASSWORD).step == "/step-up"
    assert request.authenticated(alice.session.id, CODE).step == "code"
    assert said(claims_of(redeem(idp, request)["id_token"])) == (
        "aal2",
        to_seconds(idp.clock.now()),
        ["mfa", "otp", "pwd"],
    )


# --- how fresh ------------------------------------------------------------------------------------


def test_a_fresh_proof_beside_a_stale_one_is_no_fresh_level(
    idp: Idp, app: Registered, alice: Started
) -> None:
    """MF-02: a password of now and a code of then are aal1 since now, and aal2 since then."""
    idp.clock.advance(10 * MINUTE)
    alice = idp.prove(alice, CODE)
    assert ask(idp, alice, app, acr_values="aal2").step == "code"
    assert ask(idp, alice, app, max_age="300").step == "code"
    both = {"acr_values": "aal2", "max_age": "300"}
    assert ask(idp, alice, app, **both, prompt="none").step == "interaction_required"
    request = ask(idp, alice, app, **both)
    assert request.step == "/step-up"
    assert request.authenticated(alice.session.id, PASSWORD).step == "code"
    acr, auth_time, _ = said(claims_of(redeem(idp, request)["id_token"]))
    assert (acr, auth_time) == ("aal2", to_seconds(idp.clock.now()))


def test_auth_time_is_the_moment_of_the_oldest_proof_that_the_level_needs(
    idp: Idp, app: Registered, alice: Started
) -> None:
    begun = to_seconds(idp.clock.now())
    idp.clock.advance(10 * MINUTE)
    alice = idp.prove(alice, CODE)
    assert said(claims_of(idp.grant(app, alice)["id_token"])) == (
        "aal2",
        begun,
        ["mfa", "otp", "pwd"],
    )
    # Asked for something fresh, it says what is fresh, and no more.
    fresh = claims_of(idp.grant(app, alice, max_age="300")["id_token"])
    assert said(fresh) == ("aal1", begun + 600, ["otp"])


def test_who_takes_longer_for_two_proofs_than_max_age_is_not_asked_in_circles(
    idp: Idp, app: Registered, alice: Started
) -> None:
    idp.clock.advance(MINUTE)
    request = ask(idp, alice, app, acr_values="aal2", max_age="5")
    assert request.step == "/login"
    idp.clock.advance(4 * SECOND)
    assert request.authenticated(alice.session.id, PASSWORD).step == "/step-up"
    idp.clock.advance(6 * SECOND)
    assert request.authenticated(alice.session.id, CODE).step == "code"
    # That was for this request; the next one is measured by its own coming.
    idp.clock.advance(2 * SECOND)
    again = Request(idp, request.browser, app, acr_values="aal2", max_age="5")
    assert again.step == "/step-up"


def test_signing_in_again_when_asked_means_all_of_it_again(
    idp: Idp, app: Registered, alice: Started
) -> None:
    """MF-02: `prompt=login` is not met by the code of before."""
    alice = idp.prove(alice, CODE)
    idp.clock.advance(MINUTE)
    request = ask(idp, alice, app, acr_values="aal2", prompt="login")
    assert request.step == "/login"
    assert request.authenticated(alice.session.id, PASSWORD).step == "/step-up"
    assert request.authenticated(alice.session.id, CODE).step == "code"


# --- what others ask for ------------------------------------------------------------------------


def rule(idp: Idp, role: str | None, value: dict[str, Any]) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "assurance", {"role": role} if role else {}, value, ADMIN)


def test_an_app_may_be_registered_to_need_more(idp: Idp, alice: Started) -> None:
    careful = idp.register(minimum_acr="aal2")
    request = ask(idp, alice, careful)
    assert request.step == "/step-up"
    assert ask(idp, alice, careful, acr_values="aal1", prompt="none").step == "interaction_required"
    assert request.authenticated(alice.session.id, CODE).step == "code"
    assert Request(idp, request.browser, careful).step == "code"
    bob = idp.session(idp.person("bob"))
    assert ask(idp, bob, idp.register()).step == "code"


def test_a_rule_for_everybody_holds_for_every_app(
    idp: Idp, app: Registered, alice: Started
) -> None:
    assert ask(idp, alice, app).step == "code"
    rule(idp, None, {"acr": "aal2"})
    assert ask(idp, alice, app, acr_values="aal1").step == "/step-up"
    with idp.work.begin() as unit:
        rules.remove_rule(unit, "assurance", {}, ADMIN)
    assert ask(idp, alice, app).step == "code"


def test_a_rule_for_a_role_holds_for_who_has_it(idp: Idp, app: Registered) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "admin", [])
        queries.define_role(unit, "clerk", [])
    rule(idp, "admin", {"acr": "aal3"})
    rule(idp, "clerk", {"acr": "aal2"})
    proved = [PASSWORD, CODE]
    for name, roles, step in (
        ("alice", ["admin"], "/step-up"),
        ("bob", ["clerk"], "code"),
        ("carol", ["clerk", "admin"], "/step-up"),
        ("dave", [], "code"),
    ):
        started = idp.session(idp.person(name, roles=roles), proved=proved)
        assert ask(idp, started, app).step == step, name
    mallory = idp.session(idp.person("mallory", roles=["clerk"]))
    assert ask(idp, mallory, app).step == "/step-up"


def test_a_rule_for_a_scope_holds_for_who_asks_for_it(
    idp: Idp, app: Registered, alice: Started
) -> None:
    rule(idp, None, {"scopes": {"payments": "aal2", "reports": "aal3"}})
    assert ask(idp, alice, app, scope="openid profile").step == "code"
    assert ask(idp, alice, app, scope="openid reports").step == "code"  # not of this app
    request = ask(idp, alice, app, scope="openid payments")
    assert request.step == "/step-up"
    assert request.authenticated(alice.session.id, CODE).step == "code"
    # Also where the app leaves the scope out, and so asks for all it may have.
    bob = idp.session(idp.person("bob"))
    assert ask(idp, bob, app, scope=None).step == "/step-up"


def test_of_all_demands_the_highest_counts(idp: Idp) -> None:
    rule(idp, None, {"acr": "aal2"})
    started = idp.session(idp.person("alice"), proved=[SYNCED])
    assert ask(idp, started, idp.register(minimum_acr="aal1"), acr_values="aal1").step == "code"
    assert ask(idp, started, idp.register(minimum_acr="aal3")).step == "/step-up"
    assert ask(idp, started, idp.register(), claims=essential("aal3")).step == "/step-up"


# --- who cannot be asked, and who will not answer ------------------------------------------------


def test_without_a_page_the_app_is_told_which_one_was_needed(
    idp: Idp, app: Registered, alice: Started
) -> None:
    both = {"acr_values": "aal2", "max_age": "300"}
    assert ask(idp, None, app, **both, prompt="none").step == "login_required"
    assert ask(idp, alice, app, **both, prompt="none").step == "interaction_required"
    idp.clock.advance(301 * SECOND)
    assert ask(idp, alice, app, **both, prompt="none").step == "login_required"
    alice = idp.prove(alice, PASSWORD, CODE)
    assert ask(idp, alice, app, **both, prompt="none").step == "code"


def test_who_does_not_prove_it_is_told_to_the_app_as_such(
    idp: Idp, app: Registered, alice: Started
) -> None:
    """RFC 9470 section 5: not `access_denied`, which would be another reason."""
    request = ask(idp, alice, app, acr_values="aal2")
    assert request.denied().step == "unmet_authentication_requirements"
    assert idp.count("authorizations") == 0
    # Whoever is not even signed in, or was asked for consent alone, said no to something else.
    assert ask(idp, None, app, acr_values="aal2").denied().step == "access_denied"
    stranger = idp.register(first_party=0)
    assert ask(idp, alice, stranger).denied().step == "access_denied"


# --- what is said of it -----------------------------------------------------------------------


@pytest.mark.parametrize("access_token_format", ["opaque", "jwt"])
def test_level_methods_and_moment_are_told_wherever_a_token_is(
    idp: Idp, alice: Started, access_token_format: str
) -> None:
    app = idp.register(access_token_format=access_token_format)
    observer = idp.register(introspects_all=1)
    idp.clock.advance(MINUTE)
    alice = idp.prove(alice, CODE)
    expected = ("aal2", to_seconds(idp.clock.now() - MINUTE), ["mfa", "otp", "pwd"])
    tokens = idp.grant(app, alice, scope="openid offline_access")
    # What is proved later is no part of what was said: a refresh proves nothing.
    idp.clock.advance(MINUTE)
    idp.prove(alice, BOUND)
    for _ in range(2):
        assert said(claims_of(tokens["id_token"])) == expected
        if access_token_format == "jwt":
            assert said(claims_of(tokens["access_token"])) == expected
        # A refresh token is shown to its own app alone.
        for name, asking in (("access_token", observer), ("refresh_token", app)):
            _, body = idp.post("/introspect", asking, token=tokens[name])
            assert said(body) == expected, name
        status, person = idp.userinfo(tokens["access_token"])
        assert status == 200
        assert not {"acr", "amr", "auth_time"} & set(person)
        _, tokens = idp.refresh(app, tokens["refresh_token"])


def test_a_clients_own_token_says_nothing_of_a_person(idp: Idp) -> None:
    robot = idp.register(scope="read", minimum_acr="aal2")
    _, tokens = idp.token(robot, grant_type="client_credentials")
    _, body = idp.post("/introspect", robot, token=tokens["access_token"])
    assert body["active"] is True
    assert not {"acr", "amr", "auth_time"} & set(body)


def test_the_levels_there_are_stand_in_the_metadata(idp: Idp) -> None:
    metadata = idp.browser().get("/.well-known/openid-configuration").json()
    assert metadata["acr_values_supported"] == ["0", "aal1", "aal2", "aal3"]

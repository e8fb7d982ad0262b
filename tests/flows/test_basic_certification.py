"""What the OpenID conformance suite does with its basic and logout plans, module by module.

Owns a client as the plans register one: no PKCE, a secret, a stranger to everybody. The names in the
docstrings are the suite's (`oidcc-…`). What it judges by looking at screenshots is left to people.
"""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet, OctKey

from idp.clock import SECOND, to_seconds
from idp.oauth.claims import BY_SCOPE
from tests.flows.apps import claims_of
from tests.flows.pages import Person
from tests.harness.provider import ISSUER, Flow, Idp, Registered

CONFIGURATION = "/.well-known/openid-configuration"
STANDARD: dict[str, Any] = {
    "name": "Alice Example", "given_name": "Alice", "family_name": "Example", "middle_name": "B",
    "nickname": "al", "profile": "https://a.example/", "picture": "https://a.example/p.png",
    "website": "https://a.example/w", "gender": "female", "birthdate": "1980-02-03",
    "zoneinfo": "Europe/Zurich", "locale": "de-CH", "phone_number": "+41 1",
    "address": {"formatted": "1 Road", "country": "CH"}, "phone_number_verified": True,
}  # fmt: skip
SCOPE = "openid profile email address phone offline_access"
WITHOUT_PKCE: dict[str, str | None] = {"code_challenge": None, "code_challenge_method": None}
AFTER = "https://app.example/signed-out"


class Plan:
    """A run of the suite: its client, a person, their browser, and one request under way."""

    def __init__(self, idp: Idp, person: Person) -> None:
        self.idp, self.person = idp, person
        idp.person("alice", claims=STANDARD)
        self.client = self.register()
        self.flow = Flow(self.client)

    def register(self, **values: Any) -> Registered:
        return self.idp.register(
            scope=SCOPE,
            first_party=0,
            require_pkce=0,
            post_logout_redirect_uris=[AFTER],
            **values,
        )

    def ask(self, client: Registered | None = None, **changes: str | None) -> "Plan":
        """Sends the browser to the authorization endpoint."""
        self.flow = Flow(client or self.client)
        self.person.open("/authorize", self.flow.parameters(**WITHOUT_PKCE | changes))
        return self

    def finish(self) -> dict[str, str]:
        """Fills in whatever page comes, as the suite's browser does; gives the answer."""
        while self.person.sent_to is None:
            if self.person.at == "/login":
                self.person.sign_in("alice")
            else:
                self.person.press("consent-allow")
        pairs = parse_qsl(urlsplit(self.person.sent_to).query, keep_blank_values=True)
        answer = dict(pairs)
        assert len(answer) == len(pairs)
        assert (answer["state"], answer["iss"]) == (self.flow.state, ISSUER)
        expected = {"error", "error_description"} if "error" in answer else {"code"}
        assert set(answer) <= {"state", "iss"} | expected
        return answer

    def redeem(self, answer: dict[str, str], **changes: str) -> tuple[int, dict[str, Any]]:
        client = self.flow.client
        form = {"code": answer["code"], "redirect_uri": client.redirect_uri, **changes}
        return self.idp.token(client, grant_type="authorization_code", **form)

    def tokens(self, answer: dict[str, str], *, nonce: str | None = "sent") -> dict[str, Any]:
        """Redeems the code and checks the ID token as every module does."""
        assert len(answer["code"]) >= 43
        status, tokens = self.redeem(answer)
        assert status == 200, tokens
        assert tokens["token_type"] == "Bearer"
        now = to_seconds(self.idp.clock.now())
        keys = KeySet.import_key_set(self.idp.browser().get("/jwks").json())
        token = jwt.decode(tokens["id_token"], keys, algorithms=["ES256", "RS256"])
        claims = token.claims
        assert (claims["iss"], claims["aud"], claims["iat"]) == (ISSUER, self.flow.client.id, now)
        assert claims["exp"] > now
        assert claims.get("nonce") == (self.flow.nonce if nonce else None)
        half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        assert isinstance(claims["acr"], str)
        assert "azp" not in claims
        # Claims of scopes are for userinfo, where an access token is issued with them.
        assert not set(claims) & {name for names in BY_SCOPE.values() for name in names}
        return tokens

    def through(self, **changes: str | None) -> dict[str, Any]:
        """The whole flow: the claims of the ID token, and the tokens."""
        tokens = self.tokens(self.ask(**changes).finish())
        return claims_of(tokens["id_token"]) | {"_": tokens}


@pytest.fixture
def plan(idp: Idp, somebody: Person) -> Plan:
    return Plan(idp, somebody)


def test_what_is_published_is_what_the_suite_looks_for(idp: Idp) -> None:
    """oidcc-discovery-endpoint-verification, and the keys that every module reads."""
    answer = idp.browser().get(CONFIGURATION)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert found["issuer"] == ISSUER
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    for name in ("claims_supported", "scopes_supported", "userinfo_endpoint", "jwks_uri"):
        assert found[name], name
    assert all(value != [] for value in found.values())
    keys = idp.browser().get("/jwks").json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys) >= 2
    assert not [key for key in keys if set(key) & {"d", "p", "q", "dp", "dq", "qi", "k"}]


def test_userinfo_is_given_in_each_of_the_three_ways(plan: Plan) -> None:
    """oidcc-server, oidcc-userinfo-get, -post-header, -post-body."""
    claims = plan.through()
    token, browser = claims["_"]["access_token"], plan.idp.browser()
    header = {"Authorization": f"Bearer {token}"}
    for answer in (
        browser.get("/userinfo", headers=header),
        browser.post("/userinfo", headers=header),
        browser.post("/userinfo", data={"access_token": token}),
    ):
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"sub": claims["sub"]}


def test_each_scope_gives_all_of_its_claims_at_userinfo(plan: Plan) -> None:
    """oidcc-scope-profile, -email, -address, -phone, -all, oidcc-ensure-other-scope-order-succeeds."""
    for scope in ("profile", "email", "address", "phone", "phone address email profile"):
        tokens = plan.through(scope=f"{scope} openid")["_"]
        body = plan.idp.userinfo(tokens["access_token"])[1]
        wanted = {name for one in scope.split() for name in BY_SCOPE[one]}
        assert set(body) == {"sub"} | wanted
        assert not [name for name, value in body.items() if value in (None, "", "null", {}, [])]
        assert all(isinstance(body[one], bool) for one in body if one.endswith("_verified"))
        assert isinstance(body.get("updated_at", 0), int)


def test_requests_that_must_succeed_do(plan: Plan) -> None:
    """…-without-nonce-…, -display-*, -ui-locales, -claims-locales, -login-hint, -unknown-parameter,
    -acr-values, -valid-pkce."""
    supported = plan.idp.browser().get(CONFIGURATION).json()["acr_values_supported"]
    for changes in (
        {"display": "page"},
        {"display": "popup"},
        {"ui_locales": "se"},
        {"claims_locales": "se"},
        {"login_hint": "buffy@example.com"},
        {"extra": "foobar"},
        {"state": "x" * 128},
    ):
        plan.ask(**changes)
        plan.flow.state = changes.get("state", plan.flow.state)
        plan.tokens(plan.finish())
    assert plan.through(acr_values=" ".join(supported))["acr"] in supported
    plan.tokens(plan.ask(nonce=None).finish(), nonce=None)
    flow = Flow(plan.client)
    changes = {one: flow.parameters()[one] for one in WITHOUT_PKCE}
    answer = plan.ask(**changes).finish()
    assert plan.redeem(answer, code_verifier=flow.verifier)[0] == 200


def test_a_sign_in_is_repeated_when_asked_and_not_otherwise(plan: Plan) -> None:
    """oidcc-prompt-login, -max-age-1, -max-age-10000, -prompt-none-logged-in, -id-token-hint."""
    first = plan.through(max_age="15000")
    hint = first["_"]["id_token"]
    for changes in (
        {"prompt": "none"},
        {"max_age": "10000"},
        {"prompt": "none", "id_token_hint": hint},
        {"id_token_hint": hint},
    ):
        plan.idp.clock.advance(SECOND)
        assert plan.ask(**changes).person.sent_to is not None, changes
        again = claims_of(plan.tokens(plan.finish())["id_token"])
        assert (again["sub"], again["auth_time"]) == (first["sub"], first["auth_time"])
    for changes in ({"prompt": "login"}, {"max_age": "1"}, {"max_age": "0"}):
        plan.idp.clock.advance(2 * SECOND)
        assert plan.ask(**changes).person.at == "/login"
        later = claims_of(plan.tokens(plan.finish())["id_token"])
        assert later["auth_time"] == to_seconds(plan.idp.clock.now()) > first["auth_time"]


def test_nobody_is_signed_in_without_a_page(plan: Plan) -> None:
    """oidcc-prompt-none-not-logged-in."""
    assert plan.ask(prompt="none").finish()["error"] == "login_required"


def test_what_is_missing_or_not_done_here_is_named(plan: Plan) -> None:
    """oidcc-response-type-missing, the three modules of request objects, and request_uri."""
    assert plan.ask(response_type=None).finish()["error"] == "invalid_request"
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps(plan.flow.parameters()).encode()).rstrip(b"=")
    unsigned = f"{head}.{body.decode()}."
    assert plan.ask(request=unsigned).finish()["error"] == "request_not_supported"
    there = "https://app.example/request.jwt#x"
    assert plan.ask(request_uri=there).finish()["error"] == "request_uri_not_supported"
    # Nobody is led to an address that is not registered, whatever the object may say.
    plan.ask(request=unsigned, redirect_uri="https://app.example/unregistered")
    assert plan.person.at == "/authorize"


def test_an_address_that_begins_like_the_registered_one_is_a_page(plan: Plan) -> None:
    """oidcc-ensure-registered-redirect-uri."""
    plan.ask(redirect_uri=f"{plan.client.redirect_uri}/xxxxxxxxxx")
    page = plan.person.page
    assert page is not None
    assert (page.status_code, 'id="error"' in page.text) == (400, True)


def test_the_request_may_be_posted(plan: Plan) -> None:
    """oidcc-ensure-post-request-succeeds."""
    plan.flow = Flow(plan.client)
    asked = plan.flow.parameters(**WITHOUT_PKCE)
    answer = plan.person.browser.post("/authorize", data=asked)
    plan.person.open(answer.headers["location"])
    plan.tokens(plan.finish())


def test_a_single_claim_that_is_essential_comes_at_userinfo(plan: Plan) -> None:
    """oidcc-claims-essential."""
    tokens = plan.through(claims='{"userinfo":{"name":{"essential":true}}}')["_"]
    assert plan.idp.userinfo(tokens["access_token"])[1]["name"] == STANDARD["name"]


def test_a_code_is_good_once_also_half_a_minute_later(plan: Plan) -> None:
    """oidcc-codereuse, oidcc-codereuse-30seconds."""
    for wait in (0, 30 * SECOND):
        answer = plan.ask().finish()
        token = plan.tokens(answer)["access_token"]
        plan.idp.clock.advance(wait)
        status, body = plan.redeem(answer)
        assert (status, body["error"]) == (400, "invalid_grant")
        assert plan.idp.userinfo(token)[0] == 401


def test_the_secret_may_come_in_the_form(plan: Plan) -> None:
    """oidcc-server-client-secret-post."""
    client = plan.register(token_endpoint_auth_method="client_secret_post")
    answer = plan.ask(client).finish()
    form = {
        "grant_type": "authorization_code", "code": answer["code"], "client_id": client.id,
        "client_secret": str(client.secret), "redirect_uri": client.redirect_uri,
    }  # fmt: skip
    assert plan.idp.browser().post("/token", data=form).status_code == 200


def test_a_refresh_tells_the_same_sign_in_to_its_own_client_alone(plan: Plan) -> None:
    """oidcc-refresh-token."""
    first = plan.through(scope="openid offline_access", prompt="consent")
    plan.idp.clock.advance(2 * SECOND)
    held = first["_"]["refresh_token"]
    status, body = plan.idp.refresh(plan.register(), held)
    assert (status, body["error"]) == (400, "invalid_grant")
    form = {"grant_type": "refresh_token", "refresh_token": held}
    secret = (plan.client.id, str(plan.client.secret))
    answer = plan.idp.browser().post("/token", data=form, auth=secret)
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert tokens["token_type"] == "Bearer"
    again = claims_of(tokens["id_token"])
    for name in ("iss", "sub", "aud", "auth_time"):
        assert again[name] == first[name]
    assert again["iat"] > first["iat"]
    assert "azp" not in again


def sign_out(plan: Plan, **values: str) -> str | None:
    """Sends the browser to the end_session_endpoint, and says yes where it is asked."""
    person = plan.person.open(f"/logout?{urlencode(values)}")
    if person.page is not None and 'id="logout-confirm"' in person.page.text:
        person.press("logout-confirm")
    return person.sent_to


@pytest.mark.attack("LO-08")
@pytest.mark.parametrize("forged", ["none", "HS256"])
def test_a_hint_that_the_client_made_itself_leads_nowhere(plan: Plan, forged: str) -> None:
    """oidcc-rp-initiated-logout-modified-id-token-hint, -bad-id-token-hint."""
    hint = plan.through()["_"]["id_token"]
    head, body, _ = hint.split(".")
    if forged == "none":
        head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        made = f"{head}.{body}."
    else:
        key = OctKey.import_key(str(plan.client.secret))
        kid = jws.extract_compact(hint.encode()).headers()["kid"]
        payload = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        header = {"alg": "HS256", "typ": "JWT", "kid": kid}
        made = jws.serialize_compact(header, payload, key, algorithms=["HS256"])
    assert sign_out(plan, id_token_hint=made, post_logout_redirect_uri=AFTER) is None
    assert "code" in plan.ask(prompt="none").finish()


@pytest.mark.parametrize("names", ["", "state", "post_logout_redirect_uri", "state hint"])
def test_without_a_hint_or_an_address_the_session_ends_with_a_page(plan: Plan, names: str) -> None:
    """oidcc-rp-initiated-logout-no-params, -only-state, -no-id-token-hint, and without an address."""
    token = plan.through()["_"]["id_token"]
    every = {"state": "s", "post_logout_redirect_uri": AFTER}
    values = {name: value for name, value in every.items() if name in names.split()}
    if "hint" in names:
        values["id_token_hint"] = token
    assert sign_out(plan, **values) is None
    assert plan.ask(prompt="none").finish()["error"] == "login_required"


def test_with_both_it_ends_and_the_state_comes_back_alone(plan: Plan) -> None:
    """oidcc-rp-initiated-logout, -no-state, and the two addresses that are not registered."""
    hint = plan.through()["_"]["id_token"]
    for wrong in (f"{AFTER}/x", f"{AFTER}?foo=bar"):
        assert sign_out(plan, id_token_hint=hint, post_logout_redirect_uri=wrong) is None
    asked = {"id_token_hint": hint, "post_logout_redirect_uri": AFTER}
    assert sign_out(plan, **asked, state="a-b_c.d~e") == f"{AFTER}?state=a-b_c.d~e"
    assert plan.ask(prompt="none").finish()["error"] == "login_required"
    hint = plan.through()["_"]["id_token"]
    assert sign_out(plan, id_token_hint=hint, post_logout_redirect_uri=AFTER) == AFTER

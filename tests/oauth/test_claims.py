"""Which facts about a person reach an app: by scope, and singly (row K6, JW-10)."""

from typing import Any

import pytest

from idp.clock import to_seconds
from idp.oauth import claims
from idp.oauth.claims import BY_SCOPE
from idp.users import queries
from idp.users.model import User
from tests.flows.apps import claims_of
from tests.harness.provider import ADMIN, Flow, Idp, Started
from tests.oauth.asking import remember_consent

ADDRESS = {"formatted": "1 Road", "country": "CH"}
STORED: dict[str, Any] = {
    "name": "Alice Example", "given_name": "Alice", "family_name": "Example", "middle_name": "B",
    "nickname": "al", "profile": "https://a.example/", "picture": "https://a.example/p.png",
    "website": "https://a.example/w", "gender": "female", "birthdate": "1980-02-03",
    "zoneinfo": "Europe/Zurich", "locale": "de-CH", "phone_number": "+41 1", "address": ADDRESS,
    "phone_number_verified": False,
}  # fmt: skip


@pytest.fixture
def alice(idp: Idp) -> User:
    with idp.work.begin() as unit:
        queries.define_role(unit, "editor", ["docs:write"])
    return idp.person("alice", claims=STORED, roles=["editor"])


@pytest.fixture
def started(idp: Idp, alice: User) -> Started:
    return idp.session(alice)


def expected(idp: Idp, alice: User) -> dict[str, Any]:
    return STORED | {
        "preferred_username": "alice",
        "email": "alice@example.com",
        "email_verified": False,
        "updated_at": to_seconds(alice.updated_at),
        "roles": ["editor"],
        "permissions": ["docs:write"],
    }


@pytest.mark.attack("JW-10")
@pytest.mark.parametrize("scope", ["", *BY_SCOPE, "profile email", " ".join(BY_SCOPE)])
def test_userinfo_gives_exactly_what_the_scopes_stand_for(
    idp: Idp, alice: User, started: Started, scope: str
) -> None:
    app = idp.register(scope="openid profile email address phone roles")
    tokens = idp.grant(app, started, scope=f"openid {scope}".strip())
    names = {name for one in scope.split() for name in BY_SCOPE[one]}
    everything = expected(idp, alice)
    assert set(everything) == {name for given in BY_SCOPE.values() for name in given}
    wanted = {name: everything[name] for name in names}
    assert idp.userinfo(tokens["access_token"]) == (200, {"sub": alice.id} | wanted)
    # Scopes say what userinfo gives; the ID token stays small.
    assert not set(claims_of(tokens["id_token"])) & set(everything)


@pytest.mark.attack("JW-10")
def test_a_narrower_refresh_gives_less_at_userinfo(idp: Idp, started: Started) -> None:
    app = idp.register()
    tokens = idp.grant(app, started, scope="openid profile email")
    narrow = idp.refresh(app, tokens["refresh_token"], scope="openid email")[1]
    assert set(idp.userinfo(narrow["access_token"])[1]) == {"sub", "email", "email_verified"}


def test_what_is_not_known_is_left_out(idp: Idp) -> None:
    app = idp.register(scope="openid profile email address phone roles")
    started = idp.session(idp.person("bare", email=None, claims={"name": "", "address": {}}))
    tokens = idp.grant(app, started, scope="openid profile email address phone roles")
    body = idp.userinfo(tokens["access_token"])[1]
    assert set(body) == {"sub", "preferred_username", "updated_at"}


def test_single_claims_go_where_they_were_asked_for(
    idp: Idp, alice: User, started: Started
) -> None:
    app = idp.register(scope="openid profile email roles")
    tokens = idp.grant(
        app,
        started,
        claims='{"userinfo":{"name":{"essential":true},"x":null},'
        '"id_token":{"email":null,"auth_time":{"essential":true},"acr":{"value":"aal9"}}}',
    )
    assert idp.userinfo(tokens["access_token"])[1] == {"sub": alice.id, "name": "Alice Example"}
    told = claims_of(tokens["id_token"])
    assert told["email"] == "alice@example.com"
    assert told["acr"] == "aal1"
    assert not {"name", "x", "email_verified"} & set(told)
    # Also after a refresh.
    refreshed = idp.refresh(app, tokens["refresh_token"])[1]
    assert idp.userinfo(refreshed["access_token"])[1]["name"] == "Alice Example"
    assert claims_of(refreshed["id_token"])["email"] == "alice@example.com"


@pytest.mark.attack("JW-10")
def test_single_claims_are_no_way_around_the_scopes_an_app_may_have(
    idp: Idp, alice: User, started: Started
) -> None:
    app = idp.register(scope="openid email")
    every = ",".join(f'"{name}":null' for name in claims.SUPPORTED)
    tokens = idp.grant(app, started, claims=f'{{"userinfo":{{{every}}},"id_token":{{{every}}}}}')
    assert set(idp.userinfo(tokens["access_token"])[1]) == {"sub", "email", "email_verified"}
    assert not set(claims_of(tokens["id_token"])) & (set(claims.SUPPORTED) - set(BY_SCOPE["email"]))


@pytest.mark.attack("JW-10")
def test_single_claims_need_the_persons_consent_like_their_scopes(
    idp: Idp, started: Started
) -> None:
    app = idp.register(first_party=0)
    browser = idp.signed_in_browser(started)

    remember_consent(idp, started, app, "openid")
    for place in ("userinfo", "id_token"):
        asked = Flow(app).parameters(claims=f'{{"{place}":{{"email":null}}}}', prompt="none")
        assert idp.authorize(browser, asked)["error"] == "consent_required"
    remember_consent(idp, started, app, "email")
    assert "code" in idp.authorize(browser, asked)


def test_userinfo_shows_what_is_true_now(idp: Idp, alice: User, started: Started) -> None:
    app = idp.register(scope="openid profile email roles")
    tokens = idp.grant(app, started, scope="openid profile email roles")
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, alice.id)
        queries.set_claims(unit, user, {"name": "Alice Other"}, ADMIN)
        queries.set_email(unit, user, "new@example.com", ADMIN)
        queries.set_roles(unit, user, [], ADMIN)
    body = idp.userinfo(tokens["access_token"])[1]
    assert (body["name"], body["email"]) == ("Alice Other", "new@example.com")
    assert not {"roles", "permissions", "given_name"} & set(body)

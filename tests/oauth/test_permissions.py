"""Scopes that only roles give (row K6): nobody passes on what they do not have."""

import pytest

from idp.users import queries
from idp.users.model import Role, User
from idp.users.roles import remove
from tests.harness.provider import ADMIN, Idp, Registered, Started
from tests.oauth.asking import Request


@pytest.fixture
def app(idp: Idp) -> Registered:
    with idp.work.begin() as unit:
        queries.define_role(unit, "reader", ["docs:read"])
        queries.define_role(unit, "editor", ["docs:read", "docs:write"])
    return idp.register(scope="openid docs:read docs:write free")


def signed_in(idp: Idp, name: str, *roles: str) -> Started:
    return idp.session(idp.person(name, roles=roles))


@pytest.mark.parametrize(
    "asked", ["openid docs:read docs:write free", None], ids=["asked", "whole"]
)
@pytest.mark.parametrize(
    ("roles", "given"),
    [
        ((), "openid free"),
        (("reader",), "openid docs:read free"),
        (("editor",), "openid docs:read docs:write free"),
    ],
)
def test_a_person_gives_an_app_only_what_their_roles_allow(
    idp: Idp, app: Registered, asked: str | None, roles: tuple[str, ...], given: str
) -> None:
    tokens = idp.grant(app, signed_in(idp, "alice", *roles), scope=asked)
    assert tokens["scope"] == given
    assert idp.post("/introspect", app, token=tokens["access_token"])[1]["scope"] == given
    assert idp.refresh(app, tokens["refresh_token"])[1]["scope"] == given


def test_the_same_holds_on_the_way_over_the_pages(idp: Idp, app: Registered) -> None:
    started = signed_in(idp, "alice", "reader")
    browser = idp.signed_in_browser(started)
    for scope in ("openid docs:read docs:write", None):
        request = Request(idp, browser, app, scope=scope, prompt="consent")
        assert request.allowed(started).step == "code"
    with idp.work.read() as unit:
        scopes = unit.connection.exec_driver_sql("SELECT scope FROM authorizations").scalars()
        assert not [scope for scope in scopes if "docs:write" in scope]


def test_a_permission_that_is_taken_away_ends_what_rested_on_it(idp: Idp, app: Registered) -> None:
    started = signed_in(idp, "alice", "editor")
    resting = idp.grant(app, started, scope="openid docs:write")
    free = idp.grant(app, started, scope="openid free")
    with idp.work.begin() as unit:
        queries.set_roles(unit, unit.orm.get_one(User, started.session.user_id), ["reader"], ADMIN)
    assert not idp.is_active(app, resting["access_token"])
    assert idp.refresh(app, resting["refresh_token"])[1]["error"] == "invalid_grant"
    assert idp.refresh(app, free["refresh_token"])[0] == 200


def test_a_request_for_nothing_but_what_one_may_not_give_is_denied(
    idp: Idp, app: Registered
) -> None:
    started = signed_in(idp, "alice")
    browser = idp.signed_in_browser(started)
    assert Request(idp, browser, app, scope="docs:write").step == "access_denied"
    request = Request(idp, browser, app, scope="docs:write", prompt="consent")
    assert request.allowed(started).step == "access_denied"
    assert idp.count("authorizations") == 0


@pytest.mark.attack("AD-04")
@pytest.mark.parametrize("how", ["the last role loses it", "the last role is deleted"])
def test_what_the_last_role_gave_is_nobodys_and_not_everybodys(either_idp: Idp, how: str) -> None:
    idp = either_idp
    with idp.work.begin() as unit:
        queries.define_role(unit, "payer", ["payments:approve"])
    app = idp.register(scope="openid payments:approve")
    anna, asked = idp.person("anna"), "openid payments:approve"
    assert idp.grant(app, idp.session(anna), scope=asked)["scope"] == "openid"
    with idp.work.begin() as unit:
        if how == "the last role loses it":
            queries.define_role(unit, "payer", [])
        else:
            queries.hold_roles(unit, to_define=True)
            remove(unit, unit.orm.get_one(Role, "payer"), ADMIN)
    assert idp.grant(app, idp.session(anna), scope=asked)["scope"] == "openid"
    with idp.work.begin() as unit:
        queries.define_role(unit, "payer", ["payments:approve"])
        queries.set_roles(unit, queries.by_id(unit, anna.id), ["payer"], ADMIN)
    assert idp.grant(app, idp.session(anna), scope=asked)["scope"] == asked

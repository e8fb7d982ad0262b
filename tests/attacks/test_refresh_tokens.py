"""Refresh tokens: one at a time, and what becomes of a stolen one (attack group RT)."""

from collections.abc import Iterator
from typing import Any

import pytest

from idp.clock import SECOND
from idp.oauth import clients
from idp.oauth.model import Client
from idp.policy.timeouts import ABSOLUTE_DEFAULT
from tests.attacks.wire import Wire, basic
from tests.harness.provider import ADMIN, Idp, Registered, settings_for

GRACE = 10 * SECOND


@pytest.fixture
def strict(idp: Idp) -> Iterator[Idp]:
    """The same provider without a grace: every token works once."""
    made = Idp(settings_for(idp.settings.database_url, tokens={"refresh_grace": 0}), idp.clock)
    yield made
    made.close()


def change(idp: Idp, client: Registered, **values: Any) -> None:
    with idp.work.begin() as unit:
        clients.change(unit, unit.orm.get_one(Client, client.id), actor=ADMIN, **values)


@pytest.mark.attack("RT-01")
def test_a_token_that_comes_back_after_its_successor_was_used_ends_its_family(
    either_idp: Idp,
) -> None:
    idp = either_idp
    app, other = idp.register(), idp.register()
    alice = idp.person()
    started = idp.session(alice)
    stolen = idp.grant(app, started)
    bystanders = [
        idp.grant(app, started),
        idp.grant(other, started),
        idp.grant(app, idp.session(alice)),
        idp.grant(app, idp.session(idp.person("bob"))),
    ]
    second = idp.refresh(app, stolen["refresh_token"])[1]
    third = idp.refresh(app, second["refresh_token"])[1]
    assert idp.refresh(app, stolen["refresh_token"])[1]["error"] == "invalid_grant"
    for tokens in (stolen, second, third):
        assert not idp.is_active(app, tokens["access_token"])
        assert not idp.is_active(app, tokens["refresh_token"])
        assert idp.refresh(app, tokens["refresh_token"])[0] == 400
    for tokens, client in zip(bystanders, (app, other, app, app), strict=True):
        assert idp.is_active(client, tokens["access_token"])
        assert idp.refresh(client, tokens["refresh_token"])[0] == 200
    [event] = idp.events("token.reuse_detected")
    assert (event["reason"], event["user_id"], event["session_id"]) == (
        "refresh_reused",
        alice.id,
        started.session.id,
    )


@pytest.mark.attack("RT-01")
def test_a_token_that_comes_back_after_the_grace_ends_its_family(idp: Idp) -> None:
    app = idp.register()
    kept, taken = (idp.grant(app, idp.session(idp.person(name))) for name in ("kept", "taken"))
    successors = [idp.refresh(app, tokens["refresh_token"])[1] for tokens in (kept, taken)]
    idp.clock.advance(GRACE - 1)
    again = idp.refresh(app, kept["refresh_token"])[1]
    assert again["refresh_token"] == successors[0]["refresh_token"]
    idp.clock.advance(1)
    assert idp.refresh(app, taken["refresh_token"])[1]["error"] == "invalid_grant"
    assert not idp.is_active(app, successors[1]["refresh_token"])


@pytest.mark.attack("RT-01")
def test_the_grace_begins_with_the_first_answer_and_is_not_prolonged(idp: Idp) -> None:
    app = idp.register()
    first = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    assert idp.refresh(app, first)[0] == 200
    for _ in range(3):
        idp.clock.advance(GRACE // 4)
        assert idp.refresh(app, first)[0] == 200
    idp.clock.advance(GRACE // 4)
    assert idp.refresh(app, first)[0] == 400


@pytest.mark.attack("RT-01")
def test_a_refresh_token_of_another_app_is_refused_and_stays_good(idp: Idp) -> None:
    app, other = idp.register(), idp.register()
    token = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    assert idp.refresh(other, token) == (400, {"error": "invalid_grant"})
    second = idp.refresh(app, token)[1]["refresh_token"]
    third = idp.refresh(app, second)[1]["refresh_token"]
    # Nor can it end the family with one that is spent.
    assert idp.refresh(other, token) == (400, {"error": "invalid_grant"})
    assert idp.refresh(app, third)[0] == 200


@pytest.mark.attack("RT-05")
def test_a_hundred_rotations_in_one_instant_leave_one_good_token(strict: Idp) -> None:
    idp = strict
    app, started = idp.register(), idp.session(idp.person())
    tokens = [idp.grant(app, started)["refresh_token"]]
    for _ in range(100):
        status, answer = idp.refresh(app, tokens[-1])
        assert status == 200
        tokens.append(answer["refresh_token"])
    assert len(set(tokens)) == 101
    assert [idp.is_active(app, token) for token in tokens] == [False] * 100 + [True]
    assert idp.refresh(app, tokens[-2])[1]["error"] == "invalid_grant"
    assert idp.refresh(app, tokens[-1])[1]["error"] == "invalid_grant"


@pytest.mark.attack("RT-08")
def test_a_refresh_without_the_apps_own_credentials_is_refused_and_spends_nothing(
    idp: Idp, wire: Wire
) -> None:
    app, other = idp.register(), idp.register()
    public = idp.register(
        token_endpoint_auth_method="none", grant_types=["authorization_code", "refresh_token"]
    )
    token = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token}
    wrong = Registered(app.id, f"{app.secret}x", "")
    for extra, headers in (
        ({}, {}),
        ({"client_id": app.id}, {}),
        ({"client_id": app.id, "client_secret": ""}, {}),
        ({"client_id": app.id, "client_secret": str(app.secret)}, {}),
        ({}, {"authorization": basic(wrong)}),
        ({}, {"authorization": basic(Registered(app.id, str(other.secret), ""))}),
        ({}, {"authorization": basic(Registered("cli_unknown", str(app.secret), ""))}),
        ({}, {"authorization": "Basic"}),
        ({}, {"authorization": "Basic !"}),
        ({}, {"authorization": f"Bearer {app.secret}"}),
    ):
        answer = wire.post("/token", form | extra, **headers)
        assert (answer.status, answer.error) == (401, "invalid_client"), (extra, headers)
        assert (answer.header("www-authenticate") or "").startswith("Basic ")
    for client in (other, public):
        assert idp.refresh(client, token)[1]["error"] == "invalid_grant"
    assert idp.events("token.refreshed", "token.reuse_detected") == []
    assert idp.refresh(app, token)[0] == 200


@pytest.mark.attack("RT-11")
def test_an_offline_token_dies_when_its_app_loses_offline_access(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started, scope="openid offline_access")
    idp.clock.advance(2 * ABSOLUTE_DEFAULT)
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200
    change(idp, app, scope="openid profile")
    assert idp.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"


@pytest.mark.attack("RT-13")
def test_a_refresh_never_widens_the_scope(idp: Idp) -> None:
    app = idp.register(scope="openid profile email roles")
    tokens = idp.grant(app, idp.session(idp.person()), scope="openid email")
    current = tokens["refresh_token"]
    for wider in (
        "openid email profile",
        "profile",
        "openid roles",
        "openid offline_access",
        "openid email admin",
        "OPENID",
        "openid\u00a0email",
        "openid  email",
        "openid\temail",
        "openid\nemail",
        " openid",
        " ",
        "openid email ",
        "*",
    ):
        status, answer = idp.refresh(app, current, scope=wider)
        assert (status, answer["error"]) == (400, "invalid_scope"), wider
    narrow = idp.refresh(app, current, scope="email")[1]
    assert narrow["scope"] == "email"
    assert "id_token" not in narrow
    assert idp.userinfo(narrow["access_token"])[0] == 403
    back = idp.refresh(app, narrow["refresh_token"], scope="email openid email")[1]
    assert back["scope"] == "email openid"
    assert idp.refresh(app, back["refresh_token"])[1]["scope"] == "openid email"


@pytest.mark.attack("RT-13")
def test_an_app_acting_for_itself_gets_no_scope_it_has_not_registered(idp: Idp) -> None:
    app = idp.register(scope="openid email read write")
    for wider in ("read admin", "openid", "email", "offline_access", " ", "read  write", "READ"):
        status, answer = idp.token(app, grant_type="client_credentials", scope=wider)
        assert (status, answer["error"]) == (400, "invalid_scope"), wider
    assert idp.token(app, grant_type="client_credentials")[1]["scope"] == "read write"
    answer = idp.token(app, grant_type="client_credentials", scope="write write")[1]
    assert answer["scope"] == "write"
    assert "refresh_token" not in answer


@pytest.mark.attack("RT-14")
def test_revoking_one_refresh_token_ends_its_family_and_no_other(either_idp: Idp) -> None:
    idp = either_idp
    app, started = idp.register(), idp.session(idp.person())
    offline = {"scope": "openid offline_access"}
    one, sibling = idp.grant(app, started, **offline), idp.grant(app, started, **offline)
    later = idp.refresh(app, one["refresh_token"])[1]
    assert idp.post("/revoke", app, token=later["refresh_token"]) == (200, {})
    for token in (one["access_token"], later["access_token"], later["refresh_token"]):
        assert not idp.is_active(app, token)
    assert idp.refresh(app, later["refresh_token"])[0] == 400
    assert idp.is_active(app, sibling["access_token"])
    assert idp.refresh(app, sibling["refresh_token"])[0] == 200


@pytest.mark.attack("RT-16")
def test_an_offline_token_stays_its_persons_whoever_uses_the_browser_next(
    idp: Idp,
) -> None:
    app, alice, bob = idp.register(), idp.person("alice"), idp.person("bob")
    browser = idp.signed_in_browser(idp.session(alice))
    of_alice = idp.grant(app, idp.session(alice), scope="openid offline_access")
    idp.clock.advance(2 * ABSOLUTE_DEFAULT)
    browser.cookies.set("idp_session", idp.session(bob).secret, domain="localhost.local")
    refreshed = idp.refresh(app, of_alice["refresh_token"])[1]
    assert idp.userinfo(refreshed["access_token"])[1]["sub"] == alice.id
    status, body = idp.post("/introspect", app, token=refreshed["refresh_token"])
    assert (status, body["sub"], body["username"]) == (200, alice.id, "alice")


def test_nothing_that_is_not_a_refresh_token_is_taken_for_one(idp: Idp) -> None:
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    good = tokens["refresh_token"]
    for wrong in (
        good[:-1],
        good + "A",
        good[:40] + ("A" if good[40] != "A" else "B") + good[41:],
        "rt_" + "A" * 70,
        "rt_" + "!" * 70,
        "rt_" + "ü" * 70,
        good.replace("rt_", "at_"),
        tokens["access_token"],
        tokens["id_token"],
    ):
        assert idp.refresh(app, wrong) == (400, {"error": "invalid_grant"}), wrong
    assert idp.refresh(app, good)[0] == 200

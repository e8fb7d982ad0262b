"""`offline_access` outlives a session's expiry, and never its end (OpenID Connect Core section 11)."""

import pytest

from idp.clock import DAY, SECOND
from idp.oauth import authorizations
from idp.policy.assurance import LADDER, REMEMBERED, Authentication
from idp.policy.timeouts import ABSOLUTE_DEFAULT, IDLE_DEFAULT
from idp.sessions import expiry
from tests.flows.apps import claims_of
from tests.harness.provider import Idp

OFFLINE = "openid offline_access"


@pytest.mark.parametrize("after", [IDLE_DEFAULT, ABSOLUTE_DEFAULT], ids=["idle", "absolute"])
@pytest.mark.parametrize("worker", ["before the worker saw it", "after the worker ended it"])
def test_a_session_that_ran_out_leaves_its_offline_grants(
    either_idp: Idp, after: int, worker: str
) -> None:
    idp = either_idp
    app, started = idp.register(), idp.session(idp.person())
    online, offline = idp.grant(app, started), idp.grant(app, started, scope=OFFLINE)
    before = claims_of(offline["id_token"])
    idp.clock.advance(after)
    if worker.startswith("after"):
        with idp.work.begin() as unit:
            assert expiry.end_expired(unit) == 1
    assert idp.refresh(app, online["refresh_token"])[0] == 400
    status, refreshed = idp.refresh(app, offline["refresh_token"])
    assert status == 200
    assert idp.userinfo(refreshed["access_token"])[0] == 200
    claims = claims_of(refreshed["id_token"])
    for name in ("sub", "sid", "auth_time", "acr", "amr", "aud"):
        assert claims[name] == before[name]
    with idp.work.read() as unit:
        [grant] = authorizations.offline_of(unit, started.session.user_id)
    assert (grant.client_id, grant.scope) == (app.id, OFFLINE)


@pytest.mark.parametrize("reason", ["signed_out", "limit", "admin", "password_changed", "replaced"])
def test_a_session_that_was_ended_takes_its_offline_grants_along(idp: Idp, reason: str) -> None:
    app, started = idp.register(), idp.session(idp.person())
    offline = idp.grant(app, started, scope=OFFLINE)
    idp.end(started.session.id, reason)
    assert idp.refresh(app, offline["refresh_token"])[1]["error"] == "invalid_grant"
    assert not idp.is_active(app, offline["access_token"])
    [event] = idp.events("authorization.ended")
    assert event["reason"] == "session_ended"
    with idp.work.read() as unit:
        assert authorizations.offline_of(unit, started.session.user_id) == []


def test_a_family_ends_with_its_lifetime_however_often_it_was_refreshed(idp: Idp) -> None:
    app, started = idp.register(refresh_token_lifetime=3 * 86_400), idp.session(idp.person())
    token = idp.grant(app, started, scope=OFFLINE)["refresh_token"]
    for _ in range(2):
        idp.clock.advance(DAY)
        status, body = idp.refresh(app, token)
        assert status == 200
        token = body["refresh_token"]
    idp.clock.advance(DAY - SECOND)
    assert idp.is_active(app, token)
    idp.clock.advance(SECOND)
    assert not idp.is_active(app, token)
    assert idp.refresh(app, token)[1]["error"] == "invalid_grant"


def test_an_offline_refresh_brings_no_session_back(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    offline = idp.grant(app, started, scope=OFFLINE)
    browser = idp.signed_in_browser(started)
    idp.clock.advance(ABSOLUTE_DEFAULT)
    assert idp.refresh(app, offline["refresh_token"])[0] == 200
    response = browser.get("/account/sessions")
    assert response.status_code == 303
    assert response.headers["location"].startswith("/account/sign-in")
    assert idp.count("sessions") == 1


def test_offline_access_is_given_only_when_it_is_asked_for(idp: Idp) -> None:
    app, started = idp.register(), idp.session(idp.person())
    assert "offline_access" not in idp.grant(app, started, scope=None)["scope"]
    assert "offline_access" in idp.grant(app, started, scope=OFFLINE)["scope"]


@pytest.mark.parametrize("bound", ["temporary", "remembered"])
def test_a_session_that_is_bounded_on_purpose_leaves_nothing(idp: Idp, bound: str) -> None:
    remembered = Authentication(REMEMBERED, (), LADDER[0])
    user = idp.person()
    started = idp.session(user, proved=[remembered]) if bound == "remembered" else idp.session(user)
    if bound == "temporary":
        idp.execute("UPDATE sessions SET temporary = 1")
    app = idp.register()
    tokens = idp.grant(app, started, scope=OFFLINE)
    assert tokens["scope"] == "openid"
    idp.clock.advance(ABSOLUTE_DEFAULT)
    assert idp.refresh(app, tokens["refresh_token"])[0] == 400

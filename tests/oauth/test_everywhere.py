"""Signing out everywhere, and what a change of roles does to a session's secret."""

from idp.events.actor import SYSTEM
from idp.policy.timeouts import ABSOLUTE_DEFAULT
from idp.sessions import lifecycle
from idp.users import queries
from idp.users.model import User
from tests.harness.provider import Flow, Idp


def test_offline_access_outlives_expiry_but_not_signing_out_everywhere(either_idp: Idp) -> None:
    idp = either_idp
    alice, app = idp.person(), idp.register()
    tokens = idp.grant(app, idp.session(alice), scope="openid offline_access")
    idp.clock.advance(2 * ABSOLUTE_DEFAULT)
    status, tokens = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    with idp.work.begin() as unit:
        lifecycle.end_expired(unit)
    assert idp.is_active(app, tokens["refresh_token"])
    with idp.work.begin() as unit:
        lifecycle.end_all_of(unit, alice.id, reason="signed_out_everywhere", actor=SYSTEM)
    assert not idp.is_active(app, tokens["refresh_token"])
    assert not idp.is_active(app, tokens["access_token"])


def test_the_session_that_stays_keeps_its_grants(either_idp: Idp) -> None:
    idp = either_idp
    alice, app = idp.person(), idp.register()
    kept, other = idp.session(alice), idp.session(alice)
    staying = idp.grant(app, kept, scope="openid offline_access")
    leaving = idp.grant(app, other, scope="openid offline_access")
    with idp.work.begin() as unit:
        lifecycle.end_all_of(
            unit,
            alice.id,
            reason="signed_out_everywhere",
            actor=SYSTEM,
            keeping=kept.session.id,
        )
    assert idp.is_active(app, staying["refresh_token"])
    assert not idp.is_active(app, leaving["refresh_token"])


def test_a_change_of_roles_changes_the_secret_at_the_next_use(either_idp: Idp) -> None:
    idp = either_idp
    alice = idp.person()
    started, flow = idp.session(alice), Flow(idp.register())
    with idp.work.begin() as unit:
        queries.define_role(unit, "clerk", ["invoices:read"])
        queries.set_roles(unit, unit.orm.get_one(User, alice.id), ["clerk"], SYSTEM)
    browser = idp.signed_in_browser(started)
    response = browser.get("/authorize", params=flow.parameters())
    assert "code=" in response.headers["location"]
    assert "idp_session=" in response.headers["set-cookie"]
    idp.clock.advance(lifecycle.ROTATION_OVERLAP + 1)
    old = idp.signed_in_browser(started).get("/authorize", params=flow.parameters(prompt="none"))
    assert "error=login_required" in old.headers["location"]

"""Signing out everywhere, and what a change of roles does to a session's secret."""

from idp.clock import SECOND
from idp.events.actor import SYSTEM
from idp.policy.timeouts import ABSOLUTE_DEFAULT
from idp.sessions import expiry, lifecycle, rotation
from idp.sessions.model import Session
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
        expiry.end_expired(unit)
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
    # The new one is seen, and a minute later the old one is nothing.
    assert "code=" in browser.get("/authorize", params=flow.parameters()).headers["location"]
    idp.clock.advance(rotation.ROTATION_OVERLAP + 1)
    old = idp.signed_in_browser(started).get("/authorize", params=flow.parameters(prompt="none"))
    assert "error=login_required" in old.headers["location"]


def test_staying_signed_in_moves_the_idle_deadline_and_no_other(either_idp: Idp) -> None:
    idp = either_idp
    started = idp.session(idp.person())
    token = idp.grant(idp.register(), started, scope="openid sessions")["access_token"]
    idp.clock.advance(200 * SECOND)
    answer = idp.browser().post(
        f"/api/v1/users/sessions/{started.session.id}/extend",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    with idp.work.read() as unit:
        session = unit.orm.get_one(Session, started.session.id)
        assert session.idle_at == idp.clock.now() + session.idle_timeout
        assert session.expires_at == started.session.expires_at
    assert len(idp.events("session.extended")) == 1


def test_nothing_extends_a_session_that_ended(either_idp: Idp) -> None:
    idp = either_idp
    started = idp.session(idp.person())
    idp.end(started.session.id)
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, started.session.id)
        assert not lifecycle.extend(unit, session, SYSTEM)
    assert idp.events("session.extended") == []

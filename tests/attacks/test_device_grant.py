"""What was tried on the device grant of others (XD-01, XD-02, XD-04), and the answers to it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.oauth import authorizations, clients, consent, devices
from idp.oauth.model import Client, Consent
from idp.policy.assurance import PAIRING, Authentication
from idp.sessions import lifecycle, pairing_room
from idp.sessions.model import Pairing, Session
from idp.storage.database import Write
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, rules
from idp.users.model import User
from tests.attacks.scene import Scene, somebody
from tests.harness.device_app import decide, device_app, open_code
from tests.harness.provider import ADMIN, PASSWORD, Idp
from tests.web.html import Page


@pytest.mark.attack("XD-01")
def test_the_first_to_open_a_code_has_it_and_nobody_else_decides(scene: Scene) -> None:
    page = scene.open(scene.alice)
    refused = scene.open(scene.mallory)
    assert refused.has("error")
    assert "Terminal" not in refused.text
    address = page.form(button="device-allow").action
    assert scene.mallory.browser.get(address).status_code == 404
    token = refused.form(button="device-open").fields["csrf"]
    for action in ("allow", "deny", "report"):
        response = scene.mallory.browser.post(address, data={"csrf": token, "action": action})
        assert response.status_code == 404
    assert scene.device.wait()[1]["error"] == "authorization_pending"
    # Another browser of the same person is another session, and has to start again too.
    elsewhere = scene.idp.signed_in_browser(scene.idp.session(scene.alice.user))
    assert open_code(elsewhere, scene.device.user_code).has("error")
    decide(scene.alice.browser, page, "device-allow")
    assert scene.device.wait()[0] == 200


@pytest.mark.attack("XD-07")
def test_the_first_is_told_that_somebody_else_opened_the_code(scene: Scene) -> None:
    page = scene.open(scene.alice)
    assert not page.has("contested")
    # Said once, however often somebody tries.
    for _ in range(3):
        scene.open(scene.mallory)
    address = page.form(button="device-allow").action
    assert Page(scene.alice.browser.get(address)).has("contested")
    assert len(scene.idp.events("pairing.contested")) == 1


@pytest.mark.attack("XD-02")
@pytest.mark.parametrize("no", ["device-deny", "device-report"])
def test_back_after_a_no_and_then_a_yes_is_still_a_no(scene: Scene, no: str) -> None:
    page = scene.open(scene.alice)
    decide(scene.alice.browser, page, no)
    after = decide(scene.alice.browser, page, "device-allow")
    assert not after.has("device-allow")
    for _ in range(3):
        assert scene.device.wait()[1]["error"] == "access_denied"
    # As long as anybody could ask: denied, and then not known.
    scene.idp.clock.advance(HOUR)
    assert scene.device.poll()[1]["error"] == "access_denied"
    scene.idp.clock.advance(DAY)
    with scene.idp.work.begin() as unit:
        pairing_room.delete_expired(unit)
    assert scene.device.poll()[1]["error"] == "invalid_grant"
    assert scene.idp.count("authorizations") == 0


@pytest.mark.parametrize("button", ["device-deny", "device-report"])
def test_what_was_allowed_goes_with_the_yes_that_is_taken_back(scene: Scene, button: str) -> None:
    page = scene.open(scene.alice)
    decide(scene.alice.browser, page, "device-allow")
    assert scene.idp.count("consents") == 1
    decide(scene.alice.browser, page, button)
    assert scene.idp.count("consents") == 0
    assert scene.device.wait()[1]["error"] == "access_denied"


def test_what_an_app_has_already_is_not_taken_back_with_a_further_yes(scene: Scene) -> None:
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    status, tokens = scene.device.wait()
    assert status == 200
    scene.device.ask()
    page = decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    decide(scene.alice.browser, page, "device-deny")
    assert scene.idp.count("consents") == 1
    assert scene.idp.userinfo(tokens["access_token"])[0] == 200


@pytest.mark.attack("XD-02")
@pytest.mark.parametrize("button", ["device-deny", "device-report"])
def test_what_a_taken_back_yes_added_is_not_allowed_any_more(scene: Scene, button: str) -> None:
    def allowed() -> str:
        with scene.idp.work.read() as unit:
            return unit.orm.scalars(select(Consent.scope)).one()

    scene.device.ask(scope="openid profile")
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    assert scene.device.wait()[0] == 200
    scene.device.ask(scope="openid email")
    page = scene.open(scene.alice)
    decide(scene.alice.browser, page, "device-allow")
    assert allowed() == "openid profile email"
    decide(scene.alice.browser, page, button)
    assert allowed() == "openid profile"


@pytest.mark.attack("XD-02")
def test_a_yes_may_be_taken_back_until_the_device_has_come_for_it(scene: Scene) -> None:
    page = decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    page = decide(scene.alice.browser, page, "device-deny")
    assert "Nothing was given" in page.text
    assert scene.device.wait()[1]["error"] == "access_denied"


@pytest.mark.attack("XD-02")
def test_what_was_given_is_not_taken_back_by_the_old_page(scene: Scene) -> None:
    page = decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    assert scene.device.wait()[0] == 200
    after = decide(scene.alice.browser, page, "device-deny")
    assert "is signed in" in after.text
    assert not scene.idp.events("pairing.denied")


Taking = Callable[[UnitOfWork, Scene], object]


def _user(unit: UnitOfWork, scene: Scene) -> User:
    return unit.orm.get_one(User, scene.alice.user.id)


def _client(unit: UnitOfWork, scene: Scene) -> Client:
    return unit.orm.get_one(Client, scene.device.client.id)


TAKING: dict[str, Taking] = {
    "user_not_active": lambda u, s: queries.set_status(u, _user(u, s), "locked", ADMIN),
    "session_ended": lambda u, s: lifecycle.end(u, [s.alice.id], reason="signed_out", actor=ADMIN),
    "consent_revoked": lambda u, s: consent.revoke(
        u, s.alice.user.id, s.device.client.id, actor=ADMIN
    ),
    "nothing_granted": lambda u, s: clients.change(u, _client(u, s), actor=ADMIN, scope="email"),
    "assurance": lambda u, s: rules.set_rule(
        u, "assurance", {"client": s.device.client.id}, {"acr": "aal2"}, ADMIN
    ),
}


@pytest.mark.attack("XD-04")
@pytest.mark.parametrize("reason", TAKING)
def test_what_is_taken_away_after_the_yes_is_not_given_at_the_next_poll(
    scene: Scene, reason: str
) -> None:
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    with scene.idp.work.begin() as unit:
        TAKING[reason](unit, scene)
    assert scene.device.wait()[1]["error"] == "access_denied"
    assert scene.device.wait()[1]["error"] == "access_denied"
    assert [one["reason"] for one in scene.idp.events("pairing.denied")] == [reason]
    assert scene.idp.count("authorizations") == 0


@pytest.mark.attack("XD-04")
def test_an_app_that_is_disabled_while_its_poll_is_answered_is_given_nothing(scene: Scene) -> None:
    """Its poll was taken a moment before; the next one is refused at the door."""
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    scene.idp.execute("UPDATE clients SET disabled_at = 1")
    with scene.idp.work.read() as unit:
        [asked] = unit.orm.query(Pairing).all()
    devices.issue(scene.idp.work, pairing_id=asked.id)
    assert [one["reason"] for one in scene.idp.events("pairing.denied")] == ["client_disabled"]
    assert scene.idp.count("authorizations") == 0


@pytest.mark.attack("XD-04")
def test_what_is_taken_away_between_session_and_tokens_counts_too(scene: Scene) -> None:
    """The session was made and the answer lost: the device asks again, and the person is locked."""
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    devices.issue(scene.idp.work, pairing_id=_pairing_id(scene.idp))
    with scene.idp.work.begin() as unit:
        queries.set_status(unit, _user(unit, scene), "disabled", ADMIN)
    assert scene.device.wait()[1]["error"] == "invalid_grant"


@pytest.mark.attack("XD-04")
def test_what_ends_while_the_tokens_are_made_gives_none(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the facts and the commit: an app with tokens would not be told of that end."""
    redeem = authorizations.redeem

    def struck(*args: Any, **values: Any) -> Write:
        monkeypatch.setattr(authorizations, "redeem", redeem)
        with scene.idp.work.read() as unit:
            made = unit.orm.scalars(select(Session.id).where(Session.origin == "device")).one()
        scene.idp.end(made)
        return redeem(*args, **values)

    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    monkeypatch.setattr(authorizations, "redeem", struck)
    assert scene.device.wait()[1]["error"] == "invalid_grant"
    assert not scene.idp.events("token.issued")


def _pairing_id(idp: Idp) -> str:
    with idp.work.read() as unit:
        return str(unit.connection.exec_driver_sql("SELECT id FROM pairings").scalar_one())


@pytest.mark.attack("WB-02")
def test_every_form_of_it_needs_its_token(scene: Scene) -> None:
    page = scene.open(scene.alice)
    address = page.form(button="device-allow").action
    stolen = scene.open(scene.mallory).form(button="device-open").fields["csrf"]
    for token in ({}, {"csrf": "A" * 43}, {"csrf": stolen}):
        for path, values in (
            ("/device", {"user_code": scene.device.user_code}),
            (address, {"action": "allow"}),
        ):
            assert scene.alice.browser.post(path, data=values | token).status_code == 403
    assert scene.device.wait()[1]["error"] == "authorization_pending"


@pytest.mark.attack("XD-01")
def test_whoever_is_not_signed_in_learns_nothing_of_a_code(scene: Scene) -> None:
    stranger = scene.idp.browser()
    known = stranger.get("/device", params={"user_code": scene.device.user_code})
    unknown = stranger.get("/device", params={"user_code": "BBBB-BBBB"})
    for response in (known, unknown):
        assert response.status_code == 303
        assert response.headers["location"].startswith("/account/sign-in?next=%2Fdevice")
    assert stranger.post("/device", data={"user_code": scene.device.user_code}).status_code == 303
    assert not scene.idp.events("pairing.claimed")


@pytest.mark.attack("XD-08")
def test_a_yes_needs_a_proof_of_late_and_a_no_needs_none(scene: Scene) -> None:
    scene.idp.clock.advance(6 * MINUTE)
    page = scene.open(scene.alice)
    response = page.press(scene.alice.browser, "device-allow")
    assert response.headers["location"].startswith("/step-up?pairing=")
    assert scene.device.wait()[1]["error"] == "authorization_pending"
    proof = Page(scene.alice.browser.get(response.headers["location"]))
    back = proof.press(scene.alice.browser, "factor-submit", password=PASSWORD)
    assert back.headers["location"] == page.form(button="device-allow").action
    page = Page(scene.alice.browser.get(back.headers["location"]))
    decide(scene.alice.browser, page, "device-allow")
    assert scene.device.wait()[0] == 200
    scene.idp.clock.advance(6 * MINUTE)
    scene.device.ask()
    decide(scene.alice.browser, scene.open(scene.alice), "device-deny")
    assert scene.device.wait()[1]["error"] == "access_denied"


@pytest.mark.attack("XD-08")
def test_a_proof_for_another_persons_device_is_not_asked_for(scene: Scene) -> None:
    page = scene.open(scene.alice)
    pairing_id = page.form(button="device-allow").action.rpartition("/")[2]
    assert scene.mallory.browser.get(f"/step-up?pairing={pairing_id}").status_code == 400


def test_nothing_from_a_network_that_was_reported_is_taken_for_a_day(scene: Scene) -> None:
    page = decide(scene.alice.browser, scene.open(scene.alice), "device-report")
    assert "Thank you" in page.text
    (event,) = scene.idp.events("pairing.reported")
    assert event["user_id"] == scene.alice.user.id
    scene.device.ask()
    assert "You reported" in scene.open(scene.alice).text
    # Others are not concerned, and neither is she the day after.
    assert scene.open(scene.mallory).has("device-allow")
    scene.idp.clock.advance(DAY)
    again = somebody(scene.idp, "later")
    scene.device.ask()
    assert scene.open(again).has("device-allow")


@pytest.mark.attack("RT-13")
def test_a_poll_cannot_ask_for_more(scene: Scene) -> None:
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    scene.idp.clock.advance(5 * SECOND)
    status, tokens = scene.device.poll(scope="openid profile email offline_access sessions")
    assert (status, tokens["scope"]) == (200, "openid profile")


@pytest.mark.attack("XD-08")
def test_a_session_that_another_device_let_in_lets_nobody_in(scene: Scene) -> None:
    """Being let in is no proof of one's own: there is no chain of devices."""
    let_in = scene.idp.session(scene.alice.user, proved=[Authentication(PAIRING, ("mca",), "aal2")])
    browser: TestClient = scene.idp.signed_in_browser(let_in)
    page = open_code(browser, scene.device.user_code)
    response = page.press(browser, "device-allow")
    assert response.headers["location"].startswith("/step-up?pairing=")


@pytest.mark.attack("XD-04")
def test_a_rule_of_proofs_again_and_again_holds_for_devices_from_the_first_token(
    scene: Scene,
) -> None:
    """One who must prove two factors every hour lets nothing in with one, or by an old approval."""
    page = scene.open(scene.alice)
    decide(scene.alice.browser, page, "device-allow")
    with scene.idp.work.begin() as unit:
        rules.set_rule(unit, "reauthentication", {}, {"every": 3_600, "acr": "aal2"}, ADMIN)
    assert scene.device.wait()[1]["error"] == "access_denied"
    assert [one["reason"] for one in scene.idp.events("pairing.denied")] == ["assurance"]


@pytest.mark.attack("XD-04")
def test_tokens_are_withheld_where_the_proof_behind_the_approval_is_too_old(scene: Scene) -> None:
    with scene.idp.work.begin() as unit:
        value = {"every": 300, "grace": 0}
        rules.set_rule(unit, "reauthentication", {"device_type": "terminal"}, value, ADMIN)
    scene.idp.clock.advance(4 * MINUTE)
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    scene.idp.clock.advance(2 * MINUTE)
    assert scene.device.wait()[1]["error"] == "interaction_required"


@pytest.mark.attack("XD-04")
def test_networks_of_one_app_hold_for_its_devices_too(scene: Scene) -> None:
    with scene.idp.work.begin() as unit:
        chosen = {"client": scene.device.client.id}
        rules.set_rule(unit, "networks", chosen, {"allow": ["203.0.113.0/24"]}, ADMIN)
    decide(scene.alice.browser, scene.open(scene.alice), "device-allow")
    assert scene.device.wait()[1]["error"] == "access_denied"
    assert [one["reason"] for one in scene.idp.events("pairing.denied")] == ["network_not_allowed"]


@pytest.mark.attack("AD-04")
def test_what_no_role_gives_of_management_a_device_does_not_get_either(idp: Idp) -> None:
    """Taking a right away from everybody must not hand it to everybody who types a code."""
    idp.execute("UPDATE roles SET permissions = '[]'")
    alice = somebody(idp, "alice")
    scope = "openid users:read keys:rotate"
    app = device_app(idp, management=1, scope=scope)
    app.ask(scope=scope)
    decide(alice.browser, open_code(alice.browser, app.user_code), "device-allow")
    status, tokens = app.wait()
    assert (status, tokens["scope"]) == (200, "openid")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert alice.browser.get("/api/v1/admin/users", headers=bearer).status_code in (401, 403)

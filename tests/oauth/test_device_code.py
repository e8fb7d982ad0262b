"""The device endpoints as the specification words them: requests, polling, every answer (RFC 8628)."""

import pytest
from sqlalchemy import select

from idp.clock import MINUTE, SECOND
from idp.oauth import devices
from idp.oauth.grants.device_code import DEVICE_CODE
from idp.sessions import pairing_room
from idp.sessions.model import Pairing
from idp.users import queries, rules
from tests.harness.device_app import DeviceApp, decide, device_app, open_code
from tests.harness.enrolled import with_totp
from tests.harness.provider import ADMIN, Idp
from tests.web.factors import BY_CODE


@pytest.fixture
def terminal(idp: Idp) -> DeviceApp:
    return device_app(idp)


def approve(idp: Idp, app: DeviceApp, username: str = "alice") -> None:
    browser = idp.signed_in_browser(idp.session(idp.person(username)))
    decide(browser, open_code(browser, app.user_code), "device-allow")


def test_the_metadata_names_the_endpoint_and_the_grant(idp: Idp) -> None:
    said = idp.browser().get("/.well-known/openid-configuration").json()
    assert said["device_authorization_endpoint"] == f"{idp.settings.issuer}/device_authorization"
    assert DEVICE_CODE in said["grant_types_supported"]


def test_codes_are_as_long_as_they_must_be_and_none_is_stored(
    idp: Idp, terminal: DeviceApp
) -> None:
    said = terminal.ask(scope="openid")
    assert len(said["device_code"]) >= 43
    assert len(said["user_code"]) == 9
    with idp.work.read() as unit:
        (row,) = unit.connection.exec_driver_sql("SELECT * FROM pairings").mappings()
    assert all(said[name] not in str(row) for name in ("device_code", "user_code"))


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": ""}, "invalid_client"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"scope": 'open"id'}, "invalid_scope"),
        ({"scope": "x" * 3000}, "invalid_scope"),
    ],
)
def test_a_request_that_cannot_be_granted_is_refused(
    terminal: DeviceApp, form: dict[str, str], error: str
) -> None:
    status, body = terminal.post("/device_authorization", **form)
    assert status in (400, 401)
    assert body["error"] == error


def test_only_apps_with_the_grant_may_ask_or_poll(idp: Idp, terminal: DeviceApp) -> None:
    web = DeviceApp(idp, idp.register())
    assert web.post("/device_authorization", scope="openid")[1]["error"] == "unauthorized_client"
    web.codes = terminal.ask()
    assert web.poll()[1]["error"] == "unauthorized_client"


def test_whoever_asks_too_often_waits_five_seconds_longer_each_time(
    idp: Idp, terminal: DeviceApp
) -> None:
    terminal.ask()
    assert terminal.poll()[1]["error"] == "authorization_pending"
    idp.clock.advance(5 * SECOND)
    assert terminal.poll()[1]["error"] == "authorization_pending"
    idp.clock.advance(4 * SECOND)
    assert terminal.poll()[1]["error"] == "slow_down"
    idp.clock.advance(9 * SECOND)
    assert terminal.poll()[1]["error"] == "slow_down"
    idp.clock.advance(15 * SECOND)
    assert terminal.poll()[1]["error"] == "authorization_pending"


def test_who_never_stops_asking_waits_a_minute_and_no_longer(idp: Idp, terminal: DeviceApp) -> None:
    """A flood writes nothing, so it moves nothing either."""
    terminal.ask()
    for _ in range(15):
        terminal.poll()
    for _ in range(3):
        for _ in range(3):
            idp.clock.advance(15 * SECOND)
            assert terminal.poll()[1]["error"] == "slow_down"
        idp.clock.advance(15 * SECOND)
        assert terminal.poll()[1]["error"] == "authorization_pending"


def test_a_client_that_is_a_trice_early_is_not_slowed_down(idp: Idp, terminal: DeviceApp) -> None:
    terminal.ask()
    for _ in range(5):
        assert terminal.poll()[1]["error"] == "authorization_pending"
        idp.clock.advance(5 * SECOND - SECOND // 3)


def test_an_approval_is_not_kept_from_an_impatient_client(idp: Idp, terminal: DeviceApp) -> None:
    terminal.ask()
    terminal.poll()
    terminal.poll()
    approve(idp, terminal)
    assert terminal.poll()[0] == 200


def test_a_code_runs_out(idp: Idp, terminal: DeviceApp) -> None:
    terminal.ask()
    idp.clock.advance(10 * MINUTE)
    assert terminal.poll()[1]["error"] == "expired_token"
    idp.clock.advance(61 * MINUTE)
    with idp.work.begin() as unit:
        assert pairing_room.delete_expired(unit) == 1
    assert terminal.poll()[1]["error"] == "invalid_grant"


def test_an_approval_runs_out_with_its_code(idp: Idp, terminal: DeviceApp) -> None:
    terminal.ask()
    idp.clock.advance(9 * MINUTE)
    approve(idp, terminal)
    idp.clock.advance(MINUTE)
    assert terminal.poll()[1]["error"] == "expired_token"
    assert idp.count("sessions") == 1


def test_a_session_that_was_made_is_not_fetched_after_its_code(
    idp: Idp, terminal: DeviceApp
) -> None:
    terminal.ask()
    approve(idp, terminal)
    with idp.work.read() as unit:
        [pairing_id] = unit.orm.scalars(select(Pairing.id))
    devices.issue(idp.work, pairing_id=pairing_id)
    idp.clock.advance(10 * MINUTE)
    assert terminal.poll()[1]["error"] == "expired_token"


def test_a_device_code_is_redeemed_once_and_its_return_ends_nothing(
    idp: Idp, terminal: DeviceApp
) -> None:
    terminal.ask()
    approve(idp, terminal)
    status, tokens = terminal.poll()
    assert status == 200
    assert terminal.poll()[1]["error"] == "invalid_grant"
    assert idp.refresh(terminal.client, tokens["refresh_token"])[0] == 200
    assert idp.count("authorizations") == 1


def test_a_device_code_is_no_authorization_code_and_belongs_to_its_client(
    idp: Idp, terminal: DeviceApp
) -> None:
    other = device_app(idp, name="Other", grant_types=[DEVICE_CODE, "authorization_code"],
                       redirect_uris=["http://127.0.0.1/callback"])  # fmt: skip
    other.codes = terminal.ask()
    approve(idp, terminal)
    assert other.poll()[1]["error"] == "invalid_grant"
    status, body = other.post(
        "/token", grant_type="authorization_code", code=terminal.codes["device_code"]
    )
    assert (status, body["error"]) == (400, "invalid_grant")
    assert terminal.poll()[0] == 200


@pytest.mark.parametrize("code", ["", "x", "dc_" + "A" * 43, "dc_" + "x" * 60_000])
def test_an_unknown_device_code_is_refused(terminal: DeviceApp, code: str) -> None:
    terminal.codes = {"device_code": code}
    status, body = terminal.poll()
    assert status == 400
    assert body["error"] == ("invalid_request" if not code else "invalid_grant")


def test_tokens_say_how_the_person_was_let_in(idp: Idp, terminal: DeviceApp) -> None:
    terminal.ask(scope="openid")
    approve(idp, terminal)
    _, tokens = terminal.poll()
    _, said = idp.post("/introspect", idp.register(introspects_all=1), token=tokens["access_token"])
    assert (said["acr"], said["amr"]) == ("aal1", ["mca"])
    assert said["sid"].startswith("ses_")


def test_the_grant_is_as_strong_as_the_proofs_behind_the_approval(
    idp: Idp, terminal: DeviceApp
) -> None:
    user = idp.person()
    with_totp(idp, user)
    browser = idp.signed_in_browser(idp.session(user, proved=BY_CODE))
    began = idp.clock.now()
    idp.clock.advance(2 * MINUTE)
    terminal.ask(scope="openid")
    decide(browser, open_code(browser, terminal.user_code), "device-allow")
    _, tokens = terminal.poll()
    _, said = idp.post("/introspect", idp.register(introspects_all=1), token=tokens["access_token"])
    assert (said["acr"], said["amr"]) == ("aal2", ["mca", "mfa"])
    assert said["auth_time"] == began // SECOND


def test_what_the_person_may_not_give_is_left_out_and_less_than_that_is_nothing(
    idp: Idp, terminal: DeviceApp
) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "reader", ["reports:read"])
    box = device_app(idp, name="Box", scope="openid reports:read")
    box.ask(scope="openid reports:read")
    approve(idp, box)
    assert box.poll()[1]["scope"] == "openid"
    box.ask(scope="reports:read")
    approve(idp, box, username="bob")
    assert box.poll()[1]["error"] == "access_denied"
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["nothing_granted"]


def test_a_level_asked_for_by_the_app_or_a_rule_is_asked_of_the_approver(idp: Idp) -> None:
    for demand in ("acr_values", "minimum_acr", "rule"):
        app = device_app(idp, minimum_acr="aal2" if demand == "minimum_acr" else None)
        if demand == "rule":
            with idp.work.begin() as unit:
                rules.set_rule(unit, "assurance", {"client": app.client.id}, {"acr": "aal2"}, ADMIN)
        app.ask(scope="openid", **({"acr_values": "aal2"} if demand == "acr_values" else {}))
        browser = idp.signed_in_browser(idp.session(idp.person(f"p{demand}")))
        page = open_code(browser, app.user_code)
        response = page.press(browser, "device-allow")
        assert response.headers["location"].startswith("/step-up?pairing=par_"), demand
        # Somebody with a password alone is told what to add.
        assert browser.get(response.headers["location"]).status_code == 403
        assert app.poll()[1]["error"] == "authorization_pending"


def limit_to_two(idp: Idp, at_limit: str) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 2, "at_limit": at_limit}, ADMIN)


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_at_a_limit_the_person_is_told_and_the_code_waits_for_room(
    idp: Idp, terminal: DeviceApp, at_limit: str
) -> None:
    alice = idp.person("alice")
    other = idp.session(alice).session.id
    browser = idp.signed_in_browser(idp.session(alice))
    limit_to_two(idp, at_limit)
    terminal.ask()
    page = open_code(browser, terminal.user_code)
    assert "You may be signed in on at most 2 devices at once, and you are." in page.text
    page = decide(browser, page, "device-allow")
    assert page.has("limit")
    assert terminal.wait()[1]["error"] == "authorization_pending"
    idp.end(other)
    page = decide(browser, page, "device-allow")
    assert not page.has("limit")
    assert terminal.wait()[0] == 200


def test_a_limit_that_is_met_after_the_answer_keeps_the_device_out(
    idp: Idp, terminal: DeviceApp
) -> None:
    alice = idp.person("alice")
    browser = idp.signed_in_browser(idp.session(alice))
    limit_to_two(idp, "ask")
    terminal.ask()
    decide(browser, open_code(browser, terminal.user_code), "device-allow")
    idp.session(alice)
    assert terminal.wait()[1]["error"] == "access_denied"
    assert idp.count("sessions") == 2


def test_where_the_oldest_gives_way_a_device_takes_its_place(idp: Idp, terminal: DeviceApp) -> None:
    alice = idp.person("alice")
    oldest = idp.session(alice).session.id
    idp.clock.advance(SECOND)
    browser = idp.signed_in_browser(idp.session(alice))
    limit_to_two(idp, "end_oldest")
    terminal.ask()
    decide(browser, open_code(browser, terminal.user_code), "device-allow")
    assert terminal.wait()[0] == 200
    assert [one["session_id"] for one in idp.events("session.ended")] == [oldest]

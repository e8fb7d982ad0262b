"""The device grant from the first question to the end of its session (RFC 8628), on both databases."""

from idp.sessions.model import Session
from tests.harness.device_app import DeviceApp, decide, device_app, open_code
from tests.harness.provider import Idp
from tests.web.conftest import Somebody


def signed_in(idp: Idp, username: str = "alice") -> Somebody:
    user = idp.person(username)
    session = idp.session(user)
    return Somebody(idp, user, session, idp.signed_in_browser(session))


def let_in(one: Somebody, device: DeviceApp, **asked: str) -> dict[str, str]:
    """The whole way; gives the tokens."""
    device.ask(**asked)
    decide(one.browser, open_code(one.browser, device.user_code), "device-allow")
    status, tokens = device.wait()
    assert status == 200, tokens
    return tokens


def test_a_device_is_let_in_and_signed_out_from_the_sessions_page(either_idp: Idp) -> None:
    idp = either_idp
    alice, terminal = signed_in(idp), device_app(idp)
    said = terminal.ask(scope="openid profile")
    assert said["verification_uri"] == f"{idp.settings.issuer}/device"
    assert said["verification_uri_complete"] == (
        f"{idp.settings.issuer}/device?user_code={terminal.user_code}"
    )
    assert (said["expires_in"], said["interval"]) == (600, 5)
    assert terminal.poll()[1]["error"] == "authorization_pending"

    page = open_code(alice.browser, terminal.user_code)
    assert "Let Terminal in?" in page.text
    assert terminal.user_code in page.text
    assert "curl" in page.text
    page = decide(alice.browser, page, "device-allow")
    assert "goes on by itself" in page.text

    status, tokens = terminal.wait()
    assert status == 200, tokens
    assert tokens["scope"] == "openid profile"
    assert {"access_token", "refresh_token", "id_token"} <= set(tokens)
    assert idp.userinfo(tokens["access_token"])[1]["sub"] == alice.user.id

    made = the_new_session(idp, alice)
    assert (made.origin, made.device_type, made.acr) == ("device", "terminal", "aal1")
    sessions = alice.sessions()
    assert "Terminal" in sessions.text
    assert "Signed in from a device or terminal" in sessions.text
    path = f"/account/sessions/{made.id}/end"
    token = sessions.form(action=path).fields["csrf"]
    assert alice.browser.post(path, data={"csrf": token}).status_code == 303
    assert idp.userinfo(tokens["access_token"])[0] == 401
    assert idp.refresh(terminal.client, tokens["refresh_token"])[1]["error"] == "invalid_grant"


def test_a_denied_device_gets_nothing_and_is_told_so(either_idp: Idp) -> None:
    idp = either_idp
    alice, terminal = signed_in(idp), device_app(idp)
    terminal.ask()
    page = decide(alice.browser, open_code(alice.browser, terminal.user_code), "device-deny")
    assert "Nothing was given" in page.text
    assert terminal.wait()[1]["error"] == "access_denied"
    assert idp.count("sessions") == 1
    assert [one["reason"] for one in idp.events("pairing.denied")] == ["denied"]


def test_offline_access_outlives_the_session_and_is_listed(either_idp: Idp) -> None:
    idp = either_idp
    alice, terminal = signed_in(idp), device_app(idp)
    tokens = let_in(alice, terminal, scope="openid offline_access")
    idp.end(the_new_session(idp, alice).id, "idle_timeout")
    status, again = idp.refresh(terminal.client, tokens["refresh_token"])
    assert status == 200, again
    assert "Offline access" in alice.sessions().text


def test_a_confidential_app_uses_its_secret_at_both_endpoints(either_idp: Idp) -> None:
    idp = either_idp
    alice = signed_in(idp)
    box = device_app(idp, name="Box", token_endpoint_auth_method="client_secret_basic")
    assert let_in(alice, box, scope="openid")["access_token"]
    box.client.secret = "wrong"
    assert box.post("/device_authorization", scope="openid")[0] == 401


def the_new_session(idp: Idp, one: Somebody) -> Session:
    with idp.work.read() as unit:
        (found,) = unit.orm.query(Session).where(Session.id != one.id).all()
        unit.orm.expunge(found)
        return found

"""One sign-in for several apps, and one end for all of them."""

from idp.clock import MINUTE
from tests.flows.apps import App, claims_of
from tests.flows.pages import Person
from tests.harness.provider import Idp


def test_one_sign_in_serves_every_app_and_one_sign_out_ends_them_all(
    idp: Idp, somebody: Person
) -> None:
    alice = idp.person("alice")
    wiki, mail = App(idp, name="Wiki"), App(idp, name="Mail")
    assert wiki.send(somebody).at == "/login"
    of_wiki = wiki.receive(somebody.sign_in("alice"))
    # The second app's request comes back without a page.
    of_mail = mail.receive(mail.send(somebody))
    first, second = claims_of(of_wiki["id_token"]), claims_of(of_mail["id_token"])
    assert first["sub"] == second["sub"] == alice.id
    assert first["sid"] == second["sid"]
    assert first["auth_time"] == second["auth_time"]

    assert somebody.open("/logout", {"id_token_hint": of_mail["id_token"]}).at == "/signed-out"
    for app, tokens in ((wiki, of_wiki), (mail, of_mail)):
        assert not app.is_active(tokens["access_token"])
        assert idp.refresh(app.client, tokens["refresh_token"])[0] == 400
    assert wiki.send(somebody).at == "/login"
    assert mail.send(somebody, prompt="none").answer["error"] == "login_required"


def test_an_app_stays_signed_in_by_refreshing_and_the_session_with_it(
    idp: Idp, somebody: Person
) -> None:
    idp.person("alice")
    app = App(idp)
    app.send(somebody)
    tokens = app.receive(somebody.sign_in("alice"))
    sid = claims_of(tokens["id_token"])["sid"]
    for _ in range(6):
        # Half of the idle time each: without the refreshes the session would run out.
        idp.clock.advance(30 * MINUTE)
        status, tokens = idp.refresh(app.client, tokens["refresh_token"])
        assert status == 200
        assert claims_of(tokens["id_token"])["sid"] == sid
    assert idp.count("sessions") == 1
    assert "code" in app.send(somebody, prompt="none").answer
    idp.clock.advance(60 * MINUTE)
    assert idp.refresh(app.client, tokens["refresh_token"])[0] == 400
    assert app.send(somebody).at == "/login"

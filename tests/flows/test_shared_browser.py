"""Several people at one browser, one after the other (attack group SE)."""

import pytest

from idp.oauth import pushed
from tests.flows.apps import App, claims_of
from tests.flows.pages import Person
from tests.harness.provider import Idp


@pytest.mark.attack("SE-04")
def test_who_signs_in_instead_of_confirming_gets_a_session_of_their_own(
    idp: Idp, somebody: Person
) -> None:
    alice, bob = idp.person("alice"), idp.person("bob")
    app = App(idp)
    app.send(somebody)
    of_alice = app.receive(somebody.sign_in("alice"))
    # Alice is asked to confirm, cancels, and somebody else takes over the keyboard.
    app.send(somebody, prompt="login")
    assert somebody.press("login-cancel").answer["error"] == "access_denied"
    assert idp.userinfo(of_alice["access_token"])[1]["sub"] == alice.id
    app.send(somebody, prompt="login")
    of_bob = app.receive(somebody.sign_in("bob"))
    first, second = claims_of(of_alice["id_token"]), claims_of(of_bob["id_token"])
    assert (first["sub"], second["sub"]) == (alice.id, bob.id)
    assert first["sid"] != second["sid"]
    # Alice's session made way: nothing of it works, and nothing of it became Bob's.
    assert not app.is_active(of_alice["access_token"])
    assert idp.refresh(app.client, of_alice["refresh_token"])[0] == 400
    assert idp.userinfo(of_bob["access_token"])[1]["sub"] == bob.id
    assert [event["reason"] for event in idp.events("session.ended")] == ["replaced"]


@pytest.mark.attack("SE-04")
def test_no_session_is_ever_named_to_apps_for_two_people(idp: Idp, somebody: Person) -> None:
    app = App(idp)
    owners: dict[str, set[str]] = {}
    for name in ("alice", "bob", "carol"):
        idp.person(name)
    for name in ("alice", "bob", "alice", "carol", "carol", "bob"):
        app.send(somebody, prompt="login")
        claims = claims_of(app.receive(somebody.sign_in(name))["id_token"])
        owners.setdefault(claims["sid"], set()).add(claims["sub"])
    assert len(owners) == 5
    assert all(len(people) == 1 for people in owners.values())


@pytest.mark.attack("SE-05")
def test_a_sign_out_without_the_cookie_leaves_nothing_for_the_next_person(
    idp: Idp, somebody: Person
) -> None:
    idp.person("alice")
    bob = idp.person("bob")
    app = App(idp)
    app.send(somebody)
    of_alice = app.receive(somebody.sign_in("alice"))
    kept = somebody.browser.cookies.get("idp_session")
    somebody.browser.cookies.delete("idp_session")
    somebody.open("/logout", {"id_token_hint": of_alice["id_token"]})
    assert not app.is_active(of_alice["access_token"])
    app.send(somebody)
    of_bob = app.receive(somebody.sign_in("bob"))
    assert claims_of(of_bob["id_token"])["sub"] == bob.id
    assert claims_of(of_bob["id_token"])["sid"] != claims_of(of_alice["id_token"])["sid"]
    assert somebody.browser.cookies.get("idp_session") != kept
    # The cookie of before is worth nothing, wherever it was kept.
    other = Person(idp)
    other.browser.cookies.set("idp_session", str(kept), domain="localhost.local")
    assert app.send(other).at == "/login"


@pytest.mark.attack("SE-08")
def test_what_one_person_proved_does_not_count_for_another(idp: Idp, somebody: Person) -> None:
    alice, bob = idp.session(idp.person("alice")), idp.session(idp.person("bob"))
    app = App(idp)
    somebody.browser.cookies.set("idp_session", alice.secret, domain="localhost.local")
    page = app.send(somebody, prompt="login").page
    assert page is not None
    reference = page.url.params["request"]
    with idp.work.begin() as unit:
        pushed.note_authentication(unit, reference, alice.session.id)
    somebody.browser.cookies.set("idp_session", bob.secret, domain="localhost.local")
    # Bob's browser, Alice's proof: Bob is asked himself.
    assert somebody.open(pushed.return_url(reference, app.client.id)).at == "/login"
    assert idp.count("authorizations") == 0


@pytest.mark.attack("SE-08")
def test_a_code_of_one_person_is_refused_in_the_flow_of_another(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    idp.person("bob")
    app = App(idp)
    app.send(somebody)
    stolen = somebody.sign_in("alice").answer["code"]
    other = Person(idp)
    app.send(other)
    own = other.sign_in("bob")
    own.sent_to = str(own.sent_to).replace(own.answer["code"], stolen)
    with pytest.raises(AssertionError, match="invalid_grant"):
        app.receive(own)

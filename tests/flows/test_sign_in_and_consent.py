"""A person meets the sign-in and consent pages: what they choose is what the app is told."""

from idp.clock import SECOND
from idp.oauth import consent
from tests.flows.apps import App, claims_of
from tests.flows.pages import Person
from tests.harness.provider import ADMIN, Idp


def test_a_stranger_of_an_app_is_asked_once_and_then_remembered(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    app = App(idp, first_party=0)
    assert app.send(somebody, scope="openid email").at == "/login"
    assert somebody.sign_in("alice").at == "/consent"
    tokens = app.receive(somebody.press("consent-allow"))
    assert tokens["scope"] == "openid email"
    # Less than was allowed needs no question, also without a page; more does.
    assert "code" in app.send(somebody, scope="openid", prompt="none").answer
    assert app.send(somebody, scope="openid profile", prompt="none").answer["error"] == (
        "consent_required"
    )
    assert app.send(somebody, scope="openid profile").at == "/consent"
    app.receive(somebody.press("consent-allow"))
    assert "code" in app.send(somebody, scope="openid email profile", prompt="none").answer


def test_who_denies_is_asked_again_next_time(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    app = App(idp, first_party=0)
    app.send(somebody)
    answer = somebody.sign_in("alice").press("consent-deny").answer
    assert answer["error"] == "access_denied"
    assert set(answer) == {"error", "error_description", "state", "iss"}
    assert idp.count("authorizations") == 0
    assert app.send(somebody).at == "/consent"


def test_a_consent_that_was_taken_back_is_asked_for_again(idp: Idp, somebody: Person) -> None:
    alice = idp.person("alice")
    app = App(idp, first_party=0)
    app.send(somebody)
    tokens = app.receive(somebody.sign_in("alice").press("consent-allow"))
    with idp.work.begin() as unit:
        assert consent.revoke(unit, alice.id, app.client.id, actor=ADMIN)
    assert not app.is_active(tokens["access_token"])
    assert app.send(somebody, prompt="none").answer["error"] == "consent_required"
    assert app.send(somebody).at == "/consent"


def test_cancelling_the_sign_in_tells_the_app_and_changes_nothing(
    idp: Idp, somebody: Person
) -> None:
    idp.person("alice")
    app = App(idp)
    app.send(somebody)
    assert somebody.press("login-cancel").answer["error"] == "access_denied"
    assert idp.count("sessions") == 0


def test_prompt_login_asks_for_the_password_again_and_keeps_the_session(
    idp: Idp, somebody: Person
) -> None:
    idp.person("alice")
    app = App(idp)
    app.send(somebody)
    first = claims_of(app.receive(somebody.sign_in("alice"))["id_token"])
    idp.clock.advance(5 * SECOND)
    assert app.send(somebody, prompt="login").at == "/login"
    second = claims_of(app.receive(somebody.sign_in("alice"))["id_token"])
    assert second["sid"] == first["sid"]
    assert second["auth_time"] == first["auth_time"] + 5
    # The new proof was for that request: the next one with prompt=login asks again.
    assert app.send(somebody, prompt="login").at == "/login"


def test_max_age_asks_again_only_when_the_sign_in_is_older(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    app = App(idp)
    app.send(somebody)
    first = claims_of(app.receive(somebody.sign_in("alice"))["id_token"])
    idp.clock.advance(2 * SECOND)
    again = claims_of(app.receive(app.send(somebody, max_age="15000"))["id_token"])
    assert again["auth_time"] == first["auth_time"]
    assert app.send(somebody, max_age="1", prompt="none").answer["error"] == "login_required"
    assert app.send(somebody, max_age="1").at == "/login"
    renewed = claims_of(app.receive(somebody.sign_in("alice"))["id_token"])
    assert renewed["auth_time"] == first["auth_time"] + 2


def test_a_wrong_password_is_no_sign_in(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    app = App(idp)
    app.send(somebody)
    assert somebody.sign_in("alice", "wrong").at == "/login"
    assert idp.count("sessions") == 0
    assert "code" in somebody.sign_in("alice").answer


def test_the_consent_page_names_everything_the_app_will_get(idp: Idp, somebody: Person) -> None:
    idp.person("alice")
    # Asked for by leaving `scope` out, and singly by the claims parameter.
    whole = App(idp, first_party=0, scope="openid email")
    single = App(idp, first_party=0, scope="openid email")
    whole.send(somebody, scope=None)
    somebody.sign_in("alice")
    plain = App(idp, first_party=0, scope="openid email")
    named = plain.send(somebody, scope="openid email").page
    less = plain.send(somebody, scope="openid").page
    assert named is not None
    assert less is not None

    def scopes(text: str) -> str:
        return text.partition('<ul class="scopes">')[2].partition("</ul>")[0]

    assert scopes(named.text) != scopes(less.text)
    for page in (
        whole.send(somebody, scope=None).page,
        single.send(somebody, scope="openid", claims='{"userinfo":{"email":null}}').page,
    ):
        assert page is not None
        assert scopes(page.text) == scopes(named.text)
    tokens = single.receive(somebody.press("consent-allow"))
    assert tokens["scope"] == "openid"
    assert idp.userinfo(tokens["access_token"])[1]["email"] == "alice@example.com"
    # Remembered with what it stood for.
    answer = single.send(
        somebody, scope="openid", claims='{"id_token":{"email":null}}', prompt="none"
    ).answer
    assert "code" in answer

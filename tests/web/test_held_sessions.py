"""Sessions that are used from elsewhere, on another device, or for too long: held until a proof."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.sessions import lifecycle
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.users import rules
from idp.users.model import User
from tests.harness import mmdb
from tests.harness.enrolled import Factors, with_totp
from tests.harness.provider import (
    ADMIN,
    ISSUER,
    PASSWORD,
    Flow,
    Idp,
    Registered,
    Templates,
    answer_of,
    settings_for,
)
from tests.harness.workbench import ManualClock
from tests.web.conftest import LAPTOP, PHONE, sign_in
from tests.web.html import Page

# Lyon, another network of Lyon, and Madrid; of the last nothing is known.
LYON, CAFE, MADRID, NOWHERE = "203.0.113.7", "203.0.113.200", "198.51.100.9", "192.0.2.1"
CITIES = {
    "203.0.113.0/24": mmdb.city("Lyon", "FR"),
    "198.51.100.0/24": mmdb.city("Madrid", "ES"),
}
NETWORKS = {
    "203.0.113.0/25": mmdb.network(64_496, "Home"),
    "203.0.113.128/25": mmdb.network(64_497, "Café"),
    "198.51.100.0/24": mmdb.network(64_498, "Hotel"),
}


@pytest.fixture
def idp(tmp_path: Path, templates: Templates, clock: ManualClock) -> Iterator[Idp]:
    """A provider that knows three networks in two countries."""
    folder = tmp_path / "geo"
    folder.mkdir()
    mmdb.write(folder / "city.mmdb", CITIES)
    mmdb.write(folder / "asn.mmdb", NETWORKS)
    url = templates.sqlite(tmp_path / "idp.db")
    made = Idp(settings_for(url, geo={"folder": str(folder)}), clock)
    yield made
    made.close()


def set_rule(idp: Idp, kind: str, value: dict[str, Any], **applies_to: str) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, kind, applies_to, value, ADMIN)


@dataclass
class Traveller:
    """One person's browser, and the cookies it has, wherever it is used."""

    idp: Idp
    user: User
    ip: str = LYON
    agent: str = LAPTOP
    jar: dict[str, str] = field(default_factory=dict)

    def at(self, ip: str) -> "Traveller":
        self.ip = ip
        return self

    def client(self) -> TestClient:
        made = TestClient(
            self.idp.app,
            base_url=ISSUER,
            client=(self.ip, 4_711),
            headers={"User-Agent": self.agent},
            follow_redirects=False,
        )
        for name, value in self.jar.items():
            made.cookies.set(name, value, domain="localhost.local")
        return made

    def keep(self, made: TestClient) -> None:
        self.jar = {cookie.name: cookie.value or "" for cookie in made.cookies.jar}

    def sign_in(self, *, username: str | None = None) -> Response:
        """Signs in as if nobody were here, with a session of its own."""
        self.jar.pop("idp_session", None)
        made = self.client()
        page = Page(made.get("/account/sign-in"))
        response = sign_in(made, page, username=username or self.user.username)
        self.keep(made)
        return response

    def get(self, path: str) -> Response:
        made = self.client()
        response = made.get(path)
        self.keep(made)
        return response

    def press(self, page: Page, button: str, **fields: str) -> Response:
        made = self.client()
        response = page.press(made, button, **fields)
        self.keep(made)
        return response

    def authorize(self, app: Registered, **parameters: str) -> dict[str, str]:
        """An app's request: the page it leads to as {"page": …}, or what the app is answered."""
        flow = Flow(app)
        location = self.get(f"/authorize?{urlencode(flow.parameters(**parameters))}").headers[
            "location"
        ]
        if location.startswith("/"):
            return {"page": location}
        return answer_of(location)

    def session(self) -> Session:
        with self.idp.work.read() as unit:
            return (
                unit.orm.query(Session)
                .filter(Session.user_id == self.user.id)
                .order_by(Session.created_at.desc())
                .first()
            )  # type: ignore[return-value]


@pytest.fixture
def alice(idp: Idp) -> Traveller:
    made = Traveller(idp, idp.person("alice"))
    assert made.sign_in().status_code == 303
    idp.clock.advance(SECOND)
    return made


def held(response: Response) -> str:
    """The way to the step-up page that a held session is led."""
    assert response.status_code == 303, response.text
    location = response.headers["location"]
    assert location.startswith("/step-up?"), location
    return location


@pytest.mark.attack("SE-16")
def test_a_phone_that_roams_goes_on_and_the_list_says_where_it_is(
    idp: Idp, app: Registered
) -> None:
    phone = Traveller(idp, idp.person("alice"), agent=PHONE)
    phone.sign_in()
    for ip in (CAFE, NOWHERE, "2001:db8::7", LYON, CAFE):
        idp.clock.advance(2 * MINUTE)
        assert phone.at(ip).get("/account/sessions").status_code == 200
        assert "code" in phone.authorize(app)
        session = phone.session()
        assert session.challenged_at is None
    assert session.asn == 64_497
    assert "203.0.113.200" in phone.get("/account/sessions").text
    reasons = [one["reason"] for one in idp.events("session.relocated")]
    assert reasons == ["network", "ip", "ip", "ip", "network"]
    assert {one["ip"] for one in idp.events("session.relocated")} == {
        CAFE, NOWHERE, "2001:db8::7", LYON,
    }  # fmt: skip


def test_to_and_fro_between_two_addresses_is_written_down_once_a_minute(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    for number in range(40):
        idp.clock.advance(5 * SECOND)
        where = alice.at((LYON, "203.0.113.8")[number % 2])
        if number % 3:
            assert where.get("/account/sessions").status_code == 200
        else:
            assert "code" in where.authorize(app, prompt="none")
    assert len(idp.events("session.relocated")) <= 4


@pytest.mark.attack("SE-16")
def test_in_another_country_every_page_leads_to_a_proof_and_then_back(
    idp: Idp, alice: Traveller
) -> None:
    alice.at(MADRID)
    location = held(alice.get("/account/sessions?tab=ended"))
    page = Page(alice.get(location))
    assert "in another country than before" in page.text
    # Nothing that is theirs is shown or done meanwhile, by whatever address.
    for path in ("/account/sessions", "/account/apps", "/account/security",
                 "/account/security/password", "/account/security/totp/new"):  # fmt: skip
        held(alice.get(path))
    assert alice.get("/account/sessions/receipts").status_code in (204, 303, 401, 403)
    wrong = alice.press(page, "factor-submit", password="wrong")
    assert wrong.status_code == 403
    held(alice.get("/account/sessions"))
    idp.clock.advance(SECOND)
    right = alice.press(page, "factor-submit", password=PASSWORD)
    assert right.headers["location"] == "/account/sessions?tab=ended"
    assert alice.get("/account/sessions").status_code == 200
    session = alice.session()
    assert (session.country, session.asn, session.challenged_at) == ("ES", 64_498, None)
    [challenged] = idp.events("session.challenged")
    assert (challenged["reason"], challenged["ip"]) == ("country", MADRID)


def test_an_open_tab_of_a_held_session_is_told_nothing_and_cannot_keep_it_alive(
    idp: Idp, alice: Traveller
) -> None:
    form = Page(alice.get("/account/sessions")).form(action="/account/session/extend?ui_locales=en")
    alice.at(MADRID)
    held(alice.get("/account/sessions"))
    idp.clock.advance(5 * MINUTE)
    assert alice.get("/account/session/notices?here=/account").status_code == 204
    before = alice.session().idle_at
    made = alice.client()
    answer = made.post(form.action, data=form.fields, headers={"Accept": "application/json"})
    assert "Confirm it’s you first" in Page(answer).text
    assert alice.session().idle_at == before


@pytest.mark.attack("SE-16")
def test_a_challenge_survives_going_back_and_waiting(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    held(alice.at(MADRID).get("/account/sessions"))
    for ip in (LYON, MADRID, NOWHERE, LYON):
        idp.clock.advance(10 * MINUTE)
        held(alice.at(ip).get("/account/sessions"))
        assert alice.authorize(app, prompt="none")["error"] == "login_required"
    assert len(idp.events("session.challenged")) == 1


@pytest.mark.attack("SE-16")
def test_a_stolen_cookie_on_another_device_is_worth_nothing_and_its_owner_shakes_it_off(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    thief = Traveller(idp, alice.user, agent=PHONE, jar={"idp_session": alice.jar["idp_session"]})
    held(thief.get("/account/sessions"))
    assert thief.authorize(app, prompt="none")["error"] == "login_required"
    assert thief.authorize(app)["page"].startswith("/step-up?request=")
    # What keeps a session alive, and what renews its secret, is denied to whoever proved nothing.
    before = alice.session()
    idp.clock.advance(20 * MINUTE)
    held(thief.get("/account/sessions"))
    after = alice.session()
    assert (after.last_active_at, after.secret_generation) == (
        before.last_active_at,
        before.secret_generation,
    )
    # The owner is asked too, once; then the thief's cookie is dead.
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    assert "on another device or in another browser than before" in page.text
    alice.press(page, "factor-submit", password=PASSWORD)
    assert alice.get("/account/sessions").status_code == 200
    assert thief.get("/account/sessions").headers["location"].startswith("/account/sign-in")


@pytest.mark.attack("SE-16")
def test_a_cookie_carried_into_another_browser_of_the_same_kind_is_noticed(
    idp: Idp, alice: Traveller
) -> None:
    """The browser's own number was left behind, and the second request brings another one."""
    thief = Traveller(idp, alice.user, jar={"idp_session": alice.jar["idp_session"]})
    thief.get("/account/sign-in")
    assert thief.jar["idp_device"] != alice.jar["idp_device"]
    held(thief.get("/account/sessions"))


@pytest.mark.attack("SE-16")
def test_a_session_cookie_alone_is_worth_nothing_at_its_first_request(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    """Same browser by name, same address, and no number of the browser: it was simply left out."""
    thief = Traveller(idp, alice.user)
    for path in ("/account/sessions", "/account/apps"):
        thief.jar = {"idp_session": alice.jar["idp_session"]}
        held(thief.get(path))
    thief.jar = {"idp_session": alice.jar["idp_session"]}
    assert thief.authorize(app, prompt="none")["error"] == "login_required"
    [challenged] = idp.events("session.challenged")
    assert challenged["reason"] == "device"


def test_a_browser_that_lost_its_number_proves_itself_once_and_goes_on(
    idp: Idp, alice: Traveller
) -> None:
    del alice.jar["idp_device"]
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    idp.clock.advance(SECOND)
    assert alice.press(page, "factor-submit", password=PASSWORD).status_code == 303
    assert alice.get("/account/sessions").status_code == 200
    assert alice.get("/account/apps").status_code == 200


@pytest.mark.parametrize("prompt", [None, "none", "login"])
def test_an_app_gets_no_code_from_a_held_session_and_one_after_the_proof(
    idp: Idp, alice: Traveller, app: Registered, prompt: str | None
) -> None:
    alice.at(MADRID)
    asked = {"prompt": prompt} if prompt else {}
    if prompt == "none":
        answer = alice.authorize(app, **asked)
        assert answer["error"] == "login_required"
        assert "code" not in answer
        asked = {}
    flow = Flow(app)
    location = alice.get(f"/authorize?{urlencode(flow.parameters(**asked))}").headers["location"]
    page = Page(alice.get(location))
    if prompt == "login":
        # A whole sign-in is asked for anyway, and is the proof.
        assert location.startswith("/login?request=")
        back = alice.press(page, "login-submit", username="alice", password=PASSWORD)
    else:
        assert location.startswith("/step-up?request=")
        assert "in another country than before" in page.text
        back = alice.press(page, "factor-submit", password=PASSWORD)
    answer = answer_of(alice.get(back.headers["location"]).headers["location"])
    assert "code" in answer
    assert alice.session().challenged_at is None


def test_whoever_refuses_to_prove_themselves_is_led_out_and_the_app_is_told(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    alice.at(MADRID)
    page = Page(alice.get(alice.authorize(app)["page"]))
    back = alice.press(page, "factor-cancel")
    answer = answer_of(alice.get(back.headers["location"]).headers["location"])
    assert answer["error"] == "access_denied"
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    assert alice.press(page, "factor-cancel").headers["location"] == "/logout"
    out = Page(alice.get("/logout"))
    alice.press(out, "logout-confirm")
    assert alice.session().end_reason == "signed_out"


def test_a_form_that_was_sent_from_elsewhere_is_kept_and_goes_on_after_the_proof(
    idp: Idp, alice: Traveller
) -> None:
    page = Page(alice.get("/account/sessions"))
    form = page.form(action=f"/account/sessions/{alice.session().id}/rename")
    alice.at(MADRID)
    made = alice.client()
    response = made.post(form.action, data={**form.fields, "name": "Work laptop"})
    assert response.status_code == 200, response.headers
    first = Page(response)
    asked = Page(alice.press(first, "step-up-begin"))
    idp.clock.advance(SECOND)
    done = Page(alice.press(asked, "factor-submit", password=PASSWORD))
    assert "You can go on now." in done.text
    alice.press(done, "step-up-continue")
    assert "Work laptop" in alice.get("/account/sessions").text


def test_everything_a_person_has_is_asked_for_and_half_of_it_is_not_enough(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    factors: Factors = with_totp(idp, alice.user)
    alice.at(MADRID)
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    idp.clock.advance(SECOND)
    page = Page(alice.press(page, "factor-submit", **proof(page, factors)))
    held(alice.get("/account/sessions"))
    assert alice.authorize(app, prompt="none")["error"] == "login_required"
    idp.clock.advance(31 * SECOND)
    response = alice.press(page, "factor-submit", **proof(page, factors))
    assert response.headers["location"] == "/account/sessions"
    assert alice.get("/account/sessions").status_code == 200


def proof(page: Page, factors: Factors) -> dict[str, str]:
    return {"password": PASSWORD} if page.has("password") else {"code": factors.code()}


def test_a_trusted_device_is_spared_the_second_factor_at_sign_in_and_not_by_a_challenge(
    idp: Idp, alice: Traveller
) -> None:
    with_totp(idp, alice.user)
    idp.execute("UPDATE sessions SET challenge = 'reauthenticate', challenged_for = 'country', "
                f"challenged_at = {idp.clock.now()}")  # fmt: skip
    idp.clock.advance(SECOND)
    # By the front door, with a password alone (as a trusted browser may): not enough.
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, alice.session().id)
        lifecycle.reauthenticate(unit, session, [BY_PASSWORD], Visit(ip=LYON, agent=LAPTOP))
    assert alice.session().challenged_at is not None


def test_mfa_is_two_factors_and_whoever_has_one_signs_in_anew(idp: Idp, alice: Traveller) -> None:
    set_rule(idp, "changes", {"network": "mfa"})
    alice.at(CAFE)
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    assert "Sign out here, and sign in anew." in page.text
    assert alice.authorize(idp.register(), prompt="none")["error"] == "login_required"


@pytest.mark.attack("SE-16")
def test_where_a_rule_says_so_the_session_ends_with_its_tokens_and_says_why(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    set_rule(idp, "changes", {"ip": "end"})
    tokens = tokens_of(idp, alice, app)
    response = alice.at(CAFE).get("/account/sessions")
    assert response.headers["location"].startswith("/account/sign-in")
    assert "used from somewhere else" in alice.get(response.headers["location"]).text
    assert alice.session().end_reason == "elsewhere"
    assert not idp.is_active(app, tokens["access_token"])
    assert idp.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"


@pytest.mark.attack("SE-16")
def test_the_authorization_endpoint_ends_a_session_too(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    set_rule(idp, "changes", {"ip": "end"})
    assert alice.at(CAFE).authorize(app, prompt="none")["error"] == "login_required"
    assert alice.session().end_reason == "elsewhere"


def tokens_of(idp: Idp, traveller: Traveller, app: Registered) -> dict[str, Any]:
    flow = Flow(app)
    response = traveller.get(f"/authorize?{urlencode(flow.parameters())}")
    status, tokens = idp.token(
        app,
        grant_type="authorization_code",
        code=answer_of(response.headers["location"])["code"],
        redirect_uri=app.redirect_uri,
        code_verifier=flow.verifier,
    )
    assert status == 200, tokens
    return tokens


@pytest.mark.attack("SE-16")
def test_while_a_session_is_challenged_no_token_is_issued_and_no_grant_is_lost(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    tokens = tokens_of(idp, alice, app)
    held(alice.at(MADRID).get("/account/sessions"))
    for _ in range(3):
        status, body = idp.refresh(app, tokens["refresh_token"])
        assert (status, body["error"]) == (400, "interaction_required")
    # What was issued before is what it was: some minutes at most.
    assert idp.is_active(app, tokens["access_token"])
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    idp.clock.advance(SECOND)
    alice.press(page, "factor-submit", password=PASSWORD)
    status, body = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    assert body["refresh_token"] != tokens["refresh_token"]


def test_a_code_that_was_issued_before_the_challenge_waits_for_the_proof_too(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    flow = Flow(app)
    location = alice.get(f"/authorize?{urlencode(flow.parameters())}").headers["location"]
    held(alice.at(MADRID).get("/account/sessions"))
    form = {
        "grant_type": "authorization_code",
        "code": answer_of(location)["code"],
        "redirect_uri": app.redirect_uri,
        "code_verifier": flow.verifier,
    }
    assert idp.token(app, **form)[1]["error"] == "interaction_required"
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    idp.clock.advance(SECOND)
    alice.press(page, "factor-submit", password=PASSWORD)
    assert idp.token(app, **form)[0] == 200


def test_signing_in_again_in_the_same_browser_is_the_proof(idp: Idp, alice: Traveller) -> None:
    held(alice.at(MADRID).get("/account/sessions"))
    idp.clock.advance(SECOND)
    session = alice.session()
    made = alice.client()
    page = Page(made.get(f"/login?{urlencode({'request': request_of(idp, alice)})}"))
    page.press(made, "login-submit", username="alice", password=PASSWORD)
    alice.keep(made)
    assert alice.session().id == session.id
    assert alice.get("/account/sessions").status_code == 200


def request_of(idp: Idp, traveller: Traveller) -> str:
    page = traveller.authorize(idp.register(), prompt="login")["page"]
    return page.removeprefix("/login?request=")


def test_a_held_session_stands_out_in_the_list_of_another_device(
    idp: Idp, alice: Traveller
) -> None:
    other = Traveller(idp, alice.user, agent=PHONE)
    other.sign_in()
    held(alice.at(MADRID).get("/account/sessions"))
    text = Page(other.get("/account/sessions")).text
    assert "Needs attention" in text
    assert "Used in another country: we asked for a proof" in text


# --- Networks ------------------------------------------------------------------------------------


def test_from_outside_nothing_is_shown_and_nothing_is_lost(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    tokens = tokens_of(idp, alice, app)
    set_rule(idp, "networks", {"allow": ["203.0.113.0/24"]})
    alice.at(NOWHERE)
    response = alice.get("/account/sessions")
    assert response.status_code == 403
    assert "may not be used from this network" in Page(response).text
    assert alice.get("/step-up?for=go_on&next=/account").status_code == 403
    assert alice.authorize(app, prompt="none")["error"] == "access_denied"
    barred = alice.get(f"/authorize?{urlencode(Flow(app).parameters())}")
    assert barred.status_code == 400
    assert "may not be used from this network" in barred.text
    assert Traveller(idp, alice.user, ip=NOWHERE).sign_in().status_code == 403
    # Apps call from addresses of their own: these say nothing of the person.
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200
    # The VPN is on again.
    assert alice.at(CAFE).get("/account/sessions").status_code == 200
    assert "code" in alice.authorize(app, prompt="none")


def test_whoever_is_outside_may_try_again_there_and_still_sign_out(
    idp: Idp, alice: Traveller
) -> None:
    set_rule(idp, "networks", {"allow": ["203.0.113.0/24"]})
    alice.at(NOWHERE)
    barred = Page(alice.get("/account/sessions?tab=ended"))
    assert "Not from this network" in barred.text
    ways = [one.attributes["href"] for one in barred.elements if one.tag == "a"]
    assert ways[-2:] == ["/account/sessions?tab=ended", "/logout"]
    page = Page(alice.get("/logout"))
    alice.press(page, "logout-confirm")
    assert alice.session().end_reason == "signed_out"


@pytest.mark.parametrize("way", ["page", "authorize"])
def test_a_session_used_from_outside_ends_where_the_rule_says_so(
    idp: Idp, alice: Traveller, app: Registered, way: str
) -> None:
    set_rule(idp, "networks", {"deny": ["AS64498"], "outside": "end"})
    alice.at(MADRID)
    if way == "page":
        assert alice.get("/account/sessions").headers["location"].startswith("/account/sign-in")
    else:
        assert alice.authorize(app, prompt="none")["error"] == "login_required"
    assert alice.session().end_reason == "network"


@pytest.mark.attack("OP-01")
def test_nobody_claims_to_come_from_the_office(idp: Idp, alice: Traveller) -> None:
    set_rule(idp, "networks", {"allow": ["203.0.113.0/24"]})
    made = alice.at(NOWHERE).client()
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP", "True-Client-IP"):
        value = "for=203.0.113.7" if name == "Forwarded" else "203.0.113.7"
        assert made.get("/account/sessions", headers={name: value}).status_code == 403


# --- Periodic re-authentication ------------------------------------------------------------------


def test_after_so_long_everybody_proves_themselves_again_and_loses_nothing(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    set_rule(idp, "timeouts", {"idle": 86_400, "absolute": 10 * 86_400})
    alice.sign_in()
    tokens = tokens_of(idp, alice, app)
    set_rule(idp, "reauthentication", {"every": 28_800, "grace": 600})
    idp.clock.advance(8 * HOUR)
    assert alice.get("/account/sessions").status_code == 200
    idp.clock.advance(5 * MINUTE)
    # Pages and apps' requests ask at once, refreshing a grace later.
    page = Page(alice.get(held(alice.get("/account/sessions"))))
    assert "It is a while since you confirmed" in page.text
    assert alice.authorize(app, prompt="none")["error"] == "login_required"
    assert alice.authorize(app)["page"].startswith("/login?request=")
    status, body = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    token = body["refresh_token"]
    idp.clock.advance(6 * MINUTE)
    assert idp.refresh(app, token)[1]["error"] == "interaction_required"
    response = alice.press(page, "factor-submit", password=PASSWORD)
    assert response.headers["location"] == "/account/sessions"
    assert idp.refresh(app, token)[0] == 200
    assert "code" in alice.authorize(app, prompt="none")
    assert alice.session().challenged_at is None


def test_a_level_is_asked_of_apps_and_never_of_the_page_where_it_is_set_up(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    set_rule(idp, "reauthentication", {"every": 28_800, "acr": "aal2"})
    assert alice.get("/account/security").status_code == 200
    assert alice.authorize(app, prompt="none")["error"] == "interaction_required"
    assert alice.authorize(app)["page"].startswith("/step-up?request=")


def test_a_period_for_one_app_is_no_other_apps_business(
    idp: Idp, alice: Traveller, app: Registered
) -> None:
    set_rule(idp, "timeouts", {"idle": 86_400, "absolute": 10 * 86_400})
    alice.sign_in()
    other = idp.register(name="Other")
    set_rule(idp, "reauthentication", {"every": 3_600, "grace": 0}, client=app.id)
    mine, others = tokens_of(idp, alice, app), tokens_of(idp, alice, other)
    idp.clock.advance(2 * HOUR)
    assert idp.refresh(app, mine["refresh_token"])[1]["error"] == "interaction_required"
    assert idp.refresh(other, others["refresh_token"])[0] == 200
    assert alice.authorize(app, prompt="none")["error"] == "login_required"
    assert "code" in alice.authorize(other, prompt="none")
    assert alice.get("/account/sessions").status_code == 200


# --- What is activity ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use, is_activity",
    [
        ("page", True),
        ("refresh", True),
        ("authorize", True),
        ("prompt=none", False),
        ("introspect", False),
        ("userinfo", False),
        ("receipts", False),
    ],
)
def test_what_keeps_a_session_alive(
    idp: Idp, alice: Traveller, app: Registered, use: str, is_activity: bool
) -> None:
    """ASVS 7.3.1: what an app's iframe or a page's script asks with nobody there does not."""
    tokens = tokens_of(idp, alice, app)
    before = alice.session().idle_at
    idp.clock.advance(4 * MINUTE)
    if use == "page":
        alice.get("/account/sessions")
    elif use == "refresh":
        idp.refresh(app, tokens["refresh_token"])
    elif use == "authorize":
        assert "code" in alice.authorize(app)
    elif use == "prompt=none":
        assert "code" in alice.authorize(app, prompt="none")
    elif use == "introspect":
        assert idp.is_active(app, tokens["access_token"])
    elif use == "userinfo":
        assert idp.userinfo(tokens["access_token"])[0] == 200
    else:
        alice.get("/account/sessions/receipts")
    assert (alice.session().idle_at > before) == is_activity


def test_polling_alone_lets_a_session_run_out(idp: Idp, alice: Traveller, app: Registered) -> None:
    for _ in range(5):
        idp.clock.advance(11 * MINUTE)
        assert "code" in alice.authorize(app, prompt="none")
    idp.clock.advance(6 * MINUTE)
    assert alice.authorize(app, prompt="none")["error"] == "login_required"
    assert alice.session().idle_at < idp.clock.now() < alice.session().created_at + DAY

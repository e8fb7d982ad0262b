"""A payment for which the API asks for more, and the app that comes back to the very request.

Everything is real and in this process: the provider with its pages, the app, the API.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from clients.protected_api.app import ProtectedApi, routes
from clients.web_app.app import WebApp, site
from clients.web_app.config import Config
from clients.web_app.payments import KEPT_MAXIMUM, Payment, Payments, asks_for_more
from idp.clock import SECOND
from idp.users import queries
from tests.flows.pages import Person
from tests.harness.enrolled import Factors, with_totp
from tests.harness.provider import ISSUER, Idp, Templates, answer_of, settings_for
from tests.harness.workbench import ManualClock

APP = "http://localhost:8001"
API = "http://localhost:8003"
PAYMENT = {"amount": "12.50", "note": "Rent"}
CHALLENGE = 'Bearer error="insufficient_user_authentication", acr_values="aal2", max_age="300"'


@dataclass
class World:
    """Alice at her browser, with an app and its API."""

    idp: Idp
    web: WebApp
    api: ProtectedApi
    # Her browser at the provider, and at the app.
    person: Person
    browser: TestClient

    def sign_in(self, username: str = "alice") -> None:
        assert self.person.open(self._sent("/login")).sign_in(username).sent_to
        assert self.come_back().text.count(f"Signed in as {username}")

    def pay(self, **form: str) -> httpx2.Response:
        return self.browser.post("/payments", data=PAYMENT | form)

    def come_back(self) -> httpx2.Response:
        """Follows the provider's answer to the page of the app it leads to."""
        assert self.person.sent_to is not None, self.person.page and self.person.page.text
        return self.followed(self.browser.get(self.person.sent_to.removeprefix(APP)))

    def followed(self, answer: httpx2.Response) -> httpx2.Response:
        while answer.status_code == 303:
            answer = self.browser.get(answer.headers["location"])
        return answer

    def _sent(self, path: str) -> str:
        return self.browser.get(path).headers["location"].removeprefix(ISSUER)

    @property
    def paid(self) -> list[dict[str, Any]]:
        return [payment for _, payment in self.api.payments]


@pytest.fixture
def idp(tmp_path: Path, templates: Templates) -> Iterator[Idp]:
    """A provider whose clock is near that of the app and the API, which have the machine's."""
    near = ManualClock((int(time.time()) - 100) * SECOND)
    made = Idp(settings_for(templates.sqlite(tmp_path / "idp.db")), near)
    yield made
    made.close()


@pytest.fixture
def world(idp: Idp) -> World:
    app = idp.register(
        redirect_uris=[f"{APP}/callback"], scope="openid profile email payments", audience=[API]
    )
    checking = idp.register(
        introspects_all=1, grant_types=["client_credentials"], redirect_uris=[], scope=""
    )
    api = ProtectedApi(
        {
            "ISSUER": ISSUER,
            "API_URL": API,
            "CLIENT_ID": checking.id,
            "CLIENT_SECRET": checking.secret or "",
        }
    )
    at_provider = httpx2.ASGITransport(app=idp.app)
    api.http = httpx2.AsyncClient(transport=at_provider)
    web = WebApp(
        Config(
            name="App One",
            url=APP,
            accent="indigo",
            issuer=ISSUER,
            client_id=app.id,
            client_secret=app.secret or "",
            api_url=API,
        )
    )
    web.provider.client_kwargs["transport"] = at_provider
    web.api.http = httpx2.AsyncClient(
        base_url=API, transport=httpx2.ASGITransport(app=Starlette(routes=routes(api)))
    )
    for username in ("alice", "bob"):
        idp.person(username)
    browser = TestClient(site(web), base_url=APP, follow_redirects=False)
    return World(idp, web, api, Person(idp), browser)


def enrol(world: World, username: str = "alice") -> Factors:
    with world.idp.work.read() as unit:
        user = queries.by_identifier(unit, username)
    assert user is not None
    return with_totp(world.idp, user)


def sent_to_prove(world: World, answer: httpx2.Response) -> dict[str, str]:
    """Opens what the app answered, which must be the provider's step-up page."""
    location = answer.headers["location"]
    assert (answer.status_code, location.startswith(f"{ISSUER}/authorize?")) == (303, True), (
        location
    )
    world.person.open(location.removeprefix(ISSUER))
    return answer_of(location)


def test_a_payment_asks_for_more_and_comes_back_to_the_very_request(world: World) -> None:
    world.sign_in()
    factors = enrol(world)
    before = world.browser.cookies["app_one_session"]
    asked = sent_to_prove(world, world.pay())
    assert (asked["acr_values"], asked["max_age"]) == ("aal2", "300")
    assert world.paid == []
    assert world.person.at == "/step-up"
    world.person.press("factor-submit", code=factors.code())
    page = world.come_back()
    assert world.paid == [PAYMENT]
    assert ">Paid<" in page.text
    assert "&#34;acr&#34;: &#34;aal2&#34;" in page.text
    assert world.browser.cookies["app_one_session"] != before
    # The next payment needs nothing more: the proofs are fresh still.
    assert world.followed(world.pay(note="Again")).status_code == 200
    assert world.paid == [PAYMENT, PAYMENT | {"note": "Again"}]


def test_coming_back_twice_pays_once(world: World) -> None:
    world.sign_in()
    factors = enrol(world)
    sent_to_prove(world, world.pay())
    world.person.press("factor-submit", code=factors.code())
    answer = world.person.sent_to
    world.come_back()
    for _ in range(2):
        again = world.browser.get((answer or "").removeprefix(APP))
        assert again.status_code == 400
    assert world.paid == [PAYMENT]


def test_who_cancels_finds_the_form_filled_in_still(world: World) -> None:
    world.sign_in()
    enrol(world)
    sent_to_prove(world, world.pay(note="Rent & heating"))
    world.person.press("factor-cancel")
    assert world.person.answer["error"] == "unmet_authentication_requirements"
    page = world.come_back()
    assert "Nothing was paid: you did not prove what this needs." in page.text
    assert 'value="12.50"' in page.text
    assert 'value="Rent &amp; heating"' in page.text
    assert "Signed in as alice" in page.text
    assert world.paid == []


def test_who_has_no_second_factor_is_told_so_and_finds_the_way_back(world: World) -> None:
    world.sign_in()
    sent_to_prove(world, world.pay())
    assert world.person.page is not None
    assert world.person.page.status_code == 403
    world.person.press("factor-cancel")
    assert "Nothing was paid" in world.come_back().text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("access_denied", "you said no"),
        ("server_error", "Please try again"),
        ("unmet_authentication_requirements", "did not prove"),
    ],
)
def test_an_error_of_the_provider_is_shown_with_the_form(
    world: World, error: str, sentence: str
) -> None:
    world.sign_in()
    state = sent_to_prove(world, world.pay())["state"]
    page = world.followed(world.browser.get(f"/callback?error={error}&state={state}"))
    assert sentence in page.text
    assert 'value="Rent"' in page.text
    # Of somebody else's making, it concerns no payment.
    assert world.browser.get(f"/callback?error={error}&state=made-up").status_code in (400, 403)


def test_one_challenge_is_followed_and_no_second(world: World) -> None:
    """An API that is never content is shown to the person instead of sending them in circles."""
    world.sign_in()
    factors = enrol(world)
    sent_to_prove(world, world.pay())

    asked = []

    def never(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(401, headers={"WWW-Authenticate": CHALLENGE}, json={"error": "x"})

    world.web.api.http = httpx2.AsyncClient(base_url=API, transport=httpx2.MockTransport(never))
    world.person.press("factor-submit", code=factors.code())
    page = world.come_back()
    assert "The API answered 401" in page.text
    assert 'value="Rent"' in page.text
    # With the new token, once: to refresh it would prove nothing.
    assert len(asked) == 1


def test_somebody_else_who_proves_it_does_not_pay(world: World) -> None:
    """MF-02: what Bob proves is no proof of Alice."""
    world.sign_in()
    enrol(world)
    asked = sent_to_prove(world, world.pay())
    bob = Person(world.idp)
    # Without the hint, as if the provider did not know it: the app itself must see who came.
    asked.pop("id_token_hint")
    factors = enrol(world, "bob")
    bob.open("/authorize", asked).sign_in("bob")
    bob.press("factor-submit", code=factors.code())
    world.person.sent_to = bob.sent_to
    page = world.come_back()
    assert "Signed in as bob" in page.text
    assert world.paid == []


def test_the_hint_keeps_anybody_else_from_answering(world: World) -> None:
    world.sign_in()
    asked = sent_to_prove(world, world.pay())
    bob = Person(world.idp)
    bob.open("/authorize", asked).sign_in("bob")
    assert bob.answer["error"] == "login_required"


def test_a_payment_needs_the_apps_own_page_and_a_session(world: World) -> None:
    assert world.pay().headers["location"] == "/"
    world.sign_in()
    crossing = world.browser.post(
        "/payments", data=PAYMENT, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert crossing.status_code == 403
    assert world.browser.get("/payments/unknown").headers["location"] == "/"
    assert world.browser.get("/payments").status_code == 405


def test_what_the_api_refuses_is_shown(world: World) -> None:
    world.sign_in()
    factors = enrol(world)
    sent_to_prove(world, world.pay(amount="much"))
    world.person.press("factor-submit", code=factors.code())
    page = world.come_back()
    assert "The API answered 400" in page.text
    assert 'value="much"' in page.text


def test_open_pages_stay_signed_in_when_their_person_proves_more(world: World) -> None:
    world.sign_in()
    factors = enrol(world)
    (session,) = world.web.sessions._by_id.values()
    sent_to_prove(world, world.pay())
    world.person.press("factor-submit", code=factors.code())
    world.come_back()
    (after,) = world.web.sessions._by_id.values()
    assert after.id != session.id
    assert not session.ended.is_set()
    world.web.sessions.end_by(sid=after.sid, sub=after.sub)
    assert session.ended.is_set()


# --- challenges, and what is kept ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "asked"),
    [
        (401, CHALLENGE, {"acr_values": "aal2", "max_age": "300"}),
        (401, f'{CHALLENGE}, realm="x"', {"acr_values": "aal2", "max_age": "300"}),
        (401, 'bearer error="insufficient_user_authentication", max_age="5"', {"max_age": "5"}),
        (401, 'Bearer error="insufficient_user_authentication"', {}),
        (401, 'Bearer error="invalid_token", acr_values="aal2"', None),
        (401, 'DPoP error="insufficient_user_authentication"', None),
        (401, "", None),
        (403, CHALLENGE, None),
        (200, CHALLENGE, None),
    ],
)
def test_only_a_challenge_is_taken_for_one(
    status: int, header: str, asked: dict[str, str] | None
) -> None:
    response = httpx2.Response(status, headers={"WWW-Authenticate": header})
    assert asks_for_more(response) == asked


def test_a_session_keeps_the_latest_payments_only() -> None:
    kept, made = Payments(), [Payment("1", "") for _ in range(KEPT_MAXIMUM + 1)]
    states = []
    for payment in made:
        kept.add(payment)
        states.append(payment.wait())
    assert kept.find(made[0].id) is None
    assert kept.take_waiting(states[0]) is None
    assert kept.take_waiting(None) is None
    assert kept.take_waiting(states[1]) is made[1]
    assert kept.take_waiting(states[1]) is None

"""People and apps for the tests of pages."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.events import delivery
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User
from tests.harness.provider import PASSWORD, Flow, Idp, Registered, Started, answer_of
from tests.web.html import Page

LAPTOP = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Safari/537.36"
)
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1"
)


@dataclass
class Somebody:
    """A person at a browser in which they are signed in."""

    idp: Idp
    user: User
    session: Started
    browser: TestClient

    @property
    def id(self) -> str:
        return self.session.session.id

    def sessions(self, query: str = "") -> Page:
        response = self.browser.get(f"/account/sessions{query}")
        assert response.status_code == 200, response.headers.get("location")
        return Page(response)

    def elsewhere(self, agent: str = PHONE, ip: str = "198.51.100.7") -> str:
        """A further session of the same person; gives its id."""
        return self.idp.session(self.user, agent=agent, ip=ip).session.id

    def is_running(self, session_id: str) -> bool:
        with self.idp.work.read() as unit:
            row = unit.connection.exec_driver_sql(
                "SELECT ended_at FROM sessions WHERE id = '" + session_id + "'"
            ).one()
        return row.ended_at is None

    def use(self, client: Registered, scope: str = "openid") -> dict[str, str]:
        """Signs in to an app in this session; gives its tokens."""
        flow = Flow(client)
        answer = self.idp.authorize(self.browser, flow.parameters(scope=scope))
        status, body = self.idp.token(
            client,
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=client.redirect_uri,
            code_verifier=flow.verifier,
        )
        assert status == 200, body
        return body


@pytest.fixture
def somebody(idp: Idp) -> Callable[..., Somebody]:
    """Makes people who are signed in."""

    def make(username: str = "alice", agent: str = LAPTOP) -> Somebody:
        user = idp.person(username)
        session = idp.session(user, agent=agent)
        return Somebody(idp, user, session, idp.signed_in_browser(session))

    return make


@pytest.fixture
def alice(somebody: Callable[..., Somebody]) -> Somebody:
    return somebody("alice")


@pytest.fixture
def app(idp: Idp) -> Registered:
    """A first-party app that wants to be told of sign-outs."""
    return idp.register(name="Notes", backchannel_logout_uri="http://127.0.0.1:1/logout")


@pytest.fixture
def stranger(idp: Idp) -> Registered:
    """An app that must ask for consent."""
    return idp.register(name="Stranger", first_party=0)


def begin(browser: TestClient, client: Registered, **parameters: str) -> Response:
    """Follows an app's request to the page it leads to."""
    response = browser.get("/authorize?" + urlencode(Flow(client).parameters(**parameters)))
    assert response.status_code == 303, response.text
    return browser.get(response.headers["location"])


def sign_in(
    browser: TestClient,
    page: Page,
    *,
    username: str = "alice",
    password: str = PASSWORD,
    **typed: str,
) -> Response:
    return page.press(browser, "login-submit", username=username, password=password, **typed)


def back_at_app(browser: TestClient, response: Response) -> dict[str, str]:
    """Follows the way back from a page; gives what the app receives."""
    assert response.status_code == 303, response.text
    response = browser.get(response.headers["location"])
    assert response.status_code == 303, response.text
    assert response.headers["location"].startswith("https://app.example/callback"), (
        response.headers["location"]
    )
    return answer_of(response.headers["location"])


def settle(idp: Idp, *, accepted: tuple[str, ...] = (), given_up: tuple[str, ...] = ()) -> None:
    """Lets what is owed to these receivers be accepted, or be given up."""
    for receivers, finish in ((accepted, _accept), (given_up, _give_up)):
        with idp.work.begin() as unit:
            reach = delivery.Reach(channels=["backchannel_logout"], only=receivers)
            due = [one for one, _ in delivery.due(unit, reach, limit=100)]
            finish(unit, delivery.claim(unit, due, lease=1_000_000))


def _accept(unit: UnitOfWork, claimed: list[delivery.Claimed]) -> None:
    delivery.finish(unit, claimed, 200)


def _give_up(unit: UnitOfWork, claimed: list[delivery.Claimed]) -> None:
    for one in claimed:
        delivery.give_up(unit, one, error="no answer")

"""Administrators and programs that call the management API."""

from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.policy import management
from idp.users import queries
from idp.users.model import User
from tests.harness.provider import Idp, Registered, Started

ROOT = "/api/v1/admin"


class Caller:
    """Whoever has an access token for the management API."""

    def __init__(self, idp: Idp, token: str, user: User | None = None) -> None:
        self.idp = idp
        self.token = token
        self.user = user
        self._browser: TestClient = idp.browser()

    def __call__(self, method: str, path: str, **given: Any) -> Response:
        headers = {"authorization": f"Bearer {self.token}"} | given.pop("headers", {})
        return self._browser.request(method, ROOT + path, headers=headers, **given)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """What a GET that must succeed answers."""
        return good(self("GET", path, params=parameters))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """What a POST that must succeed answers."""
        return good(self("POST", path, json=body))


def good(response: Response) -> dict[str, Any]:
    assert response.status_code in (200, 201, 202), response.text
    body: dict[str, Any] = response.json()
    return body


def problem(response: Response) -> tuple[int, str]:
    """The status and code of a problem, after a look at its form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    # Where a session is over, the problem says since when and why.
    assert body.keys() - {"reason", "ended_at"} == {"type", "title", "status", "detail", "code"}
    assert body["status"] == response.status_code
    return response.status_code, str(body["code"])


def manager_client(idp: Idp, *scopes: str, **values: Any) -> Registered:
    """A client that is marked for management, with these scopes of its API."""
    defaults: dict[str, Any] = {
        "name": "Console",
        "management": 1,
        "scope": " ".join(["openid", *scopes]),
        "access_token_lifetime": 3_600,
    }
    return idp.register(**(defaults | values))


def program(idp: Idp, *scopes: str) -> Caller:
    """A client that calls for itself with these scopes."""
    client = manager_client(idp, *scopes, grant_types=["client_credentials"], redirect_uris=[])
    status, body = idp.token(client, grant_type="client_credentials")
    assert status == 200, body
    return Caller(idp, body["access_token"])


def signed_in(idp: Idp, started: Started, user: User, *scopes: str) -> Caller:
    """A person who calls through a console, which asked for these scopes (all without)."""
    wanted = scopes or management.SCOPES
    client = manager_client(idp, *wanted)
    tokens = idp.grant(client, started, scope=" ".join(["openid", *wanted]))
    return Caller(idp, tokens["access_token"], user)


def person(idp: Idp, username: str, *roles: str) -> Caller:
    """Somebody with these roles who has just signed in and calls with all that they give."""
    user = idp.person(username, roles=roles)
    return signed_in(idp, idp.session(user), user)


def role(idp: Idp, name: str, *permissions: str) -> str:
    with idp.work.begin() as unit:
        return queries.define_role(unit, name, permissions).name


@pytest.fixture
def robot(idp: Idp) -> Caller:
    """A program that may do everything."""
    return program(idp, *management.SCOPES)


@pytest.fixture
def root(idp: Idp) -> Caller:
    """An administrator."""
    return person(idp, "root", management.ADMINISTRATOR)


@pytest.fixture
def call_as(idp: Idp) -> Callable[..., Caller]:
    """Makes somebody with these permissions, who calls."""

    def make(username: str, *permissions: str) -> Caller:
        return person(idp, username, role(idp, f"role-of-{username}", *permissions))

    return make

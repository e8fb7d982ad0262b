"""Administrators in front of a browser."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from starlette.testclient import TestClient

from idp.policy import management
from idp.users import queries
from tests.harness.provider import Idp

Enter = Callable[..., TestClient]
_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


@pytest.fixture
def enter(idp: Idp) -> Enter:
    """The browser of somebody new who is signed in and holds these rights (all without)."""

    def make(*rights: str, username: str = "root") -> TestClient:
        with idp.work.begin() as unit:
            queries.define_role(unit, f"role-of-{username}", rights or management.SCOPES)
        person = idp.person(username, roles=[f"role-of-{username}"])
        return idp.signed_in_browser(idp.session(person))

    return make


def token_of(browser: TestClient) -> str:
    """The token that the forms of this browser's pages carry."""
    found = _TOKEN.search(browser.get("/account/sessions").text)
    assert found is not None
    return found[1]


def send(browser: TestClient, path: str, **fields: str) -> tuple[int, str]:
    """Sends a form as its page would; gives the status, and where it leads or the page."""
    answer = browser.post(path, data={"csrf": token_of(browser), **fields})
    return answer.status_code, answer.headers.get("location", answer.text)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())

"""Administrators in front of a browser."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from idp.policy import management
from idp.users import queries
from tests.harness.provider import ADMIN, Idp

Enter = Callable[..., TestClient]


@pytest.fixture
def enter(idp: Idp) -> Enter:
    """The browser of somebody new who is signed in and holds these rights (all without)."""

    def make(*rights: str, username: str = "root") -> TestClient:
        with idp.work.begin() as unit:
            queries.define_role(unit, f"role-of-{username}", rights or management.SCOPES)
        person = idp.person(username, roles=[f"role-of-{username}"])
        return idp.signed_in_browser(idp.session(person))

    _ = ADMIN
    return make

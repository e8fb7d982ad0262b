"""What administrators see of browsers that stay signed in, and how they end that."""

import json

import pytest

from idp import ids
from idp.sessions import beginning, prove, remembering
from idp.sessions.beginning import Started
from idp.sessions.device import Visit
from idp.users.model import User
from tests.cli.test_cli import Terminal, environment, idp_cli, ready
from tests.harness.provider import Idp

__all__ = ["environment", "idp_cli", "ready"]


@pytest.fixture
def sessions(idp: Idp) -> list[Started]:
    """Two browsers in which Anna stays signed in."""
    anna = idp.person("anna")
    made = []
    for number in range(2):
        visit = Visit(device_hash=ids.digest(str(number)), agent="curl/8.17.0")
        with idp.work.begin() as unit:
            user = unit.orm.get_one(User, anna.id)
            made.append(beginning.start(unit, user, [prove.PASSWORD], visit))
            remembering.make(unit, user, made[-1].session_id, [prove.PASSWORD], visit)
    return made


def test_they_are_listed_without_anything_secret(
    ready: Terminal, idp: Idp, sessions: list[Started]
) -> None:
    listed = ready.ok("sessions", "remembered", "anna")
    assert [(one["name"], one["uses"]) for one in listed] == [("curl 8", 0)] * 2
    assert set(listed[0]) == {"id", "name", "created_at", "last_used_at", "expires_at", "uses"}
    with idp.work.read() as unit:
        row = unit.connection.exec_driver_sql("SELECT salt, device_hash FROM remembered_browsers")
        salt, device = row.first() or (b"", "")
    text = json.dumps(listed) + ready("sessions", "remembered", "anna").out
    assert bytes(salt).hex() not in text
    assert device not in text


def test_one_is_forgotten_and_then_all_and_no_session_ends(
    ready: Terminal, idp: Idp, sessions: list[Started]
) -> None:
    one, other = (row["id"] for row in ready.ok("sessions", "remembered", "anna"))
    assert ready.ok("sessions", "forget", "anna", one)["forgotten"] == [one]
    assert [row["id"] for row in ready.ok("sessions", "remembered", "anna")] == [other]
    assert ready.ok("sessions", "forget", "anna")["forgotten"] == [other]
    assert ready.ok("sessions", "remembered", "anna") == []
    events = idp.events("remember.forgotten")
    assert [(event["actor"], event["reason"]) for event in events] == [("admin", "admin")] * 2
    assert len(ready.ok("sessions", "list", "anna")) == 2


def test_another_users_browser_is_as_unknown_as_none(
    ready: Terminal, idp: Idp, sessions: list[Started]
) -> None:
    idp.person("bob")
    one = ready.ok("sessions", "remembered", "anna")[0]["id"]
    refused = ready("sessions", "forget", "bob", one)
    assert refused.code == 1
    assert len(ready.ok("sessions", "remembered", "anna")) == 2

"""Many people at one moment: nobody is answered with what is somebody else's (OP-10, I8)."""

from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from idp import ids
from tests.attacks.wire import Request, Wire, cookie
from tests.harness.provider import Flow, Idp

PEOPLE = 12
ROUNDS = 3


@pytest.mark.attack("OP-10")
def test_nobody_is_answered_with_what_is_somebody_elses(idp: Idp, wire: Wire) -> None:
    """State of a request that was kept where the next one finds it would show here."""
    app = idp.register()
    names = [f"person-{number:02}" for number in range(PEOPLE)]
    people = {name: idp.person(name) for name in names}
    sessions = {name: idp.session(people[name]) for name in names}
    tokens = {
        name: idp.grant(app, sessions[name], scope="openid sessions")["access_token"]
        for name in names
    }
    asked: list[tuple[str, Request]] = []
    for name in names * ROUNDS:
        known, bearer = (
            {"cookie": cookie(sessions[name])},
            {"authorization": f"Bearer {tokens[name]}"},
        )
        flow = urlencode(Flow(app).parameters(prompt="none", state=name)).encode()
        asked += [
            (name, Request("GET", "/account/sessions", headers=known)),
            (name, Request("GET", "/userinfo", headers=bearer)),
            (name, Request("GET", "/api/v1/users/sessions", headers=bearer)),
            (name, Request("GET", "/authorize", flow, headers=known)),
        ]
    answers = wire.together([request for _, request in asked])
    seen: set[tuple[str, str]] = set()
    for (name, request), answer in zip(asked, answers, strict=True):
        if answer.status == 503:
            continue  # too many pages at once, and said so
        assert answer.status in (200, 303), (request.path, answer.status)
        text = answer.body.decode() + str(answer.headers)
        others = [one for one in names if one != name]
        theirs = [sessions[one].session.id for one in others] + [people[one].id for one in others]
        assert not [one for one in (*others, *theirs) if one in text], (name, request.path)
        if request.path == "/userinfo":
            assert answer.json["sub"] == people[name].id
        elif request.path == "/authorize":
            assert answer.redirected["state"] == name
            assert whose(idp, answer.redirected["code"]) == people[name].id
        else:
            assert sessions[name].session.id in text
        seen.add((name, request.path))
    assert {(name, "/userinfo") for name in names} <= seen
    assert "/authorize" in {path for _, path in seen}


def whose(idp: Idp, code: str) -> str:
    """The person in whose session a code was issued."""
    issued = sa.text("SELECT user_id FROM authorizations WHERE code_hash = :digest")
    with idp.work.read() as unit:
        return str(unit.connection.scalar(issued, {"digest": ids.digest(code)}))

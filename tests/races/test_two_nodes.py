"""Two nodes, no sticky sessions: what one of them did the other knows at the very next request (FT-08).

A pair is something done at one node and its use at the other, at once. `RACE_ROUNDS=250` makes 10,000.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import redis_server
from tests.harness.deployment import SCOPE, Deployment, Grant, authorize_path, deployed
from tests.harness.load_clients import AppAt, Browser, Wire, code_of, error_of, json_of
from tests.harness.provider import PASSWORD, Templates
from tests.harness.server_process import Forking
from tests.races.conftest import LONGER
from tests.races.ends import ENDS, ending

# Each is two pairs: a beginning and an end.
ROUNDS = 20 * LONGER
# More than one, so that nobody's list of sessions grows long.
PEOPLE = ("alice", "bob", "carol", "dave", "eve")


@pytest.fixture
def two_nodes(tmp_path: Path, templates: Templates, forking: Forking) -> Iterator[Deployment]:
    """On one PostgreSQL, with a Redis between them."""
    with (
        templates.postgres() as url,
        redis_server.running() as redis,
        deployed(url, tmp_path, forking, nodes=2, IDP_REDIS_URL=redis.url) as made,
    ):
        yield made


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.timeout(120 + 10 * LONGER)
def test_what_one_node_did_the_other_knows_at_the_next_request(
    two_nodes: Deployment, say: Callable[[str], None]
) -> None:
    for name in PEOPLE:
        two_nodes.person(name)
    two_nodes.limit_sessions(1_000)
    apps = [two_nodes.app("Opaque"), two_nodes.app("JWTs", access_token_format="jwt")]
    resource = two_nodes.app("API", introspects_all=1)
    wires = [Wire(port) for port in two_nodes.ports]
    stale: list[str] = []
    for number in range(ROUNDS):
        here, there = wires[number % 2], wires[1 - number % 2]
        end = ENDS[number % len(ENDS)]
        browser = two_nodes.browser()
        form = browser.sign_in_form()
        begun = here.exchange(browser.signing_in(PEOPLE[number % len(PEOPLE)], PASSWORD, form))
        assert begun.status == 303
        browser.keep(begun)
        grant = _granted(browser, apps[number // 2 % 2], here=here, there=there)
        # So that the other node has seen it alive, and keeps of it what it keeps.
        alive = _worth(grant, resource, there)
        if set(alive.values()) != {"alive"}:
            stale.append(f"round {number}, begun: {alive}")
        request = ending(grant, end)
        assert here.exchange(request).status in (200, 303)
        left = _worth(grant, resource, there)
        if end == "revoke":
            assert left.pop("page") == "alive", "the session goes on"
        if set(left.values()) != {"over"}:
            stale.append(f"round {number}, {end}: {left}")
        browser.close()
    for wire in wires:
        wire.close()
    assert not stale
    say(f"done at one node, used at the other: n={2 * ROUNDS} pairs, stale 0")


def _granted(browser: Browser, app: AppAt, *, here: Wire, there: Wire) -> Grant:
    """The code is asked for where nobody signed in, and redeemed where it was not made."""
    flow = app.flow()
    path = authorize_path(flow.parameters(scope=SCOPE))
    code = code_of(there.exchange(browser.getting(path)))
    assert code is not None, "the session is not known at the other node"
    answer = here.exchange(app.redeeming(flow, code))
    assert answer.status == 200, "the code is not known at the other node"
    said = json_of(answer)
    answer = there.exchange(app.refreshing(str(said["refresh_token"])))
    assert answer.status == 200, "the grant is not known at the other node"
    said |= json_of(answer)
    tokens = (str(said[name]) for name in ("access_token", "refresh_token", "id_token"))
    return Grant(app, browser, *tokens, code)


def _worth(grant: Grant, resource: AppAt, at: Wire) -> dict[str, str]:
    """What tokens and cookie are worth at a node: "alive", "over", or what it said instead."""
    app = grant.app
    found = {}
    for name, asker, token in (
        ("access", resource, grant.access_token),
        ("refresh", app, grant.refresh_token),
    ):
        active = json_of(at.exchange(asker.introspecting(token)))["active"]
        found[f"{name} token"] = "alive" if active else "over"
    status = at.exchange(app.asking("GET", "/userinfo", grant.access_token)).status
    found["userinfo"] = {200: "alive", 401: "over"}.get(status, str(status))
    status = at.exchange(grant.browser.getting("/account/sessions")).status
    found["page"] = {200: "alive", 303: "over"}.get(status, str(status))
    if "over" in found.values():
        said = error_of(at.exchange(app.refreshing(grant.refresh_token)))
        found["refresh"] = "over" if said == "invalid_grant" else str(said)
    return found

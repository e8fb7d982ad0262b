"""Codes and tokens on every pair of database and Store: two nodes, and a Redis that may be lost.

Each is used once, rotated or revoked for both nodes at once, whatever befalls Redis in the middle.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from joserfc.jwk import ECKey

from idp.clock import SECOND
from tests.harness.device_app import DeviceApp, decide, device_app, open_code
from tests.harness.nodes import Nodes
from tests.harness.provider import Flow, Idp, Registered, Started
from tests.harness.receivers import Receiver, listening, saying
from tests.oauth.test_client_authentication import assertion, document, register, with_assertion

Tokens = dict[str, Any]


@pytest.fixture
def app(nodes: Nodes) -> Registered:
    return nodes.one.register()


@pytest.fixture
def started(nodes: Nodes) -> Started:
    return nodes.one.session(nodes.one.person(f"p{secrets.token_hex(6)}"))


def redeem(node: Idp, flow: Flow, code: str) -> tuple[int, Tokens]:
    return node.token(
        flow.client,
        grant_type="authorization_code",
        code=code,
        redirect_uri=flow.client.redirect_uri,
        code_verifier=flow.verifier,
    )


def test_a_code_of_one_node_is_redeemed_once_on_another(
    nodes: Nodes, app: Registered, started: Started
) -> None:
    flow = Flow(app)
    browser = nodes.one.signed_in_browser(started)
    code = nodes.one.authorize(browser, flow.parameters())["code"]
    nodes.meanwhile()
    status, tokens = redeem(nodes.other, flow, code)
    assert status == 200
    assert nodes.one.is_active(app, tokens["access_token"])
    assert redeem(nodes.one, flow, code)[1]["error"] == "invalid_grant"
    for node in (nodes.one, nodes.other):
        assert not node.is_active(app, tokens["access_token"]), "a code that came back ends it all"


def test_a_refresh_token_is_one_chain_over_all_nodes(
    nodes: Nodes, app: Registered, started: Started
) -> None:
    first = nodes.one.grant(app, started)["refresh_token"]
    second = nodes.one.refresh(app, first)[1]["refresh_token"]
    nodes.meanwhile()
    again = nodes.other.refresh(app, first)[1]["refresh_token"]
    assert again == second, "a lost answer is asked for again, wherever"
    nodes.one.clock.advance(11 * SECOND)
    status, tokens = nodes.other.refresh(app, second)
    assert status == 200
    assert nodes.one.is_active(app, tokens["access_token"])
    assert nodes.one.refresh(app, first)[1]["error"] == "invalid_grant"
    for node in (nodes.other, nodes.one):
        assert node.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"
        assert not node.is_active(app, tokens["access_token"])


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_what_was_revoked_on_one_node_is_refused_on_the_other_at_once(
    nodes: Nodes, app: Registered, started: Started, kind: str
) -> None:
    tokens = nodes.one.grant(app, started)
    assert nodes.other.is_active(app, tokens[kind])
    nodes.meanwhile()
    assert (
        nodes.one.browser()
        .post("/revoke", data={"token": tokens[kind]}, auth=(app.id, str(app.secret)))
        .is_success
    )
    assert not nodes.other.is_active(app, tokens[kind])
    assert not nodes.one.is_active(app, tokens[kind])
    assert nodes.other.userinfo(tokens["access_token"])[0] == 401


def test_a_device_is_let_in_once_whichever_node_it_asks(nodes: Nodes, started: Started) -> None:
    asking = device_app(nodes.one)
    asking.ask(scope="openid")
    browser = nodes.other.signed_in_browser(started)
    page = open_code(browser, asking.user_code)
    nodes.meanwhile()
    decide(browser, page, "device-allow")
    polling = DeviceApp(nodes.other, asking.client, asking.codes)
    status, tokens = polling.wait()
    assert status == 200, tokens
    assert nodes.one.userinfo(tokens["access_token"])[0] == 200
    assert asking.wait()[1]["error"] == "invalid_grant"


@pytest.fixture
def key_server() -> Iterator[Receiver]:
    """An app's web server, for its `jwks_uri`."""
    with listening() as receivers:
        yield receivers.add()


def test_an_assertion_is_spent_for_every_node_and_its_keys_are_found_again(
    nodes: Nodes, key_server: Receiver
) -> None:
    """The keys are kept in the Store: where they were lost they are fetched, and that is all."""
    key = ECKey.generate_key("P-256", {"kid": "k"})
    kind = "Content-Type: application/json\r\n"
    body = orjson.dumps(document(key))
    key_server.answering = saying("200 OK", body=body, headers=kind)
    app = register(nodes.one, jwks_uri=key_server.uri)
    made = assertion(nodes.one, app, key, kid="k")
    assert with_assertion(nodes.one, made) == 200
    nodes.meanwhile()
    assert with_assertion(nodes.other, made) == 401
    assert with_assertion(nodes.other, assertion(nodes.other, app, key, kid="k")) == 200
    assert key_server.connections <= 2

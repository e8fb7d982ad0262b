"""Sessions on every pair of database and Store: two nodes, and a Redis that may be lost (SE-10, SE-17).

Nobody is stuck to a node. What befalls Redis in the middle of each story changes no answer.
"""

import secrets

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import HOUR, MINUTE, SECOND
from idp.users.model import User
from tests.harness.nodes import Nodes
from tests.harness.provider import PASSWORD, Flow, Idp, Registered, Started
from tests.web.html import Page


def somebody(node: Idp, **values: object) -> User:
    """A person whom no other story knows."""
    return node.person(f"p{secrets.token_hex(6)}", **values)


def page_of(node: Idp, started: Started) -> Response:
    """The list of sessions, asked for by a browser with this session's cookie."""
    return node.signed_in_browser(started).get("/account/sessions")


def is_in(node: Idp, started: Started, app: Registered) -> bool:
    """Whether the session is good for a silent sign-in; which is no activity."""
    browser = node.signed_in_browser(started)
    answer = node.authorize(browser, Flow(app).parameters(prompt="none"))
    assert answer.get("error") in (None, "login_required"), answer
    return "code" in answer


def sign_in(browser: TestClient, username: str, password: str) -> int:
    page = Page(browser.get("/account/sign-in"))
    answer = page.press(browser, "login-submit", username=username, password=password)
    return int(answer.status_code)


@pytest.fixture
def app(nodes: Nodes) -> Registered:
    return nodes.one.register()


@pytest.mark.attack("SE-17")
def test_a_session_that_began_on_one_node_is_known_on_the_other(
    nodes: Nodes, app: Registered
) -> None:
    person = somebody(nodes.one)
    started = nodes.one.session(person)
    assert is_in(nodes.one, started, app)
    nodes.meanwhile()
    assert is_in(nodes.other, started, app)
    assert started.session.id in page_of(nodes.other, started).text


@pytest.mark.attack("SE-10")
@pytest.mark.attack("SE-17")
def test_a_session_that_ended_on_one_node_is_refused_on_the_other_at_once(
    nodes: Nodes, app: Registered
) -> None:
    person = somebody(nodes.one)
    gone, left = nodes.one.session(person), nodes.other.session(person)
    tokens = nodes.one.grant(app, gone)
    # Both nodes have seen all of it, and have kept what they keep.
    for node in (nodes.one, nodes.other):
        assert is_in(node, gone, app)
        assert node.is_active(app, tokens["access_token"])
    nodes.meanwhile()
    browser = nodes.one.signed_in_browser(left)
    page = Page(browser.get("/account/sessions"))
    path = f"/account/sessions/{gone.session.id}/end"
    assert browser.post(path, data=page.form(action=path).fields).status_code == 303
    for node in (nodes.other, nodes.one):
        assert not is_in(node, gone, app)
        assert not node.is_active(app, tokens["access_token"])
        assert node.userinfo(tokens["access_token"])[0] == 401
        assert node.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"
        assert is_in(node, left, app)


def test_a_name_that_was_given_on_one_node_is_read_on_the_other(nodes: Nodes) -> None:
    person = somebody(nodes.one)
    started = nodes.one.session(person)
    assert "Kitchen" not in page_of(nodes.other, started).text
    path = f"/account/sessions/{started.session.id}/rename"
    nodes.meanwhile()
    for name, here, there in (
        ("Kitchen", nodes.one, nodes.other),
        ("Attic", nodes.other, nodes.one),
    ):
        browser = here.signed_in_browser(started)
        form = Page(browser.get("/account/sessions")).form(action=path).fields
        assert browser.post(path, data=form | {"name": name}).status_code == 303
        assert name in page_of(there, started).text


def test_a_limit_counts_the_sessions_of_every_node(nodes: Nodes, app: Registered) -> None:
    person = somebody(nodes.one)
    begun = []
    for number in range(17):
        if number == 8:
            nodes.meanwhile()
        begun.append((nodes.one, nodes.other)[number % 2].session(person))
        nodes.one.clock.advance(SECOND)
    assert not is_in(nodes.one, begun[0], app)
    assert not is_in(nodes.other, begun[1], app)
    assert is_in(nodes.other, begun[2], app)
    assert is_in(nodes.one, begun[16], app)


@pytest.mark.attack("BF-08")
def test_wrong_passwords_add_up_whichever_node_they_are_tried_on(nodes: Nodes) -> None:
    person = somebody(nodes.one)
    attacker = (nodes.one.browser(), nodes.other.browser())
    for number in range(3):
        assert sign_in(attacker[number % 2], person.username, "wrong") == 403
        nodes.meanwhile()
    assert [sign_in(one, person.username, PASSWORD) for one in attacker] == [429, 429]


def test_time_runs_out_on_every_node(nodes: Nodes, app: Registered) -> None:
    person = somebody(nodes.one)
    rested, used = nodes.one.session(person), nodes.other.session(person)
    tokens = nodes.one.grant(app, used)
    nodes.one.clock.advance(40 * MINUTE)
    assert nodes.other.refresh(app, tokens["refresh_token"])[0] == 200, "which is activity"
    nodes.meanwhile()
    nodes.one.clock.advance(20 * MINUTE)
    assert not is_in(nodes.other, rested, app)
    assert not is_in(nodes.one, rested, app)
    assert is_in(nodes.one, used, app)
    nodes.one.clock.advance(HOUR)
    assert not is_in(nodes.other, used, app)


def test_a_secret_that_one_node_changed_is_taken_by_the_other_and_the_old_one_dies(
    nodes: Nodes, app: Registered
) -> None:
    started = nodes.one.session(somebody(nodes.one))
    nodes.one.clock.advance(16 * MINUTE)
    secret = page_of(nodes.one, started).cookies["idp_session"]
    nodes.meanwhile()
    renewed = Started(started.session, secret)
    assert is_in(nodes.other, started, app), "the answer with the new one may have been lost"
    assert is_in(nodes.other, renewed, app)
    nodes.one.clock.advance(2 * MINUTE)
    assert not is_in(nodes.one, started, app)
    assert is_in(nodes.one, renewed, app)


def test_a_form_that_met_the_end_of_its_session_is_offered_again_or_typed_again(
    nodes: Nodes,
) -> None:
    """The one thing of a person's that only the Store holds: it may be lost, and nothing breaks."""
    person = somebody(nodes.one)
    browser = nodes.one.browser()
    assert sign_in(browser, person.username, PASSWORD) == 303
    page = Page(browser.get("/account/sessions"))
    (form,) = [one for one in page.forms if one.action.endswith("/rename")]
    nodes.one.clock.advance(2 * HOUR)
    answer = browser.post(form.action, data=form.fields | {"name": "Kitchen"})
    nodes.meanwhile()
    elsewhere = nodes.other.browser()
    elsewhere.cookies.update(browser.cookies)
    page = Page(elsewhere.get(answer.headers["location"]))
    answer = page.press(elsewhere, "login-submit", username=person.username, password=PASSWORD)
    shown = elsewhere.get(answer.headers["location"])
    assert shown.status_code in (200, 303)
    if shown.status_code == 200 and shown.url.path == "/account/session/form":
        assert "Kitchen" in shown.text

"""The same code or token from many sides at once, on several nodes (AC-01, RT-02, RT-04).

A node is a whole provider with its own event loop, on the database all of them share: what one
decides between its read and its write, another may have changed.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from idp.oauth import client_auth
from tests.attacks.readers import make_target
from tests.attacks.wire import Answer, Request, Wire, basic, wired
from tests.harness.provider import Flow, Idp, Registered, settings_for

PARALLEL = 50
NODES = 4


class Cluster:
    """Nodes of one provider, and a way to send many requests to all of them at one moment."""

    def __init__(self, idp: Idp, *, grace: int, stack: ExitStack) -> None:
        settings = settings_for(idp.settings.database_url, tokens={"refresh_grace": grace})
        self.nodes = [Idp(settings, idp.clock) for _ in range(NODES)]
        for node in self.nodes:
            stack.callback(node.close)
        self.idp = self.nodes[0]
        self._wires = [stack.enter_context(wired(node.app)) for node in self.nodes]

    def burst(self, request: Request, count: int = PARALLEL) -> list[Answer]:
        answers: list[Answer] = []
        ready = threading.Barrier(NODES)

        def run(wire: Wire, share: int) -> None:
            ready.wait()
            answers.extend(wire.together([request] * share))

        shares = [count // NODES + (number < count % NODES) for number in range(NODES)]
        threads = [
            threading.Thread(target=run, args=pair)
            for pair in zip(self._wires, shares, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == count
        return answers


@pytest.fixture
def cluster(request: pytest.FixtureRequest, either_idp: Idp) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(either_idp, grace=request.param, stack=stack)


def refreshing(app: Registered, token: str) -> Request:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return Request("POST", "/token", form=form, headers={"authorization": basic(app)})


def outcomes(answers: list[Answer]) -> Counter[tuple[int, str | None]]:
    return Counter((one.status, None if one.status == 200 else one.error) for one in answers)


@pytest.mark.attack("RT-02")
@pytest.mark.attack("RT-04")
@pytest.mark.parametrize("cluster", [10], indirect=True, ids=["grace"])
def test_parallel_refreshes_within_the_grace_all_give_the_one_successor(cluster: Cluster) -> None:
    idp = cluster.idp
    app = idp.register()
    token = idp.grant(app, idp.session(idp.person()))["refresh_token"]
    for round_number in range(1, 5):
        answers = cluster.burst(refreshing(app, token))
        assert outcomes(answers) == {(200, None): PARALLEL}
        successors = {one.json["refresh_token"] for one in answers}
        assert len(successors) == 1
        token = successors.pop()
        # One rotation was written, whoever was first.
        assert len(idp.events("token.refreshed")) == round_number
    assert idp.events("token.reuse_detected") == []


@pytest.mark.attack("RT-02")
@pytest.mark.attack("RT-04")
@pytest.mark.parametrize("cluster", [0], indirect=True, ids=["no-grace"])
def test_of_parallel_refreshes_without_a_grace_one_succeeds(cluster: Cluster) -> None:
    idp = cluster.idp
    app = idp.register()
    for number in range(4):
        token = idp.grant(app, idp.session(idp.person(f"p{number}")))["refresh_token"]
        answers = cluster.burst(refreshing(app, token))
        assert outcomes(answers) == {(200, None): 1, (400, "invalid_grant"): PARALLEL - 1}
        [winner] = [one.json for one in answers if one.status == 200]
        # The others presented a spent token, and the family is gone: exactly what a theft is.
        assert not idp.is_active(app, winner["access_token"])
        assert len(idp.events("token.refreshed")) == number + 1
        assert len(idp.events("token.reuse_detected")) == number + 1


@pytest.mark.attack("AC-01")
@pytest.mark.parametrize("cluster", [10], indirect=True, ids=["grace"])
def test_of_parallel_redemptions_of_one_code_at_most_one_succeeds(cluster: Cluster) -> None:
    idp = cluster.idp
    app = idp.register()
    for number in range(3):
        flow = Flow(app)
        browser = idp.signed_in_browser(idp.session(idp.person(f"p{number}")))
        code = idp.authorize(browser, flow.parameters())["code"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": app.redirect_uri,
            "code_verifier": flow.verifier,
        }
        request = Request("POST", "/token", form=form, headers={"authorization": basic(app)})
        answers = cluster.burst(request)
        assert outcomes(answers) == {(200, None): 1, (400, "invalid_grant"): PARALLEL - 1}
        [winner] = [one.json for one in answers if one.status == 200]
        assert not idp.is_active(app, winner["access_token"])
        assert not idp.is_active(app, winner["refresh_token"])
        assert len(idp.events("token.issued")) == number + 1


@pytest.mark.attack("RT-04")
@pytest.mark.parametrize("cluster", [10], indirect=True, ids=["grace"])
def test_refreshing_while_the_session_ends_is_never_a_server_error(cluster: Cluster) -> None:
    idp = cluster.idp
    app = idp.register()
    for number in range(3):
        started = idp.session(idp.person(f"p{number}"))
        token = idp.grant(app, started)["refresh_token"]
        # Long enough ago that each refresh also touches the session.
        idp.clock.advance(60_000_000)
        ending = threading.Thread(target=idp.end, args=(started.session.id,))
        ending.start()
        answers = cluster.burst(refreshing(app, token))
        ending.join()
        assert set(outcomes(answers)) <= {(200, None), (400, "invalid_grant")}
        assert idp.refresh(app, token)[0] == 400
        assert all(
            not idp.is_active(app, one.json["access_token"]) for one in answers if one.status == 200
        )


@pytest.mark.attack("CL-10")
@pytest.mark.parametrize("cluster", [10], indirect=True, ids=["grace"])
def test_of_parallel_uses_of_one_assertion_one_succeeds(cluster: Cluster) -> None:
    idp = cluster.idp
    with wired(idp.app) as wire:
        target = make_target(idp, wire)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": client_auth.ASSERTION_TYPE,
        }
        for _ in range(3):
            made = form | {"client_assertion": target.assertion()}
            answers = cluster.burst(Request("POST", "/token", form=made))
            assert outcomes(answers) == {(200, None): 1, (401, "invalid_client"): PARALLEL - 1}

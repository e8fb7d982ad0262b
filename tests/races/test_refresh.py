"""Fifty requests with one refresh token at one moment: never two successors, never a 5xx."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.harness.deployment import Deployment, Grant
from tests.harness.fault_proxy import bad_way_to
from tests.harness.load_clients import Burst, burst, error_of, json_of
from tests.races.conftest import LONGER, Deploy

PARALLEL = 50
ROUNDS = 8 * LONGER


@pytest.mark.attack("RT-02")
@pytest.mark.attack("RT-04")
def test_fifty_parallel_refreshes_inside_the_grace_all_get_the_one_successor(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """FT-10 with the default grace: a lost answer may be fetched again, by anybody in a hurry."""
    grant = _granted(deployment)
    token = grant.refresh_token
    slowest = 0.0
    for _ in range(ROUNDS):
        made = _refresh_at_once(deployment, grant, token)
        assert Counter(made.statuses) == {200: PARALLEL}
        successors = {str(json_of(answer)["refresh_token"]) for answer in made.answers}
        assert len(successors) == 1
        slowest = max(slowest, *(at - made.begun for at in made.finished))
        token = successors.pop()
    # Every round moved the family by one: no rotation was written twice or lost.
    assert deployment.count_events("token.refreshed") == ROUNDS
    assert deployment.scalar("SELECT refresh_generation FROM authorizations") == ROUNDS + 1
    assert deployment.is_active(grant.app, token)
    say(f"refresh, grace 10 s: n={ROUNDS}x{PARALLEL}, forks 0, 5xx 0, slowest {slowest:.2f} s")


@pytest.mark.attack("RT-02")
@pytest.mark.attack("RT-04")
@pytest.mark.attack("RT-05")
def test_of_fifty_parallel_refreshes_without_grace_one_wins_and_the_family_ends(
    deploy: Deploy, say: Callable[[str], None]
) -> None:
    """FT-10 with grace 0: the second use is a theft, however soon it comes."""
    deployment = deploy(IDP_TOKENS__REFRESH_GRACE="0")
    browser = deployment.signed_in(_somebody(deployment))
    app = deployment.app("App")
    for round_ in range(1, ROUNDS + 1):
        grant = deployment.grant(browser, app)
        made = _refresh_at_once(deployment, grant, grant.refresh_token)
        assert Counter(made.statuses) == {200: 1, 400: PARALLEL - 1}
        assert {error_of(one) for one in made.answers} == {None, "invalid_grant"}
        winner = next(json_of(one) for one in made.answers if one and one.status == 200)
        for token in (winner["refresh_token"], winner["access_token"], grant.access_token):
            assert not deployment.is_active(app, str(token))
        assert deployment.count_events("token.reuse_detected") == round_
        assert deployment.count_events("authorization.ended") == round_
    say(f"refresh, grace 0: n={ROUNDS}x{PARALLEL}, two successes 0, 5xx 0")


@pytest.mark.attack("RT-01")
def test_parallel_uses_of_a_token_whose_successor_was_used_end_the_family_once(
    deployment: Deployment,
) -> None:
    grant = _granted(deployment)
    token = grant.refresh_token
    for _ in range(2):
        token = str(json_of(deployment.ask(grant.app.refreshing(token)))["refresh_token"])

    made = _refresh_at_once(deployment, grant, grant.refresh_token)

    assert Counter(made.statuses) == {400: PARALLEL}
    assert not deployment.is_active(grant.app, token)
    assert deployment.count_events("token.reuse_detected") == 1
    assert deployment.count_events("authorization.ended") == 1


@pytest.mark.attack("RT-02")
def test_when_every_answer_is_cut_off_whoever_asks_again_gets_the_one_successor(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """FT-10: the winner's answer is lost with all others, after what it says was written."""
    grant = _granted(deployment)
    token = grant.refresh_token
    for round_ in range(1, ROUNDS + 1):
        assert _cut_off(deployment, [grant.app.refreshing(token)] * PARALLEL) == {0}
        assert deployment.scalar("SELECT refresh_generation FROM authorizations") == round_ + 1
        made = _refresh_at_once(deployment, grant, token)
        assert Counter(made.statuses) == {200: PARALLEL}
        successors = {str(json_of(answer)["refresh_token"]) for answer in made.answers}
        assert len(successors) == 1
        token = successors.pop()
    assert deployment.count_events("token.refreshed") == ROUNDS
    assert deployment.is_active(grant.app, token)
    say(f"refresh, every answer cut: n={ROUNDS}x{PARALLEL}, signed out 0, forks 0")


@pytest.mark.attack("RT-05")
def test_without_grace_whoever_lost_an_answer_and_asks_again_ends_the_family(
    deploy: Deploy,
) -> None:
    deployment = deploy(IDP_TOKENS__REFRESH_GRACE="0")
    grant = _granted(deployment)
    request = grant.app.refreshing(grant.refresh_token)
    assert _cut_off(deployment, [request]) == {0}
    assert deployment.count_events("token.refreshed") == 1
    assert error_of(deployment.ask(request)) == "invalid_grant"
    assert not deployment.is_active(grant.app, grant.access_token)
    assert deployment.count_events("token.reuse_detected") == 1
    assert deployment.count_events("authorization.ended") == 1


def _cut_off(deployment: Deployment, requests: list[bytes]) -> set[int]:
    """What their senders see when of every answer only half comes through: 0 for none."""
    with ExitStack() as stack:
        ways = [stack.enter_context(bad_way_to(port)) for port in deployment.ports]
        for way in ways:
            way.fault = "cut"
        return set(burst([way.port for way in ways], requests).statuses)


def _somebody(deployment: Deployment) -> str:
    deployment.person("alice")
    return "alice"


def _granted(deployment: Deployment) -> Grant:
    app = deployment.app("App")
    return deployment.grant(deployment.signed_in(_somebody(deployment)), app)


def _refresh_at_once(deployment: Deployment, grant: Grant, token: str) -> Burst:
    return burst(deployment.ports, [grant.app.refreshing(token)] * PARALLEL)

"""Sign-ins at one moment: neither the limit of sessions nor that of wrong passwords is passed."""

from collections import Counter
from collections.abc import Callable

import pytest

from idp.policy.limits import BEHAVIOURS, AtLimit
from tests.harness.deployment import Deployment
from tests.harness.load_clients import burst
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receivers
from tests.races.conftest import LONGER, Deploy
from tests.races.limits import race

ROUNDS = 2 * LONGER
_RUNNING = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"


@pytest.mark.attack("SE-13")
@pytest.mark.parametrize("at_limit", BEHAVIOURS)
def test_twenty_parallel_sign_ins_never_leave_more_sessions_than_the_limit(
    deployment: Deployment, receivers: Receivers, at_limit: AtLimit, say: Callable[[str], None]
) -> None:
    """Row L8, FT-13, I7: watched from outside all the while; who has to go is told."""
    say(race(deployment, receivers.add(), at_limit, rounds=ROUNDS))


@pytest.mark.attack("BF-02")
def test_of_three_hundred_parallel_wrong_passwords_ten_are_checked(
    deploy: Deploy, say: Callable[[str], None]
) -> None:
    """The attempt is counted before the hash, so that nobody slips in beside the counter."""
    deployment = deploy(IDP_THROTTLE__PER_ACCOUNT="10", IDP_PASSWORD__QUEUE="24")
    deployment.person("alice")
    browser = deployment.browser()
    form = browser.sign_in_form()

    made = burst(
        deployment.ports,
        [browser.signing_in("alice", f"guess number {one}", form) for one in range(300)],
    )

    # Who finds no place in the queue is told so before anything is counted.
    answered = Counter(made.statuses)
    assert answered[403] == 10
    assert set(answered) <= {403, 429, 503}
    assert deployment.count_events("login.failed") == 10
    right = deployment.ask(browser.signing_in("alice", PASSWORD, form))
    assert right.status == 429
    say("wrong passwords: n=300 at once, limit 10, checked 10")


def test_one_browser_that_signs_in_ten_times_at_once_keeps_one_working_session(
    deployment: Deployment,
) -> None:
    """A double click on the button, several times over: every answer is a sign-in or says why not.

    The secret changes at every sign-in, so only the last one's works.
    """
    deployment.person("alice")
    browser = deployment.browser()
    form = browser.sign_in_form()
    browser.keep(deployment.ask(browser.signing_in("alice", PASSWORD, form)))

    made = burst(deployment.ports, [browser.signing_in("alice", PASSWORD, form)] * 10)

    assert set(made.statuses) <= {303, 409}
    working = 0
    for answer in made.answers:
        tab = deployment.browser()
        assert answer is not None
        tab.keep(answer)
        working += tab.session_secret is not None and tab.session_form() is not None
        tab.close()
    assert working >= 1
    assert deployment.scalar(_RUNNING) == working

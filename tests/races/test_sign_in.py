"""Sign-ins at one moment: neither the limit of sessions nor that of wrong passwords is passed."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa

from tests.harness.deployment import Deployment
from tests.harness.load_clients import burst
from tests.harness.provider import PASSWORD
from tests.harness.receivers import Receivers
from tests.races.conftest import LONGER, Deploy

LIMIT = 3
LOGINS = 20
ROUNDS = 3 * LONGER
_RUNNING = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"


@pytest.mark.attack("SE-13")
def test_twenty_parallel_sign_ins_never_leave_more_sessions_than_the_limit(
    deployment: Deployment, receivers: Receivers, say: Callable[[str], None]
) -> None:
    """Row L8, FT-13, I7: watched from outside all the while; who has to go is told."""
    deployment.person("alice")
    deployment.limit_sessions(LIMIT)
    told = receivers.add()
    app = deployment.app("App", receiver=told)
    evicted = 0
    with _most_running(deployment) as seen:
        for _ in range(ROUNDS):
            browsers = [deployment.browser() for _ in range(LOGINS)]
            made = burst(
                deployment.ports, [browser.signing_in("alice", PASSWORD) for browser in browsers]
            )
            assert Counter(made.statuses) == {303: LOGINS}
            assert deployment.scalar(_RUNNING) == LIMIT
            for browser, answer in zip(browsers, made.answers, strict=True):
                assert answer is not None
                browser.keep(answer)
            running = [browser for browser in browsers if browser.session_form() is not None]
            assert len(running) == LIMIT
            for browser in running:
                deployment.grant(browser, app)
            for browser in browsers:
                browser.close()
            evicted += LIMIT
    assert seen.most <= LIMIT
    assert seen.looks > 50
    ended = deployment.rows("SELECT id FROM sessions WHERE end_reason = 'limit'")
    assert len(ended) == ROUNDS * LOGINS - LIMIT
    assert deployment.count_events("session.ended") == len(ended)
    # The three of the last round still run; those of the rounds before had an app, which knows.
    told.wait_for(evicted - LIMIT)
    say(
        f"sign-in at a limit of {LIMIT}: n={ROUNDS}x{LOGINS}, "
        f"most running at any of {seen.looks} looks {seen.most}"
    )


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


class _Seen:
    most = 0
    looks = 0


@contextmanager
def _most_running(deployment: Deployment) -> Iterator[_Seen]:
    """Counts the running sessions again and again, from a connection of its own."""
    seen, over = _Seen(), threading.Event()
    url = deployment.work.database.url

    def look() -> None:
        if deployment.is_sqlite:
            with closing(sqlite3.connect(str(url.database))) as connection:
                while not over.wait(0.002):
                    _note(seen, connection.execute(_RUNNING).fetchone()[0])
            return
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection_:
            while not over.wait(0.002):
                _note(seen, connection_.scalar(sa.text(_RUNNING)) or 0)
        engine.dispose()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _note(seen: _Seen, count: int) -> None:
    seen.most = max(seen.most, count)
    seen.looks += 1

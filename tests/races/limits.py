"""Sign-ins at one moment at a limit of sessions: `python -m tests.races.limits --rounds 500`.

A round is twenty browsers of one person at a limit of three. What runs is counted all the while from
outside, by a connection of its own: never more than three, whatever the limit does (I7, FT-13).
"""

import argparse
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from idp.policy.limits import BEHAVIOURS, AtLimit
from idp.sessions import lifecycle
from tests.bench.wire import Answer
from tests.harness.deployment import Deployment, deployed
from tests.harness.load_clients import AppAt, Browser, burst
from tests.harness.provider import ADMIN, PASSWORD, Templates
from tests.harness.receivers import Receiver, listening
from tests.harness.server_process import Forking

LIMIT = 3
LOGINS = 20
_RUNNING = "SELECT count(*) FROM sessions WHERE ended_at IS NULL"
# Of those that were signed in to the app, which must have been told.
_ENDED_IN_APP = (
    "SELECT count(DISTINCT sessions.id) FROM sessions JOIN authorizations "
    "ON authorizations.session_id = sessions.id WHERE sessions.ended_at IS NOT NULL"
)
_CHOICE = re.compile(r'name="end" value="(ses_[0-9a-f]{32})"')


@dataclass
class Race:
    """One person, one app, and what was seen of them."""

    deployment: Deployment
    at_limit: AtLimit
    person: str
    app: AppAt
    told: Receiver
    # How sign-ins were answered, over all rounds.
    answered: Counter[int] = field(default_factory=Counter)


def race(
    deployment: Deployment,
    told: Receiver,
    at_limit: AtLimit,
    *,
    rounds: int,
    progress: Callable[[int], None] = lambda _: None,
) -> str:
    """So many rounds; raises `AssertionError` for anything that must not be. Gives what was seen."""
    found = Race(
        deployment,
        at_limit,
        person=deployment.person("alice"),
        app=deployment.app("App", receiver=told),
        told=told,
    )
    deployment.limit_sessions(LIMIT, at_limit)
    begun = time.monotonic()
    with most_running(deployment) as seen:
        for number in range(1, rounds + 1):
            _round(found, number)
            progress(number)
    assert seen.most <= LIMIT, f"{seen.most} sessions ran at once"
    assert seen.looks > 10 * rounds
    ended = int(deployment.scalar(_ENDED_IN_APP))
    told.wait_for(ended, within=60)
    answers = ", ".join(f"{count}x{status}" for status, count in sorted(found.answered.items()))
    return (
        f"{at_limit}: {rounds} rounds of {LOGINS} at a limit of {LIMIT}, {answers}; most running at "
        f"any of {seen.looks} looks {seen.most}; {ended} ended in the app, all told; "
        f"{time.monotonic() - begun:.0f} s"
    )


def _round(found: Race, number: int) -> None:
    deployment = found.deployment
    browsers = [deployment.browser() for _ in range(LOGINS)]
    if found.at_limit == "block":
        # As many free places as there can be, then fewer.
        _end_some(found, keep=number % LIMIT)
    free = LIMIT - int(deployment.scalar(_RUNNING))
    requests = [browser.signing_in("alice", PASSWORD) for browser in browsers]
    for browser in browsers:
        # The server hangs up on whoever rests, as they will on a busy machine.
        browser.close()
    answers = _burst(found, requests)
    if found.at_limit == "ask":
        answers = _choose(found, browsers, answers, number)
    statuses = Counter(answer.status for answer in answers)
    found.answered += statuses
    if found.at_limit == "end_oldest":
        assert statuses == {303: LOGINS}
    elif found.at_limit == "block":
        assert statuses == {303: free, 403: LOGINS - free}
    else:
        assert set(statuses) <= {303, 409}
        assert statuses[303] >= LIMIT
    assert deployment.scalar(_RUNNING) == LIMIT
    for browser, answer in zip(browsers, answers, strict=True):
        browser.keep(answer)
    # Whoever was told "signed in" is, unless a later one took their place; and nobody else is.
    running = [browser for browser in browsers if browser.session_form() is not None]
    assert len(running) == (free if found.at_limit == "block" else LIMIT)
    for browser in running:
        deployment.grant(browser, found.app)
    for browser in browsers:
        browser.close()


def _choose(found: Race, browsers: list[Browser], pages: list[Answer], number: int) -> list[Answer]:
    """Everybody who was asked chooses at one moment, each of the sessions by a third of them.

    In every other round some choose all three, as no page offers them.
    """
    answers, asked = list(pages), []
    for at, (browser, page) in enumerate(zip(browsers, pages, strict=True)):
        browser.keep(page)
        if page.status != 200:
            continue
        offered = _CHOICE.findall(page.body.decode())
        form = page.hidden_fields() | {"action": "choose"}
        if number % 2 and at % 4 == 0:
            form |= {f"end.{one}": "on" for one in offered}
        else:
            form["end"] = offered[at % len(offered)]
        asked.append((at, browser.posting("/login/sessions", form)))
    for (at, _), answer in zip(asked, _burst(found, [form for _, form in asked]), strict=True):
        answers[at] = answer
    return answers


def _burst(found: Race, requests: list[bytes]) -> list[Answer]:
    answers = burst(found.deployment.ports, requests, within=120.0).answers
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def _end_some(found: Race, *, keep: int) -> None:
    with found.deployment.work.begin() as unit:
        rows = unit.connection.execute(
            sa.text("SELECT id FROM sessions WHERE ended_at IS NULL ORDER BY id")
        )
        lifecycle.end(unit, [row.id for row in rows][keep:], reason="signed_out", actor=ADMIN)


class Seen:
    most = 0
    looks = 0


@contextmanager
def most_running(deployment: Deployment) -> Iterator[Seen]:
    """Counts the running sessions again and again, from a connection of its own."""
    seen, over = Seen(), threading.Event()
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


def _note(seen: Seen, count: int) -> None:
    seen.most = max(seen.most, count)
    seen.looks += 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.races.limits", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--at-limit", choices=BEHAVIOURS, action="append")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idp-limits-")))
        templates, launch = Templates(folder), stack.enter_context(closing(Forking()))
        receivers = stack.enter_context(listening())
        for at_limit in asked.at_limit or BEHAVIOURS:
            with ExitStack() as one:
                if asked.database == "sqlite":
                    url, nodes = templates.sqlite(folder / f"{at_limit}.db"), 1
                else:
                    url, nodes = one.enter_context(templates.postgres()), 2
                made = one.enter_context(deployed(url, folder, launch, nodes=nodes))

                def progress(number: int) -> None:
                    if number % 20 == 0:
                        print(f"  {number} rounds", file=sys.stderr, flush=True)

                seen = race(made, receivers.add(), at_limit, rounds=asked.rounds, progress=progress)
                print(f"{asked.database}, {nodes} process(es), {seen}", flush=True)


if __name__ == "__main__":
    main()

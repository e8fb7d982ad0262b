"""What a request costs on SQLite does not grow with the number of sessions of others.

SQLite guesses which index helps without knowing the rows, and one wrong guess walks through everybody's
sessions. So its own steps are counted, which a busy machine does not change.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event

from idp import app as application
from idp.events.actor import Actor
from idp.sessions import lifecycle
from idp.work.schedule import Job
from tests.harness import crowd
from tests.harness.provider import Flow, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import sign_in
from tests.web.html import Page

FEW, MANY = 300, 6_000
# Steps between two counts of the driver, and those that a tree which is deeper may cost.
GRAIN = 50
DEEPER = 1_500


@dataclass
class Steps:
    """How many steps SQLite has taken for a provider."""

    count: int = 0

    def watch(self, idp: Idp) -> None:
        def one_more() -> None:
            self.count += GRAIN

        def connected(connection: Any, _: object) -> None:
            connection.set_progress_handler(one_more, GRAIN)

        for engine in (idp.work.database.reading, idp.work.database.writing):
            event.listen(engine, "connect", connected)
        # What is open already is not watched.
        idp.work.database.close()

    def of(self, do: Callable[[], object]) -> int:
        before = self.count
        do()
        return self.count - before


class Requests:
    """One of each kind, by a person with a few sessions."""

    def __init__(self, idp: Idp) -> None:
        self.idp = idp
        self.person = idp.person()
        self.app = idp.register()
        self.started = idp.session(self.person)
        self.browser = idp.signed_in_browser(self.started)
        self.tokens = idp.grant(self.app, self.started, scope="openid offline_access sessions")

    def each(self) -> dict[str, Callable[[], object]]:
        return {
            "introspection": lambda: self.idp.is_active(self.app, self.tokens["access_token"]),
            "refresh": self.refresh,
            "userinfo": lambda: self.idp.userinfo(self.tokens["access_token"]),
            "single sign-on": lambda: self.idp.authorize(self.browser, Flow(self.app).parameters()),
            "own sessions, API": self.own_sessions,
            "own sessions, page": lambda: self.page("/account/sessions"),
            "security page": lambda: self.page("/account/security"),
            "apps page": lambda: self.page("/account/apps"),
            "sign-in": self.sign_in,
            "end": lambda: self.idp.end(self.idp.session(self.person).session.id),
            "end everywhere": self.end_everywhere,
            **{f"job: {job.name}": job.run for job in self.jobs()},
        }

    def jobs(self) -> list[Job]:
        """All but the one that says why it reads everything, once an hour."""
        made = application._jobs(self.idp.work, self.idp.app.provider.store)
        return [job for job in made if job.name != "delete unused grants"]

    def refresh(self) -> None:
        status, said = self.idp.refresh(self.app, self.tokens["refresh_token"])
        assert status == 200
        self.tokens |= said

    def own_sessions(self) -> None:
        sent = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        assert self.browser.get("/api/v1/users/sessions", headers=sent).status_code == 200

    def page(self, path: str) -> None:
        assert self.browser.get(path).status_code == 200

    def sign_in(self) -> None:
        browser = self.idp.browser()
        page = Page(browser.get("/account/sign-in"))
        assert sign_in(browser, page).status_code == 303

    def end_everywhere(self) -> None:
        other = self.idp.person(f"somebody{self.idp.clock.now()}")
        self.idp.clock.advance(1)
        self.idp.session(other)
        with self.idp.work.begin() as unit:
            lifecycle.end_all_of(unit, other.id, reason="admin", actor=Actor("admin", "x"))


def taken(sessions: int, folder: Path, templates: Templates) -> dict[str, int]:
    """The steps of each request among so many sessions, once everything was read before."""
    clock = ManualClock(time.time_ns() // 1_000)
    url = templates.sqlite(folder / f"{sessions}.db")
    idp = Idp(settings_for(url), clock)
    steps = Steps()
    steps.watch(idp)
    crowd.gather(idp.work, sessions)
    each = Requests(idp).each()
    for do in each.values():
        do()
    found = {name: steps.of(do) for name, do in each.items()}
    idp.close()
    return found


def test_no_request_costs_more_because_there_are_more_sessions(
    tmp_path: Path, templates: Templates, say: Callable[[str], None]
) -> None:
    few, many = taken(FEW, tmp_path, templates), taken(MANY, tmp_path, templates)
    say(
        f"steps of SQLite among {FEW} and {MANY} sessions: {sum(few.values())}, {sum(many.values())}"
    )
    dearer = {name: (few[name], many[name]) for name in few if many[name] > few[name] + DEEPER}
    assert not dearer

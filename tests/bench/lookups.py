"""`python -m tests.bench.lookups`: what requests ask of the database, without and with what is kept.

Statements are as SQLite counts them, but for the rules, which a process reads once a second. Processor
time is that of the whole test process (the request, the provider and, for Redis, our end of it), the
median of `--rounds`. "Without" means that the Store was emptied before each request, "with" that it
was filled by the one before, more than a second ago.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from idp.clock import SECOND
from tests.harness.provider import Flow, Idp, Templates, settings_for
from tests.harness.redis_server import running
from tests.harness.statements import counted
from tests.harness.workbench import ManualClock

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Safari/537.36"
)
APPS, REFRESHES = 3, 8
Paths = dict[str, Callable[[], None]]


def paths(idp: Idp, *, sessions: int = 50, refreshes: int = REFRESHES) -> Paths:
    """Requests by their name, each for people and apps of its own; any may be sent again and again."""
    idp.execute(
        "INSERT INTO rules (id, kind, applies_to, value, version, changed_at, changed_by) "
        "VALUES ('rul_many', 'limits', '{}', '{\"maximum\": 500}', 1, 0, 'test')"
    )
    app = idp.register(introspects_all=1)
    others = [idp.register(name=f"App {number}") for number in range(1, APPS)]
    program = idp.register(
        name="Operations", grant_types=["client_credentials"], redirect_uris=[], management=1,
        scope="sessions:read",
    )  # fmt: skip
    started = idp.session(idp.person("one"), agent=AGENT)
    browser = idp.signed_in_browser(started)
    tokens = idp.grant(app, started, scope="openid sessions")
    crowd = idp.person("many")
    first = idp.session(crowd, agent=AGENT)
    for each in [first, *(idp.session(crowd, agent=AGENT) for _ in range(sessions - 1))]:
        for one in [app, *others]:
            token = idp.grant(one, each)["refresh_token"]
            for _ in range(refreshes):
                token = idp.refresh(one, token)[1]["refresh_token"]
    managing = idp.token(program, grant_type="client_credentials", scope="sessions:read")[1]
    reader = idp.browser()
    chain = [tokens["refresh_token"]]

    def silent() -> None:
        assert "code" in idp.authorize(browser, Flow(app).parameters(prompt="none"))

    def refresh() -> None:
        status, answer = idp.refresh(app, chain[0])
        assert status == 200, answer
        chain[0] = answer["refresh_token"]

    def introspect() -> None:
        assert idp.is_active(app, tokens["access_token"])

    def userinfo() -> None:
        assert idp.userinfo(tokens["access_token"])[0] == 200

    def page_of(secret: str) -> Callable[[], None]:
        visitor = idp.browser()
        visitor.cookies.set("idp_session", secret, domain="localhost.local")

        def ask() -> None:
            assert visitor.get("/account/sessions").status_code == 200

        return ask

    def api(path: str, token: str) -> Callable[[], None]:
        def ask() -> None:
            answer = reader.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, answer.text

        return ask

    search = urlencode({"page_size": 50})
    return {
        "/authorize, silent": silent,
        "/token, refresh": refresh,
        "/introspect": introspect,
        "/userinfo": userinfo,
        "own sessions, API, 1": api("/api/v1/users/sessions", tokens["access_token"]),
        "own sessions, page, 1": page_of(started.secret),
        f"own sessions, page, {sessions}": page_of(first.secret),
        "one session, management API": api(
            f"/api/v1/admin/sessions/{first.session.id}", managing["access_token"]
        ),
        "all sessions, management API, 50": api(
            f"/api/v1/admin/sessions?{search}", managing["access_token"]
        ),
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request took: statements, and seconds of processor time."""

    statements: int
    seconds: float = 0.0


def asked(idp: Idp, clock: ManualClock, act: Callable[[], None], *, empty: str) -> Cost:
    """One request; `empty` "yes" takes from it what the Store holds."""
    clock.advance(SECOND)
    if empty == "yes":
        idp.app.provider.store.flush()
    with counted(idp) as said:
        act()
    # A process reads the rules once a second, whatever it is asked.
    return Cost(sum("FROM rules" not in statement for statement in said))


def timed(
    idp: Idp, clock: ManualClock, act: Callable[[], None], rounds: int, *, empty: str
) -> Cost:
    """The usual number of statements and the median of times."""
    statements, seconds = [], []
    for _ in range(rounds):
        statements.append(asked(idp, clock, act, empty=empty).statements)
        clock.advance(SECOND)
        if empty == "yes":
            idp.app.provider.store.flush()
        begun = time.process_time()
        act()
        seconds.append(time.process_time() - begun)
    return Cost(statistics.mode(statements), statistics.median(seconds))


@contextmanager
def provider(store: str, clock: ManualClock) -> Iterator[Idp]:
    """A provider on SQLite with this Store ("embedded", "redis")."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = Templates(folder).sqlite(folder / "idp.db")
        redis_url = stack.enter_context(running()).url if store == "redis" else ""
        # The clock moves a second with every request.
        settings = settings_for(url, redis_url=redis_url, tokens={"access_lifetime": 3_600})
        idp = Idp(settings, clock)
        stack.callback(idp.close)
        yield idp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    say = sys.stdout.write
    say(f"{APPS} apps a session, {REFRESHES} refreshes each; CPU in milliseconds\n\n")
    say(f"{'':34} {'statements':>16} {'embedded':>16} {'Redis':>16}\n")
    say(f"{'':34} {'without   with':>16} {'without   with':>16} {'without   with':>16}\n")
    table: dict[str, list[str]] = {}
    for store in ("embedded", "redis"):
        clock = ManualClock()
        with provider(store, clock) as idp:
            for name, act in paths(idp, sessions=given.sessions).items():
                act()
                cold, warm = (
                    timed(idp, clock, act, given.rounds, empty=empty) for empty in ("yes", "no")
                )
                cells = table.setdefault(name, [f"{cold.statements:>9} {warm.statements:>6}"])
                cells.append(f"{cold.seconds * 1e3:9.1f} {warm.seconds * 1e3:6.1f}")
    for name, cells in table.items():
        say(f"{name:34} " + " ".join(cells) + "\n")


if __name__ == "__main__":
    main()

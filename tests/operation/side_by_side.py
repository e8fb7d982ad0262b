"""`python -m tests.operation.side_by_side`: the version before and this one on one database (FT-22).

The version before is the commit before the newest migration, or `--older REVISION`, taken from the
history of git. A node of it serves; then the schema is upgraded under it, a node of this version joins,
both are in use, and at last the older one is replaced. Nobody who signed in before is signed out, and
the checker of the storms judges the rest.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from idp.storage import migrations
from idp.storage.database import Database
from tests.crash.under_load import UnderLoad, not_started, under_load
from tests.harness import postgres, redis_server
from tests.harness.deployment import authorize_path
from tests.harness.history import shown
from tests.harness.load_clients import AppAt, Browser, Wire, code_of, json_of
from tests.harness.provider import CALLBACK, PASSWORD, Registered
from tests.harness.server_process import CHECKOUT, Server, Spawning, until, unwind_when_told_to_end

SIGNED_IN_BEFORE = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.operation.side_by_side", description=__doc__
    )
    parser.add_argument("--older", help="a revision of git")
    parser.add_argument("--requests", type=int, default=1_000, help="while both versions serve")
    chosen = parser.parse_args()
    unwind_when_told_to_end()
    revision = chosen.older or _before_newest_migration()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idp-versions-")))
        url = stack.enter_context(postgres.new_database())
        redis = stack.enter_context(redis_server.running())
        launch = Spawning(_checked_out(revision, folder / "older"))
        settings = {"IDP_MANAGEMENT__DRAIN": "1"}
        older = not_started(launch, url, folder, stack, redis=redis, **settings)
        _run(launch, older, "db", "upgrade")
        older.start()
        stack.callback(older.stop)
        before = [_Before(launch, older, number) for number in range(SIGNED_IN_BEFORE)]
        database = Database(url)
        begun = time.monotonic()
        at = migrations.upgrade(database)
        database.close()
        say(f"{revision[:9]}: schema {at} to {migrations.head()}, {time.monotonic() - begun:.1f} s")
        with under_load(url, folder, Spawning(), redis=redis, joined=[older], **settings) as loaded:
            _is_ready(loaded, older)
            loaded.goes_on(chosen.requests)
            for one in before:
                one.goes_on(*loaded.made.ports)
            loaded.leaves(older)
            older.launch = Spawning()
            loaded.comes_back(older)
            loaded.goes_on(100)
            for one in before:
                one.goes_on(*loaded.made.ports)
    for line in loaded.report.lines():
        say(line)
    failed = {"lost", "not sent", "500", "503"} & set(loaded.report.answers)
    if loaded.report.violations or failed:
        say(shown([*loaded.report.violations, *sorted(failed)]))
        sys.exit(1)
    say("no request failed, nobody was signed out")


class _Before:
    """Somebody who signed in, and let an app have a grant, while there was the older version only."""

    def __init__(self, launch: Spawning, at: Server, number: int) -> None:
        name = f"before{number}"
        _run(launch, at, "user", "create", name, "--password-stdin", typed=f"{PASSWORD}\n")
        client = json.loads(
            _run(
                launch, at, "client", "create", name, "--first-party", "--redirect-uri", CALLBACK,
                "--scope", "openid offline_access", "--json",
            )
        )  # fmt: skip
        registered = Registered(client["client_id"], client["client_secret"], CALLBACK)
        self.browser, self.app = Browser(at.port), AppAt(at.port, registered)
        answer = self.browser.wire.exchange(self.browser.signing_in(name, PASSWORD))
        self.browser.keep(answer.expect(303))
        flow = self.app.flow()
        code = code_of(self.browser.get(authorize_path(flow.parameters())))
        assert code is not None
        wire = Wire(at.port)
        said = json_of(wire.exchange(self.app.redeeming(flow, code)).expect(200))
        wire.close()
        self.refresh_token = str(said["refresh_token"])
        self.browser.close()

    def goes_on(self, *ports: int) -> None:
        """Session and grant are good at each of the nodes."""
        for port in ports:
            wire = Wire(port)
            wire.exchange(self.browser.getting("/account/sessions")).expect(200)
            said = json_of(wire.exchange(self.app.refreshing(self.refresh_token)).expect(200))
            self.refresh_token = str(said["refresh_token"])
            wire.close()


def _is_ready(loaded: UnderLoad, server: Server) -> None:
    until(lambda: loaded.readiness(server) == 200, "the older node is still ready", within=5)


def _before_newest_migration() -> str:
    newest = next((CHECKOUT / "migrations" / "versions").glob(f"{migrations.head()}_*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).decode().strip()
    return _git("rev-parse", f"{added}^").decode().strip()


def _checked_out(revision: str, target: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(_git("archive", revision))) as archive:
        archive.extractall(target, filter="data")
    return target


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, check=True, capture_output=True).stdout


def _run(launch: Spawning, server: Server, *arguments: str, typed: str = "") -> str:
    """A command of that version on the database of this node."""
    known: Mapping[str, str] = {"IDP_URL": server.issuer, **server.environment}
    ran = subprocess.run(
        [sys.executable, "-m", "idp", *arguments],
        env={**os.environ, "PYTHONPATH": str(launch.checkout), **known},
        cwd=server.folder,
        input=typed,
        text=True,
        capture_output=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{arguments}: {ran.stdout}{ran.stderr}")
    return ran.stdout


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

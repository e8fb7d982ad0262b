"""Keys and secrets change while two nodes serve: nothing fails to verify, nobody is signed out (FT-23).

The load and its checker are those of the storms.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from typer.testing import CliRunner

from idp import app as application
from idp.cli.commands import app as command_line
from idp.clock import SECOND
from idp.oauth import keys
from tests.attacks.forge import parts_of
from tests.crash.under_load import under_load
from tests.harness import redis_server
from tests.harness.deployment import Deployment, authorize_path
from tests.harness.history import shown
from tests.harness.load_clients import AppAt, code_of, json_of
from tests.harness.provider import PASSWORD, Templates, settings_for
from tests.harness.redis_server import RedisServer
from tests.harness.server_process import Forking, until
from tests.harness.workbench import SECRET
from tests.operation.conftest import Say

ROTATIONS = 3
# Nodes look for new keys so often in this test, instead of every 15 seconds.
RELOAD_SECONDS = 0.5
NEWER = "another secret for tests, 32 characters or more"

pytestmark = [pytest.mark.postgres, pytest.mark.redis, pytest.mark.attack("OP-06")]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server.running() as made:
        yield made


def test_signing_keys_are_rotated_and_no_node_and_no_app_fails_to_verify(
    tmp_path: Path,
    templates: Templates,
    forking: Forking,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    say: Say,
) -> None:
    doom = {"module": "tests.crash.failpoints", "reload_keys_seconds": RELOAD_SECONDS}
    monkeypatch.setattr(keys, "KNOWN_AFTER", int(3 * RELOAD_SECONDS * SECOND))
    with (
        templates.postgres() as url,
        under_load(url, tmp_path, forking, nodes=2, redis=redis, doom=doom) as loaded,
    ):
        made = loaded.made
        robot = made.app(
            "Robot",
            grant_types=["client_credentials"],
            redirect_uris=[],
            scope="reports",
            access_token_format="jwt",
        )
        for number in range(ROTATIONS):
            if number:
                loaded.goes_on(20)
                until(lambda: _is_settled(made), "the next keys are known")
            with made.work.begin() as unit:
                activated = keys.rotate(unit)
            for here, there in (made.ports, made.ports[::-1]):
                _signed_here_is_known_there(made, robot, activated, here=here, there=there)
    report = loaded.report
    assert not report.violations, shown(report.violations)
    assert not {"lost", "not sent", "500", "503"} & set(report.answers), report.answers
    say(f"signing keys rotated {ROTATIONS} times: {report.answers.total()} requests, wrong 0")


def _is_settled(made: Deployment) -> bool:
    latest = int(made.scalar("SELECT max(retired_at) FROM signing_keys"))
    return made.work.clock.now() >= latest + keys.KNOWN_AFTER


def _signed_here_is_known_there(
    made: Deployment, robot: AppAt, activated: list[str], *, here: int, there: int
) -> None:
    """From the first token that a node signs with a new key; also for an app that asks for keys."""
    found: list[str] = []

    def signs_anew() -> bool:
        answer = made.ask(robot.posting("/token", grant_type="client_credentials"), port=here)
        found.append(str(json_of(answer)["access_token"]))
        return parts_of(found[-1])[0]["kid"] in activated

    until(signs_anew, "the new key signs")
    answer = made.ask(robot.introspecting(found[-1]), port=there)
    published = made.ask(made.browser().getting("/jwks"), port=there)
    assert json_of(answer)["active"]
    jwt.decode(found[-1], KeySet.import_key_set(json.loads(published.body)), algorithms=["ES256"])


def test_the_secret_key_is_changed_by_restarts_and_nothing_is_lost(
    tmp_path: Path,
    templates: Templates,
    forking: Forking,
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    say: Say,
) -> None:
    """As README says: first every node reads the new one as well, then every node writes with it."""
    drain = {"IDP_MANAGEMENT__DRAIN": "1"}
    with (
        templates.postgres() as url,
        under_load(url, tmp_path, forking, nodes=2, redis=redis, **drain) as loaded,
    ):
        made = loaded.made
        made.person("dave")
        app = made.app("Dave's")
        loaded.goes_on(50)
        for secret, other in ((SECRET, NEWER), (NEWER, SECRET)):
            changed = {"IDP_SECRET_KEY": secret, "IDP_PREVIOUS_SECRET_KEYS": json.dumps([other])}
            for server in made.servers:
                loaded.leaves(server)
                server.environment |= changed
                loaded.comes_back(server)
                for here, there in (made.ports, made.ports[::-1]):
                    _begun_here_goes_on_there(made, app, here=here, there=there)
        for name, value in made.server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        ran = CliRunner().invoke(command_line, ["keys", "reencrypt", "--json"])
        assert ran.exit_code == 0, ran.output
        loaded.goes_on(50)
        known = settings_for(url, secret_key=NEWER, previous_secret_keys=[SECRET])
        made.work.database.close()
        made.work = application.assemble(known)
        loaded.world.secrets.add(NEWER)
    report = loaded.report
    assert json.loads(ran.stdout)["keys"] == 4
    assert not report.violations, shown(report.violations)
    assert not {"lost", "not sent", "500", "503"} & set(report.answers), report.answers
    say(
        f"two nodes restarted twice, with another secret: {report.answers.total()} requests, "
        "lost 0, refused 0, signed out 0"
    )


def _begun_here_goes_on_there(made: Deployment, app: AppAt, *, here: int, there: int) -> None:
    """Session and grant, whichever secret each node writes with."""
    browser = made.browser()
    begun = made.ask(browser.signing_in("dave", PASSWORD), port=here)
    browser.keep(begun)
    flow = app.flow()
    code = code_of(made.ask(browser.getting(authorize_path(flow.parameters())), port=here))
    assert code is not None
    said = json_of(made.ask(app.redeeming(flow, code), port=there))
    for port in (here, there, here):
        answer = made.ask(app.refreshing(str(said["refresh_token"])), port=port)
        assert answer.status == 200, port
        said = json_of(answer)
        answer = made.ask(app.introspecting(str(said["access_token"])), port=there)
        assert json_of(answer)["active"], port
    assert made.ask(browser.getting("/account/sessions"), port=there).status == 200

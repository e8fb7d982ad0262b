"""A node that is told to stop says so first, and finishes what it has begun."""

import os
import signal
import time
from pathlib import Path

import pytest

from idp.cli.serving import GRACE_SECONDS
from idp.console.feed import PATH as ADMIN_STREAM
from tests.harness.deployment import deployed
from tests.harness.load_clients import connect
from tests.harness.provider import Templates
from tests.harness.server_process import (
    Forking,
    Server,
    Spawning,
    asked,
    environment,
    reserved_port,
    until,
)
from tests.harness.streams import PATH as ACCOUNT_STREAM


def test_a_node_says_not_ready_before_it_stops(tmp_path: Path, templates: Templates) -> None:
    url = templates.sqlite(tmp_path / "idp.db")
    with reserved_port() as port, reserved_port() as side:
        settings = environment(url, IDP_MANAGEMENT__PORT=str(side), IDP_MANAGEMENT__DRAIN="2")
        server = Server(Spawning(), port, tmp_path, settings)
        server.start()
        until(lambda: asked(side, "/health/ready") == 200, "the node is ready")
        assert asked(side, "/metrics") == 200
        assert asked(port, "/metrics") == 404
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: asked(side, "/health/ready") == 503, "the node says that it leaves")
        assert asked(side, "/health/live") == 200
        assert asked(port, "/.well-known/openid-configuration") == 200, "it still serves"
        server.wait_for_death()


@pytest.mark.parametrize("path", [ACCOUNT_STREAM, ADMIN_STREAM])
def test_a_node_that_stops_ends_its_live_streams_and_waits_for_none(
    tmp_path: Path, templates: Templates, forking: Forking, path: str
) -> None:
    """A page whose stream ends in order asks again, and is answered by another node."""
    with deployed(templates.sqlite(tmp_path / "idp.db"), tmp_path, forking) as made:
        made.person("alice", roles=["administrator"])
        watching = connect(made.port)
        watching.sendall(made.signed_in("alice").getting(path))
        said = watching.recv(65_536)
        assert said.startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        os.kill(made.server.pid, signal.SIGTERM)
        while chunk := watching.recv(65_536):
            said += chunk
        watching.close()
        made.server.wait_for_death()
        assert said.endswith(b"0\r\n\r\n"), "it was cut off"
        assert time.monotonic() - begun < GRACE_SECONDS, "it was waited for"
        assert "ASGI" not in made.server.log.read_text(), "the server complains of its end"

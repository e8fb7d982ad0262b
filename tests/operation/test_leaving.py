"""A node that is told to stop says so first, and finishes what it has begun."""

import http.client
import os
import signal
from pathlib import Path

from tests.harness.provider import Templates
from tests.harness.server_process import Server, Spawning, environment, reserved_port, until


def status(port: int, path: str) -> int:
    """The status of an answer; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_node_says_not_ready_before_it_stops(tmp_path: Path, templates: Templates) -> None:
    url = templates.sqlite(tmp_path / "idp.db")
    with reserved_port() as port, reserved_port() as side:
        settings = environment(url, IDP_MANAGEMENT__PORT=str(side), IDP_MANAGEMENT__DRAIN="2")
        server = Server(Spawning(), port, tmp_path, settings)
        server.start()
        until(lambda: status(side, "/health/ready") == 200, "the node is ready")
        assert status(side, "/metrics") == 200
        assert status(port, "/metrics") == 404
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: status(side, "/health/ready") == 503, "the node says that it leaves")
        assert status(side, "/health/live") == 200
        assert status(port, "/.well-known/openid-configuration") == 200, "it still serves"
        server.wait_for_death()

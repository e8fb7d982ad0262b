"""`idp serve`, told to stop while somebody watches their session."""

import socket
import time
from pathlib import Path

from idp.sessions import beginning
from idp.sessions.device import Visit
from idp.sessions.prove import PASSWORD
from idp.users import queries
from tests.harness.deployment import deployed, prepare
from tests.harness.server_process import Spawning

# A stream that nobody ended would hold the server up for all of its ten seconds of grace.
GRACE = 10


def test_an_open_stream_ends_with_the_server_and_does_not_hold_it_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'idp.db'}"
    prepare(url)
    with deployed(url, tmp_path, Spawning()) as deployment:
        (server,) = deployment.servers
        with deployment.work.begin() as unit:
            user = queries.create_user(unit, username="alice")
            started = beginning.start(unit, user, (PASSWORD,), Visit())
        assert isinstance(started, beginning.Started)
        secret = started.secret
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"GET /account/session/stream HTTP/1.1\r\nHost: localhost\r\n"
                b"Cookie: idp_session=" + secret.encode() + b"\r\n\r\n"
            )
            received = b""
            while b"event: deadline" not in received:
                received += connection.recv(4_096)
            assert received.startswith(b"HTTP/1.1 200")
            begun = time.monotonic()
            server.stop()
            took = time.monotonic() - begun
            while chunk := connection.recv(4_096):
                received += chunk
        assert received.endswith(b"0\r\n\r\n"), "the answer was ended, not cut off"
        assert b"event: ended" not in received, "the session goes on; so does the page"
        assert took < GRACE
        assert "Cancel" not in server.log.read_text()

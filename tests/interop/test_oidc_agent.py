"""oidc-agent, which strangers wrote, signs in by a code (RFC 8628), refreshes, and is signed out."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.server_process import reserved_port
from tests.interop import processes, provider, registrations
from tests.interop.person import Person

pytestmark = pytest.mark.oidc_agent

CODE = re.compile(r"enter the code: ([A-Z]{4}-[A-Z]{4})")


class Agent:
    """The agent with a folder of its own, and its two commands."""

    def __init__(self, folder: Path) -> None:
        socket = folder / "agent.sock"
        (folder / "oidc").mkdir()
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "OIDC_CONFIG_DIR": str(folder / "oidc"),
            "OIDC_SOCK": str(socket),
            "OIDC_ENCRYPTION_PW": "a password",
        }
        alone = ["--no-autoload", "--no-autoreauthenticate"]
        self._process = self._start(["oidc-agent", "--console", "-a", str(socket), *alone])
        for _ in range(200):
            if socket.exists():
                return
            time.sleep(0.05)
        raise AssertionError("oidc-agent did not start")

    def _start(self, command: list[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def signing_in(self, issuer: str, client: dict[str, str]) -> "subprocess.Popen[str]":
        """`oidc-gen` with the device flow; it waits until somebody has answered."""
        return self._start(
            [
                "oidc-gen", "--manual", "--flow=device", "--iss", issuer, "--client-id",
                client["client_id"], f"--client-secret={client['client_secret']}", "--scope",
                "openid profile offline_access", "--redirect-uri", "http://localhost:8080",
                "--pw-env", "--confirm-default", "--prompt=none", "ours",
            ]
        )  # fmt: skip

    def token(self, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            ["oidc-token", *options, "ours"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=15)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.close()


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as reserved:
        yield reserved


def test_oidc_agent_signs_in_refreshes_and_is_signed_out(
    agent: Agent, tmp_path: Path, port: int
) -> None:
    metadata = {
        **registrations.clients(port)["device"],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    folder = tmp_path / "provider"
    known = provider.prepare(folder, port, people=["alice"], registrations={"agent": metadata})
    with processes.ours(folder, port), closing(Person("alice", provider.PASSWORD)) as person:
        signing_in = agent.signing_in(provider.issuer(port), known["agent"])
        assert signing_in.stdout is not None
        shown = ""
        while not (found := CODE.search(shown)):
            line = signing_in.stdout.readline()
            assert line, shown
            shown += line
        person.let_in(f"{provider.issuer(port)}/device", found[1])
        said, _ = signing_in.communicate(timeout=60)
        assert signing_in.returncode == 0, said

        status, first = agent.token()
        assert (status, first[:3]) == (0, "at_"), first
        # Longer than any of ours lives: it must be refreshed.
        status, second = agent.token("--time=3600")
        assert (status, second[:3]) == (0, "at_"), second
        assert first != second

        person.end_session(f"{provider.issuer(port)}/account/sessions", "agent")
        status, refused = agent.token("--time=3600")
        assert status != 0
        assert "invalid_grant" in refused

"""A real rsyslogd of one's own: configuration, port and files in a folder, nothing of the machine's."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.harness.available import SYSTEM_PATH
from tests.harness.server_process import reserved_port

# TCP without TLS by either of its inputs, and TLS by either of its libraries.
Input = Literal["imtcp", "imptcp", "gtls", "ossl"]
MODULES = Path("/usr/lib")
READY_SECONDS = 60


def has(module: str) -> bool:
    """Whether a module of rsyslog is installed here."""
    return any(MODULES.glob(f"*/rsyslog/{module}.so"))


@dataclass
class Rsyslog:
    """One that writes each message it takes as a line."""

    folder: Path
    port: int
    file: Path

    def lines(self) -> list[bytes]:
        """What it has written so far."""
        return self.file.read_bytes().splitlines() if self.file.exists() else []


@contextmanager
def running(folder: Path, kind: Input, *, certificate: Path | None = None) -> Iterator[Rsyslog]:
    """An rsyslogd until the block ends; then it has written everything that it took.

    It writes into the same file when it is started again in the same folder.
    """
    program = shutil.which("rsyslogd", path=SYSTEM_PATH)
    assert program is not None
    with reserved_port() as port:
        made = Rsyslog(folder, port, folder / "taken.log")
        configuration = folder / "rsyslog.conf"
        configuration.write_text(_configuration(made, kind, certificate))
        with (folder / "rsyslog.out").open("ab") as output:
            process = subprocess.Popen(
                [program, "-n", "-f", str(configuration), "-i", str(folder / "pid")],
                stdout=output,
                stderr=output,
                cwd=folder,
            )
        try:
            _wait_for(port, process, folder / "rsyslog.out")
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(READY_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _configuration(made: Rsyslog, kind: Input, certificate: Path | None) -> str:
    module = "imptcp" if kind == "imptcp" else "imtcp"
    tls = ""
    secured = ""
    if certificate is not None:
        secured = (
            f'global(defaultNetstreamDriverCAFile="{certificate}" '
            f'defaultNetstreamDriverCertFile="{certificate}" '
            f'defaultNetstreamDriverKeyFile="{certificate}")\n'
        )
        tls = f' streamDriver.name="{kind}" streamDriver.mode="1" streamDriver.authMode="anon"'
    return (
        f'global(workDirectory="{made.folder}" maxMessageSize="64k")\n{secured}'
        f'module(load="{module}"{tls})\n'
        # As it came: what is compared is what was sent.
        'template(name="raw" type="string" string="%rawmsg%\\n")\n'
        f'ruleset(name="ours") {{ action(type="omfile" file="{made.file}" template="raw") }}\n'
        f'input(type="{module}" address="127.0.0.1" port="{made.port}" ruleset="ours")\n'
    )


def _wait_for(port: int, process: "subprocess.Popen[bytes]", output: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"rsyslogd does not listen:\n{output.read_text(errors='replace')}")

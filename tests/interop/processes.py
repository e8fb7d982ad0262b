"""Starting and stopping the processes of these tests; nothing is left behind."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop import provider

FOLDER = Path(__file__).parent
READY_SECONDS = 60


@contextmanager
def ours(folder: Path, port: int, **settings: str) -> Iterator[None]:
    """`idp serve` on a prepared database, until the block ends."""
    environment = provider.environment(folder, port, **settings)
    command = [sys.executable, "-m", "idp", "serve"]
    with _running(command, port, folder / "idp.log", cwd=folder, environment=environment):
        yield


@contextmanager
def control(folder: Path, configuration: dict[str, Any]) -> Iterator[None]:
    """npm `oidc-provider` as control.mjs configures it, until the block ends."""
    node = shutil.which("node")
    assert node is not None
    port = configuration["port"]
    with _running(
        [node, "control.mjs"],
        port,
        folder / "control.log",
        cwd=FOLDER,
        standard_input=json.dumps(configuration),
    ):
        yield


def run_script(script: str, configuration: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Runs one of the node scripts; gives its lines by feature. Raises when it crashed."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, script],
        cwd=FOLDER,
        input=json.dumps(configuration),
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        raise RuntimeError(f"{script} ended with {done.returncode}:\n{done.stderr}")
    return {line["feature"]: line for line in lines}


@contextmanager
def _running(
    command: list[str],
    port: int,
    log: Path,
    *,
    cwd: Path,
    environment: dict[str, str] | None = None,
    standard_input: str = "",
) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert process.stdin is not None
        process.stdin.write(standard_input.encode())
        process.stdin.close()
        _wait_until_ready(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not start:\n{log.read_text()[-4_000:]}") from None
            time.sleep(0.02)
        else:
            return

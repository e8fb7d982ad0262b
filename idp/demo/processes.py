"""The demo's four processes: starting them, waiting until they answer, ending them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from idp.demo.install import CHECKOUT, Demo, Ports, local
from idp.errors import Refused

# Seconds until all four must answer, and until one that was asked to stop is killed.
PATIENCE = 60
GRACE = 12
ACCENTS = {"app-one": "indigo", "app-two": "teal"}
# Some machines reach the world through a proxy, which must not be asked for this machine.
NO_PROXY = dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the demo; `probe` is an address that answers, with any status, once it is up."""

    name: str
    process: "subprocess.Popen[bytes]"
    probe: str
    log: Path


@contextmanager
def running(demo: Demo, *, extra: Mapping[str, str] | None = None) -> Iterator[list[Child]]:
    """The provider, both apps and the API, all answering; ends them when the block ends.

    `extra` is added to the provider's environment. Raises `Refused` when one does not come up.
    """
    with ExitStack() as stack:
        children = [
            _start_provider(stack, demo, extra or {}),
            _start_app(stack, demo, "App One", demo.ports.app_one, client_id="app-one"),
            _start_app(stack, demo, "App Two", demo.ports.app_two, client_id="app-two"),
            _start_api(stack, demo),
        ]
        deadline = time.monotonic() + PATIENCE
        for child in children:
            while not _answers(child.probe):
                refuse_dead(children)
                if time.monotonic() > deadline:
                    raise Refused("demo", f"{child.name} does not answer; see {child.log}.")
                time.sleep(0.05)
        yield children


def refuse_dead(children: list[Child]) -> None:
    """Raises `Refused` with the end of its log when a process has ended by itself."""
    for child in children:
        if child.process.poll() is not None:
            last = "\n".join(child.log.read_text(errors="replace").splitlines()[-15:])
            raise Refused("demo", f"{child.name} has ended. The end of {child.log}:\n{last}")


def refuse_taken(ports: Ports) -> None:
    """Raises `Refused` that says which port another program has, and how to move."""
    for name, port in (
        ("provider", ports.provider),
        ("first app", ports.app_one),
        ("second app", ports.app_two),
        ("API", ports.api),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise Refused(
                    "demo",
                    f"Port {port}, which the {name} needs, is taken by another program. Stop it, "
                    "or move all four ports, for example: PORT_BASE=9000 make demo",
                ) from None


def _start_provider(stack: ExitStack, demo: Demo, extra: Mapping[str, str]) -> Child:
    settings = demo.settings
    environment = {
        "IDP_URL": settings.url,
        "IDP_HOST": settings.host,
        "IDP_PORT": str(settings.port),
        "IDP_SECRET_KEY": settings.secret_key.get_secret_value(),
        "IDP_DATABASE_URL": settings.database_url,
        "IDP_OUTBOUND__ALLOW_NETWORKS": json.dumps(settings.outbound.allow_networks),
        "IDP_OUTBOUND__ALLOW_HTTP": "true",
        **extra,
    }
    probe = f"{settings.issuer}/healthz"
    return _start(stack, demo, "provider", ["idp", "serve"], environment, probe=probe)


def _start_app(stack: ExitStack, demo: Demo, name: str, port: int, *, client_id: str) -> Child:
    environment = {
        "APP_NAME": name,
        "APP_PORT": str(port),
        "APP_ACCENT": ACCENTS[client_id],
        "ISSUER": demo.settings.issuer,
        "CLIENT_ID": client_id,
        "CLIENT_SECRET": demo.clients[client_id]["client_secret"],
        "API_URL": local(demo.ports.api),
    }
    command = _uvicorn("clients.web_app.app:create_app", port)
    return _start(stack, demo, name, command, environment, probe=f"{local(port)}/session")


def _start_api(stack: ExitStack, demo: Demo) -> Child:
    client = demo.clients["protected-api"]
    url = local(demo.ports.api)
    environment = {
        "ISSUER": demo.settings.issuer,
        "CLIENT_ID": client["client_id"],
        "CLIENT_SECRET": client["client_secret"],
        "API_URL": url,
    }
    command = _uvicorn("clients.protected_api.app:create_app", demo.ports.api)
    return _start(stack, demo, "API", command, environment, probe=f"{url}/whoami")


def _uvicorn(factory: str, port: int) -> list[str]:
    # A page that waits for events would hold up the end; one second is enough for the rest.
    grace = ["--timeout-graceful-shutdown", "1"]
    return ["uvicorn", "--factory", factory, "--port", str(port), *grace]


def _start(
    stack: ExitStack,
    demo: Demo,
    name: str,
    module: list[str],
    environment: Mapping[str, str],
    *,
    probe: str,
) -> Child:
    log = demo.folder / f"{name.lower().replace(' ', '-')}.log"
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", *module],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **NO_PROXY, **environment},
        # Not the checkout: an idp.toml there is for another provider.
        cwd=demo.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        # Ctrl-C reaches us alone, and we end the children in order.
        start_new_session=True,
    )
    stack.callback(_end, process)
    return Child(name, process, probe, log)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        _opener.open(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True

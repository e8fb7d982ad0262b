"""The three that are compared: ours on SQLite, `oidc-provider` in memory, and with Redis.

Owns how each is configured for the benchmark, alike: the same two web clients, PKCE, ID tokens and
JWT access tokens signed with ES256, refresh tokens that rotate at every use and end with their
session, no consent page.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import servers
from tests.bench.rows import Row
from tests.bench.servers import Server
from tests.bench.target import REDIRECT_URI, RegisteredClient, Target
from tests.interop import provider

ROOT = Path(__file__).resolve().parents[2]
NODE_FOLDER = ROOT / "tests" / "interop"
OURS = "ours (SQLite)"
MEMORY = "oidc-provider, memory"
REDIS = "oidc-provider, Redis"
API = "http://localhost:18598/api"
MODULES = {"serve": "idp", "hashless": "tests.bench.serve_without_hash"}
PEOPLE = [f"person{number}" for number in range(1_000)]
SCOPES = {"opaque": "openid profile email", "jwt": "openid profile email api:read"}


@dataclass(slots=True)
class Running:
    """One server with what is needed to use it."""

    target: Target
    server: Server


@dataclass(slots=True)
class Contestant:
    """One column of the table. `hashless` is used where a row leaves the password hash out."""

    label: str
    running: Running
    hashless: Running | None = None
    redis: Server | None = None

    def used_for(self, row: Row) -> Running:
        return self.hashless if row.hashless and self.hashless else self.running


def _registration(client_id: str, secret: str, token_format: str) -> dict[str, object]:
    """RFC 7591 metadata, which both understand; and the format of the access tokens."""
    return {
        "client_id": client_id,
        "client_name": client_id,
        "client_secret": secret,
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types": ["code"],
        "redirect_uris": [REDIRECT_URI],
        "scope": SCOPES["jwt"],
        "id_token_signed_response_alg": "ES256",
        "access_token_format": token_format,
    }


@contextmanager
def control(directory: Path, *, label: str, with_redis: bool) -> Iterator[Contestant]:
    """npm `oidc-provider`; Redis with an append-only file flushed every second."""
    node = shutil.which("node")
    if node is None or not (NODE_FOLDER / "node_modules").is_dir():
        raise RuntimeError(f"needs node and `npm ci` in {NODE_FOLDER}")
    with ExitStack() as stack:
        directory.mkdir(parents=True)
        environment, redis = {}, None
        if with_redis:
            redis = stack.enter_context(_redis(directory))
            environment["OIDC_REDIS"] = f"redis://127.0.0.1:{redis.port}"
        clients = {name: RegisteredClient(name, "s" * 43, SCOPES[name]) for name in SCOPES}
        port = servers.free_port()
        configuration = {
            "port": port,
            "api": API,
            "interactions": "minimal",
            "clients": [_registration(name, one.secret, name) for name, one in clients.items()],
        }
        server = stack.enter_context(
            servers.start(
                [node, "control.mjs"],
                port=port,
                log=directory / "node.log",
                cwd=NODE_FOLDER,
                environment={**environment, "NODE_ENV": "production"},
                standard_input=json.dumps(configuration),
            )
        )
        target = Target(
            label=label,
            port=port,
            clients=clients,
            login_fields=lambda name: {"login": name, "password": "any"},
            usernames=PEOPLE,
            keeps_sessions=with_redis,
        )
        target.discover()
        yield Contestant(label, Running(target, server), redis=redis)


def _redis(directory: Path) -> Server:
    executable = shutil.which("redis-server")
    if executable is None:
        raise RuntimeError("needs redis-server")
    port = servers.free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(directory),
        "--save": "",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
    }
    return servers.start(
        [executable, *(word for option in options.items() for word in option)],
        port=port,
        log=directory / "redis.log",
        cwd=directory,
        is_ready=servers.accepts_connections,
    )


@contextmanager
def ours(directory: Path, *, modules: Mapping[str, str]) -> Iterator[Contestant]:
    """Ours on prepared SQLite databases, a process for each of `modules` (folder: module)."""
    running = {}
    with ExitStack() as stack:
        for folder, module in modules.items():
            clients = _registered(directory, folder)
            port = servers.free_port()
            server = stack.enter_context(
                servers.start(
                    [sys.executable, "-m", module, "serve"],
                    port=port,
                    log=directory / f"{folder}.log",
                    cwd=directory,
                    environment=provider.environment(directory / folder, port),
                )
            )
            target = Target(
                label=OURS,
                port=port,
                clients=clients,
                login_fields=lambda name: {"username": name, "password": provider.PASSWORD},
                usernames=PEOPLE,
                keeps_sessions=True,
            )
            target.discover()
            running[folder] = Running(target, server)
        yield Contestant(OURS, running["serve"], hashless=running.get("hashless"))


def _registered(directory: Path, folder: str) -> dict[str, RegisteredClient]:
    """The clients in this folder's database, which is a copy of one made on the first call."""
    made = directory / "made"
    known = made / "clients.json"
    if not known.is_file():
        registrations = {
            name: {
                "redirect_uris": [REDIRECT_URI],
                "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
                "scope": SCOPES["jwt"],
                "access_token_format": name,
                "audience": [API],
                "first_party": 1,
            }
            for name in SCOPES
        }
        registered = provider.prepare(
            made, servers.free_port(), people=PEOPLE, registrations=registrations
        )
        known.write_text(json.dumps(registered))
    if not (directory / folder).is_dir():
        shutil.copytree(made, directory / folder)
    return {
        name: RegisteredClient(one["client_id"], one["client_secret"], SCOPES[name])
        for name, one in json.loads(known.read_text()).items()
    }


Maker = Callable[[int], AbstractContextManager[Contestant]]


def all_of(directory: Path, *, with_ours: bool) -> list[tuple[str, Maker]]:
    """The columns in order; each is started anew by calling with the number of the attempt.

    Attempt 0 is the one that stays and is measured; the others only show how long starting takes.
    """

    def maker(label: str, *, with_redis: bool) -> tuple[str, Maker]:
        def make(attempt: int) -> AbstractContextManager[Contestant]:
            folder = directory / f"{label}-{attempt}".replace(" ", "-")
            return control(folder, label=label, with_redis=with_redis)

        return label, make

    def make_ours(attempt: int) -> AbstractContextManager[Contestant]:
        # On the same database every time, as a server that is restarted.
        return ours(directory, modules=MODULES if attempt == 0 else {"serve": "idp"})

    columns = [maker(MEMORY, with_redis=False), maker(REDIS, with_redis=True)]
    return [(OURS, make_ours), *columns] if with_ours else columns

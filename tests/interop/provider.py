"""Our provider as strangers meet it: a process of its own, and people and clients to use it with.

Owns the database and settings of such a process for the interoperability tests and the benchmark.
Does not know any client library.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from idp import settings as deployment
from idp.app import assemble
from idp.events.actor import Actor
from idp.oauth import clients
from idp.oauth import initial_access as initial_access_tokens
from idp.sections import OutboundSettings
from idp.storage import migrations
from idp.users import queries as users
from idp.users.passwords import PasswordHasher

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery staple"
SECRET_KEY = "6JPPb1yzPAPqW0n4vGoBjQhUQxpXrSFE7mYk2TdLc9Z"
NETWORKS = ("127.0.0.0/8", "::1/128")
# A scope that stands for a permission at the API, given by a role.
API_SCOPE = "api:read"
_ROLE = "reader"
_TESTS = Actor("admin", "tests")


def issuer(port: int) -> str:
    return f"http://localhost:{port}"


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    """The environment of `python -m idp`; nothing of the caller's own settings goes in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IDP_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "IDP_URL": issuer(port),
        "IDP_PORT": str(port),
        "IDP_SECRET_KEY": SECRET_KEY,
        "IDP_DATABASE_URL": f"sqlite:///{folder / 'idp.db'}",
        "IDP_OUTBOUND__ALLOW_NETWORKS": '["127.0.0.0/8","::1/128"]',
        "IDP_OUTBOUND__ALLOW_HTTP": "true",
        "IDP_LOG_LEVEL": "warning",
        **more,
    }


def settings_of(folder: Path, port: int) -> deployment.Settings:
    """The same settings for this process, to look into the database with."""
    return deployment.load(
        url=issuer(port),
        port=port,
        secret_key=SECRET_KEY,
        database_url=f"sqlite:///{folder / 'idp.db'}",
        outbound=OutboundSettings(allow_networks=NETWORKS, allow_http=True),
    )


def prepare(
    folder: Path,
    port: int,
    *,
    people: Iterable[str],
    registrations: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Makes the database; gives client id and secret of each registration by its name.

    All people have the same password, whose hash is computed once, and may read the API.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = assemble(settings_of(folder, port))
    try:
        migrations.upgrade(work.database)
        password_hash = PasswordHasher(work.settings.password).hash(PASSWORD)
        registered = {}
        with work.begin() as unit:
            users.define_role(unit, _ROLE, [API_SCOPE])
            for name in people:
                users.create_user(
                    unit,
                    username=name,
                    email=f"{name}@example.com",
                    password_hash=password_hash,
                    roles=[_ROLE],
                    claims={"name": f"Person {name}"},
                )
            for name, metadata in registrations.items():
                client, secret = clients.create(unit, name=name, actor=_TESTS, **metadata)
                registered[name] = {"client_id": client.id, "client_secret": secret}
    finally:
        work.database.close()
    return registered


def initial_access(folder: Path, port: int) -> str:
    """A token with which a stranger's app may register itself, once, at localhost."""
    work = assemble(settings_of(folder, port))
    try:
        with work.begin() as unit:
            return initial_access_tokens.allow(
                unit,
                name="strangers",
                scope="openid profile email",
                grant_types=["authorization_code", "refresh_token"],
                redirect_hosts=["localhost"],
                uses=1,
                seconds=3_600,
                actor=_TESTS,
            )[1]
    finally:
        work.database.close()

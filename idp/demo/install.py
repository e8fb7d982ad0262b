"""What the demo keeps in its folder: secret key, database, people, clients, `demo.json`.

Does not start anything (`processes` does). Installing again keeps what is there: only what was
asked to change (ports, password) is changed.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idp import settings as deployment
from idp.app import assemble, prepare
from idp.errors import Refused
from idp.events.actor import SYSTEM
from idp.oauth import clients
from idp.oauth.grants.device_code import DEVICE_CODE
from idp.policy import management
from idp.sections import OutboundSettings
from idp.storage import migrations
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries as users
from idp.users.passwords import PasswordHasher

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PEOPLE = {
    "alice": {"given_name": "Alice", "family_name": "Martin"},
    "bob": {"given_name": "Bob", "family_name": "Okafor"},
    "carol": {"given_name": "Carol", "family_name": "Lindqvist", "locale": "sv-SE"},
    "ada": {"given_name": "Ada", "family_name": "Ngata"},
}
ADMINISTRATOR = "ada"
# No letters that look alike: the password is typed from the terminal.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the four processes listen, on loopback."""

    provider: int
    app_one: int
    app_two: int
    api: int

    @classmethod
    def following(cls, base: int) -> "Ports":
        """Four ports in a row."""
        return cls(base, base + 1, base + 2, base + 3)


@dataclass(frozen=True, slots=True)
class Demo:
    """An installed demo. `facts` is what stands in `demo.json`, `clients` its clients by id."""

    folder: Path
    ports: Ports
    settings: deployment.Settings
    facts: dict[str, Any]
    clients: dict[str, dict[str, Any]]


def local(port: int) -> str:
    """The address of a port of this machine, as browsers and apps write it."""
    return f"http://localhost:{port}"


def install(folder: Path, ports: Ports, *, password: str | None = None) -> Demo:
    """Makes `folder` ready, or finds it so.

    `password` is everybody's; without one the last is kept, or a random one made. Raises `Refused`
    when the apps are not here.
    """
    if not (CHECKOUT / "clients" / "web_app" / "app.py").is_file():
        raise Refused(
            "demo",
            "The demo's apps are not here: they are in the folder clients/ of the source "
            "repository. Clone it and type `make demo` there.",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = deployment.load(
        url=local(ports.provider),
        host="127.0.0.1",
        port=ports.provider,
        secret_key=_secret_key(folder / "secret_key"),
        database_url=f"sqlite:///{folder.resolve() / 'idp.db'}",
        # The apps listen on loopback, which the provider calls only when it is told to.
        outbound=OutboundSettings(allow_networks=("127.0.0.0/8", "::1/128"), allow_http=True),
    )
    before = _read(folder / "demo.json")
    password_before = next((one["password"] for one in before.get("people", ())), None)
    password = password or password_before or _easy_password()
    secrets_before = {one["client_id"]: one["client_secret"] for one in before.get("clients", ())}
    work = assemble(settings)
    try:
        migrations.upgrade(work.database)
        prepare(work)
        with work.begin() as unit:
            known = [
                username
                for username, claims in PEOPLE.items()
                if _keep_person(unit, username, claims, password)
            ]
            if password != password_before:
                _set_passwords(unit, known, password)
            registered = {
                client_id: _keep_client(unit, client_id, wanted, secrets_before.get(client_id))
                for client_id, wanted in _wanted_clients(ports).items()
            }
    finally:
        work.database.close()
    facts = {
        "issuer": settings.issuer,
        "people": [{"username": name, "password": password} for name in PEOPLE],
        "clients": list(registered.values()),
        "apps": [
            {"name": "App One", "url": local(ports.app_one)},
            {"name": "App Two", "url": local(ports.app_two)},
            {"name": "API", "url": local(ports.api)},
        ],
    }
    _write_private(folder / "demo.json", json.dumps(facts, indent=2) + "\n")
    return Demo(folder, ports, settings, facts, registered)


def _wanted_clients(ports: Ports) -> dict[str, dict[str, Any]]:
    api = local(ports.api)
    return {
        "app-one": _web_app("App One", local(ports.app_one), api),
        "app-two": _web_app("App Two", local(ports.app_two), api),
        "protected-api": {
            "name": "Protected API",
            "grant_types": ["client_credentials"],
            "scope": "",
            "introspects_all": 1,
        },
        "nightly-job": {
            "name": "Nightly job",
            "grant_types": ["client_credentials"],
            "scope": "profile",
            "audience": [api],
        },
        "operations": {
            "name": "Operations",
            "grant_types": ["client_credentials"],
            "scope": " ".join(management.SCOPES),
            "management": 1,
        },
        "command-line": {
            "name": "Command line",
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            # RFC 8252 section 7.3: on whichever port it finds free.
            "redirect_uris": ["http://127.0.0.1/callback"],
            "scope": "openid profile email offline_access sessions",
            "audience": [api],
        },
        "device-cli": {
            "name": "Terminal",
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "grant_types": [DEVICE_CODE, "refresh_token"],
            "scope": "openid profile email offline_access sessions",
        },
    }


def _web_app(name: str, url: str, api: str) -> dict[str, Any]:
    return {
        "name": name,
        "redirect_uris": [f"{url}/callback"],
        "post_logout_redirect_uris": [f"{url}/signed-out"],
        "backchannel_logout_uri": f"{url}/backchannel-logout",
        "client_uri": url,
        # "payments" is the API's own; what it needs beyond the scope, it says itself.
        "scope": "openid profile email roles payments",
        "audience": [api],
        # Our own apps: consent is not asked.
        "first_party": 1,
    }


def _keep_person(unit: UnitOfWork, username: str, claims: Mapping[str, str], password: str) -> bool:
    """Makes a person who is not there yet; gives whether they were."""
    if users.by_identifier(unit, username) is not None:
        return True
    users.create_user(
        unit,
        username=username,
        email=f"{username}@example.com",
        # Not set afterwards: everybody would have a letter that their password was changed.
        password_hash=PasswordHasher(unit.settings.password).hash(password),
        roles=[management.ADMINISTRATOR] if username == ADMINISTRATOR else [],
        claims={**claims, "name": f"{claims['given_name']} {claims['family_name']}"},
    )
    return False


def _set_passwords(unit: UnitOfWork, usernames: Iterable[str], password: str) -> None:
    hasher = PasswordHasher(unit.settings.password)
    for username in usernames:
        person = users.by_identifier(unit, username)
        assert person is not None
        users.set_password(unit, person, hasher.hash(password), SYSTEM)


def _keep_client(
    unit: UnitOfWork, client_id: str, wanted: Mapping[str, Any], secret: str | None
) -> dict[str, Any]:
    client = clients.by_id(unit, client_id)
    if client is None:
        client, secret = clients.create(unit, client_id=client_id, actor=SYSTEM, **wanted)
    else:
        changeable = {name: wanted[name] for name in wanted if name in clients.CHANGEABLE}
        clients.change(unit, client, actor=SYSTEM, **changeable)
        if secret is None and client.secret_hash is not None:
            secret = clients.rotate_secret(unit, client, actor=SYSTEM)
    return {
        "client_id": client.id,
        "client_secret": secret,
        "redirect_uris": client.redirect_uris,
        "grant_types": client.grant_types,
        "management": bool(client.management),
    }


def _secret_key(file: Path) -> str:
    if not file.is_file():
        _write_private(file, secrets.token_urlsafe(48))
    return file.read_text().strip()


def _easy_password() -> str:
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))
    return "-".join(groups)


def _read(file: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner reads, whole or not at all."""
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(file)

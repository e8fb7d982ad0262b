"""A whole provider inside the test process, on SQLite or PostgreSQL, and an app that talks to it.

The clock stands still until a test moves it; the worker does not run unless a test steps it. Making
RSA keys takes half a second, so every test starts from a copy of one prepared database.
"""

import base64
import hashlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import sqlalchemy as sa
from starlette.testclient import TestClient

from idp import app as application
from idp.events.actor import Actor
from idp.oauth import clients
from idp.sessions import beginning, lifecycle
from idp.sessions.device import Visit
from idp.sessions.lifecycle import Authentication
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.settings import Settings
from idp.storage import migrations
from idp.storage.unit_of_work import Work
from idp.users import queries
from idp.users.model import User
from idp.users.passwords import PasswordHasher
from tests.harness import event_loop, postgres
from tests.harness.postgres_copies import Copies
from tests.harness.workbench import LOOPBACK, SECRET, ManualClock

ISSUER = "http://localhost:8000"
CALLBACK = "https://app.example/callback"
ADMIN = Actor("admin", "test")
PASSWORD = "correct horse battery staple"
# The cheapest hash the settings allow: what is tested is not how slow argon2 is.
CHEAP = {"memory_kib": 8192, "time_cost": 1}


@dataclass
class Registered:
    """A client as its app knows it."""

    id: str
    secret: str | None
    redirect_uri: str


@dataclass
class Flow:
    """One authorization request of an app, with what it must remember."""

    client: Registered
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """The query of the request; a change to None leaves a parameter out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        values: dict[str, str | None] = {
            "client_id": self.client.id,
            "redirect_uri": self.client.redirect_uri,
            "response_type": "code",
            "scope": "openid",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Started:
    """A session that runs, and the secret that its browser keeps."""

    session: Session
    secret: str


class Idp:
    """The provider under test and short ways to do what tests do all the time."""

    def __init__(self, settings: Settings, clock: ManualClock) -> None:
        self.settings = settings
        self.clock = clock
        self.app = application.create_app(settings, clock=clock)
        self.work: Work = self.app.work
        self.hasher = PasswordHasher(settings.password)

    def browser(self, *, ip: str = "testclient") -> TestClient:
        """A browser of its own, with its own cookies; it does not follow redirects."""
        client = TestClient(self.app, base_url=ISSUER, client=(ip, 4711), follow_redirects=False)
        return event_loop.shared(client)

    def close(self) -> None:
        self.app.provider.store.close()
        self.app.provider.outbound.close()
        self.app.provider.atlas.close()
        self.work.database.close()

    # --- people and apps --------------------------------------------------------------------

    def person(self, username: str = "alice", **values: Any) -> User:
        """A person who can sign in with `PASSWORD`."""
        with self.work.begin() as unit:
            return queries.create_user(
                unit,
                username=username,
                email=values.pop("email", f"{username}@example.com"),
                password_hash=self.hasher.hash(PASSWORD),
                **values,
            )

    def register(self, **values: Any) -> Registered:
        """A confidential first-party client with the code, refresh and own grants."""
        defaults: dict[str, Any] = {
            "name": "App",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "scope": "openid profile email offline_access roles sessions",
            "first_party": 1,
        }
        with self.work.begin() as unit:
            client, secret = clients.create(unit, **(defaults | values), actor=ADMIN)
            return Registered(client.id, secret, next(iter(client.redirect_uris), ""))

    def session(
        self,
        user: User,
        *,
        agent: str = "Mozilla/5.0 test",
        ip: str = "192.0.2.1",
        proved: Sequence[Authentication] = (BY_PASSWORD,),
    ) -> Started:
        """A session of this person, begun now, without a browser."""
        with self.work.begin() as unit:
            fresh = unit.orm.get_one(User, user.id)
            visit = Visit(ip=ip, agent=agent, locate=self.app.provider.atlas.of)
            started = beginning.start(unit, fresh, proved, visit)
            assert isinstance(started, beginning.Started), started
            return Started(started.row(unit), started.secret)

    def prove(self, started: Started, *proved: Authentication) -> Started:
        """The session after its person proved more just now, with its new secret."""
        with self.work.begin() as unit:
            session = unit.orm.get_one(Session, started.session.id)
            secret = lifecycle.reauthenticate(unit, session, proved, Visit())
            return Started(session, secret)

    def end(self, session_id: str, reason: Any = "signed_out") -> list[str]:
        """Ends a session as its person would."""
        with self.work.begin() as unit:
            return lifecycle.end(unit, [session_id], reason=reason, actor=ADMIN)

    # --- what an app does -------------------------------------------------------------------

    def signed_in_browser(self, started: Started, *, ip: str = "testclient") -> TestClient:
        """A browser that holds this session's cookie."""
        browser = self.browser(ip=ip)
        browser.cookies.set("idp_session", started.secret, domain="localhost.local")
        return browser

    def authorize(self, browser: TestClient, parameters: dict[str, str]) -> dict[str, str]:
        """Sends an authorization request that needs no page; gives the answer's parameters."""
        response = browser.get(f"/authorize?{urlencode(parameters)}")
        assert response.status_code == 303, response.text
        return answer_of(response.headers["location"])

    def token(self, client: Registered, **form: str) -> tuple[int, dict[str, Any]]:
        """POST /token as this client (basic, or public)."""
        return self.post("/token", client, **form)

    def post(self, path: str, client: Registered | None, **form: str) -> tuple[int, dict[str, Any]]:
        """POSTs a form to a token-side endpoint as `client`."""
        auth = (client.id, client.secret) if client and client.secret else None
        if client is not None and client.secret is None:
            form.setdefault("client_id", client.id)
        response = self.browser().post(path, data=form, auth=auth)
        return response.status_code, response.json()

    def grant(self, client: Registered, started: Started, **changes: str | None) -> dict[str, Any]:
        """The whole code flow of an app in a session; gives the token response."""
        flow = Flow(client)
        answer = self.authorize(self.signed_in_browser(started), flow.parameters(**changes))
        assert "code" in answer, answer
        status, tokens = self.token(
            client,
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=client.redirect_uri,
            code_verifier=flow.verifier,
        )
        assert status == 200, tokens
        return tokens

    def refresh(
        self, client: Registered, refresh_token: str, **form: str
    ) -> tuple[int, dict[str, Any]]:
        return self.token(client, grant_type="refresh_token", refresh_token=refresh_token, **form)

    def is_active(self, client: Registered, token: str) -> bool:
        """What introspection says of a token."""
        status, body = self.post("/introspect", client, token=token)
        assert status == 200, body
        return bool(body["active"])

    def userinfo(self, access_token: str) -> tuple[int, dict[str, Any]]:
        response = self.browser().get(
            "/userinfo", headers={"Authorization": f"Bearer {access_token}"}
        )
        return response.status_code, response.json()

    # --- what was written -------------------------------------------------------------------

    def events(self, *types: str) -> list[dict[str, Any]]:
        """The events of these types (all without), oldest first."""
        with self.work.read() as unit:
            rows = unit.connection.execute(sa.text("SELECT * FROM events ORDER BY id")).mappings()
            return [dict(row) for row in rows if not types or row["type"] in types]

    def execute(self, statement: str, **values: Any) -> None:
        """Changes the database behind the provider's back."""
        with self.work.database.write() as connection:
            connection.execute(sa.text(statement), values)

    def count(self, table: str) -> int:
        with self.work.read() as unit:
            return int(unit.connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)


def answer_of(location: str) -> dict[str, str]:
    """The parameters of a redirect back to an app."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def settings_for(url: str, **values: Any) -> Settings:
    usual = {
        "secret_key": SECRET,
        "outbound": LOOPBACK,
        "password": CHEAP,
        # A folder of the machine's owner must not be looked into.
        "geo": {"folder": "/nowhere"},
    }
    return Settings(database_url=url, url=ISSUER, **(usual | values))


class Templates:
    """Prepared databases, one of each kind, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._postgres: Copies | None = None

    def sqlite(self, target: Path) -> str:
        """A copy of the prepared SQLite database; gives its URL."""
        prepared = self._folder / "prepared.db"
        if not prepared.exists():
            _prepare(f"sqlite:///{prepared}")
        shutil.copyfile(prepared, target)
        return f"sqlite:///{target}"

    @contextmanager
    def postgres(self) -> Iterator[str]:
        """A copy of the prepared PostgreSQL database, until the block ends."""
        if self._postgres is None:
            name = f"idp_prepared_{secrets.token_hex(4)}"
            postgres.administer(f"CREATE DATABASE {name}")
            _prepare(postgres.url_of(name))
            self._postgres = Copies(name)
        with self._postgres.one() as url:
            yield url


def _prepare(url: str) -> None:
    work = application.assemble(settings_for(url), clock=ManualClock())
    migrations.upgrade(work.database)
    application.prepare(work)
    work.database.checkpoint()
    if work.database.is_sqlite:
        with work.database.writing.connect() as connection:
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    work.database.close()

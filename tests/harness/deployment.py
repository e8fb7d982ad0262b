"""A provider as it is deployed: a database, server processes at it, people, apps, receivers.

Registers through the product's own functions, beside the running servers; everything else goes over
the wire. What the database says is asked with plain SQL.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from idp import app as application
from idp.events import log as event_log
from idp.oauth import clients
from idp.policy.limits import AtLimit
from idp.storage import migrations
from idp.storage.unit_of_work import Work
from idp.users import queries, rules
from idp.users.passwords import PasswordHasher
from tests.bench.wire import Answer
from tests.harness.load_clients import AppAt, Browser, Wire, code_of, json_of
from tests.harness.provider import ADMIN, CALLBACK, PASSWORD, Registered, settings_for
from tests.harness.receivers import Receiver
from tests.harness.server_process import Launch, Server, environment, reserved_port, running

SCOPE = "openid profile email offline_access roles sessions"


@dataclass(frozen=True, slots=True)
class Grant:
    """What an app holds after a code flow."""

    app: AppAt
    browser: Browser
    access_token: str
    refresh_token: str
    id_token: str
    code: str


@dataclass
class Deployment:
    """Servers on one database; `work` looks at it, and registers, from the test's own process."""

    work: Work
    servers: list[Server]
    _hasher: PasswordHasher
    _browsers: list[Browser] = field(default_factory=list)

    @property
    def server(self) -> Server:
        return self.servers[0]

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    @property
    def is_sqlite(self) -> bool:
        return self.work.database.is_sqlite

    # --- what stands in the database ----------------------------------------------------------

    def person(self, username: str, **values: Any) -> str:
        """Somebody who can sign in with `PASSWORD`; gives the id."""
        with self.work.begin() as unit:
            return queries.create_user(
                unit, username=username, password_hash=self._hasher.hash(PASSWORD), **values
            ).id

    def app(self, name: str, *, receiver: Receiver | None = None, **values: Any) -> AppAt:
        """A confidential app of the deployment's own, which `receiver` is told of logouts for."""
        wanted: dict[str, Any] = {
            "name": name,
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "scope": SCOPE,
            "first_party": 1,
            "backchannel_logout_uri": receiver.uri if receiver is not None else None,
        }
        with self.work.begin() as unit:
            client, secret = clients.create(unit, **(wanted | values), actor=ADMIN)
            return AppAt(self.port, Registered(client.id, secret, CALLBACK))

    def role(self, name: str) -> None:
        """A role that gives no rights, for rules to select people by."""
        with self.work.begin() as unit:
            queries.define_role(unit, name, [])

    def limit_sessions(
        self, maximum: int, at_limit: AtLimit = "end_oldest", **selecting: str
    ) -> None:
        """For everybody, or for those that `selecting` means (`role="nurse"`)."""
        value = {"maximum": maximum, "at_limit": at_limit}
        with self.work.begin() as unit:
            rules.set_rule(unit, "limits", selecting, value, ADMIN)

    def rows(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """The rows of a query, as they stand now."""
        with self.work.read() as unit:
            return [
                dict(row) for row in unit.connection.execute(sa.text(statement), values).mappings()
            ]

    def scalar(self, statement: str, **values: Any) -> Any:
        with self.work.read() as unit:
            return unit.connection.scalar(sa.text(statement), values)

    def count_events(self, type_: str) -> int:
        return int(self.scalar("SELECT count(*) FROM events WHERE type = :type", type=type_))

    def verify_chain(self) -> tuple[int, str | None]:
        """Seals what is not sealed yet and walks the audit chain."""
        event_log.seal(self.work)
        with self.work.read() as unit:
            return event_log.verify(unit)

    # --- what people and apps do --------------------------------------------------------------

    def browser(self, *, port: int | None = None) -> Browser:
        made = Browser(port or self.port)
        self._browsers.append(made)
        return made

    def signed_in(self, username: str) -> Browser:
        """A browser in which this person has just signed in."""
        browser = self.browser()
        answer = browser.wire.exchange(browser.signing_in(username, PASSWORD))
        browser.keep(answer)
        assert answer.status == 303, answer
        return browser

    def code(self, browser: Browser, app: AppAt, **changes: str | None) -> tuple[str, Any]:
        """A code for this app in the browser's session, and the flow it belongs to."""
        flow = app.flow()
        code = code_of(browser.get(authorize_path(flow.parameters(**changes))))
        assert code is not None
        return code, flow

    def grant(self, browser: Browser, app: AppAt, **changes: str | None) -> Grant:
        """The whole code flow of an app in the browser's session."""
        code, flow = self.code(browser, app, **changes)
        answer = self.ask(app.redeeming(flow, code))
        said = json_of(answer)
        assert answer.status == 200, said
        return Grant(
            app,
            browser,
            str(said["access_token"]),
            str(said["refresh_token"]),
            str(said["id_token"]),
            code,
        )

    def ask(self, request: bytes, *, port: int | None = None) -> Answer:
        """One request on a connection of its own."""
        wire = Wire(port or self.port)
        try:
            return wire.exchange(request)
        finally:
            wire.close()

    def is_active(self, app: AppAt, token: str) -> bool:
        """What introspection says of a token."""
        answer = self.ask(app.introspecting(token))
        assert answer.status == 200, answer
        return bool(json_of(answer)["active"])

    def forget_attempts(self) -> None:
        """As if a quarter of an hour had passed for whoever is counted."""
        with self.work.database.write() as connection:
            connection.execute(sa.text("DELETE FROM throttles"))

    def hang_up(self) -> None:
        """Closes every browser's connection, as the end of a server does."""
        for browser in self._browsers:
            browser.close()

    def close(self) -> None:
        self.hang_up()
        self.work.database.close()


def authorize_path(parameters: Mapping[str, str]) -> str:
    return f"/authorize?{urlencode(parameters)}"


def prepare(url: str) -> None:
    """Makes an empty database ready to serve: schema and keys."""
    work = application.assemble(settings_for(url))
    migrations.upgrade(work.database)
    application.prepare(work)
    work.database.close()


@contextmanager
def deployed(
    url: str, folder: Path, launch: Launch, *, nodes: int = 1, **settings: str
) -> Iterator[Deployment]:
    """A prepared database with so many servers at it, all running until the block ends."""
    servers: list[Server] = []
    # Every node has the address of the first: what stands before them would make them one.
    with ExitStack() as stack:
        for _ in range(nodes):
            port = stack.enter_context(reserved_port())
            server = Server(launch, port, folder, environment(url, **settings))
            if servers:
                server.environment["IDP_URL"] = servers[0].issuer
            servers.append(server)
            stack.enter_context(running(server))
        made = deployment(url, servers)
        stack.callback(made.close)
        yield made


def deployment(url: str, servers: Sequence[Server]) -> Deployment:
    """The deployment around servers that somebody else starts."""
    known = settings_for(url)
    return Deployment(application.assemble(known), list(servers), PasswordHasher(known.password))

"""The whole product as people run it: provider, two apps and the API, each a process of its own."""

import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idp.demo.install import Demo, Ports, install
from idp.demo.processes import running
from tests.harness.server_process import reserved_port

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Product:
    """A running product with its own empty database."""

    demo: Demo

    @property
    def issuer(self) -> str:
        return self.demo.settings.issuer

    @property
    def app_one(self) -> str:
        return f"http://localhost:{self.demo.ports.app_one}"

    @property
    def app_two(self) -> str:
        return f"http://localhost:{self.demo.ports.app_two}"

    @property
    def api(self) -> str:
        return f"http://localhost:{self.demo.ports.api}"

    def post(self, path: str, client: str, **form: str) -> tuple[int, dict[str, Any]]:
        """POSTs a form to the provider as one of the demo's clients; gives status and JSON."""
        known = self.demo.clients[client]
        pair = b64encode(f"{client}:{known['client_secret']}".encode()).decode()
        request = urllib.request.Request(
            self.issuer + path,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {pair}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What stands in the database."""
        with closing(sqlite3.connect(self.demo.folder / "idp.db", timeout=10)) as database:
            return database.execute(statement, values).fetchall()

    def execute(self, statement: str, *values: object) -> int:
        """Changes the database behind the provider's back; gives how many rows."""
        database = sqlite3.connect(self.demo.folder / "idp.db", timeout=10)
        with closing(database), database:
            return database.execute(statement, values).rowcount


@contextmanager
def product(folder: Path, *, extra: Mapping[str, str] | None = None) -> Iterator[Product]:
    """Installs a demo into `folder` and runs it on ports of ours until the block ends."""
    with ExitStack() as stack:
        ports = Ports(*(stack.enter_context(reserved_port()) for _ in range(4)))
        demo = install(folder, ports, password=PASSWORD)
        stack.enter_context(running(demo, extra=extra))
        yield Product(demo)

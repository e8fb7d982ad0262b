"""The parts of the running provider that the protocol uses, and the shape of its decisions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from idp.oauth.keys import Keyring
from idp.sessions.atlas import Atlas
from idp.settings import Settings
from idp.storage.database import Write
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Vault
from idp.users.rules import RulesInForce
from idp.work.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Provider:
    """Wired once per process in `idp.app`."""

    work: Work
    keyring: Keyring
    store: Store
    outbound: Outbound
    atlas: Atlas
    rules: RulesInForce

    @property
    def settings(self) -> Settings:
        return self.work.settings

    @property
    def vault(self) -> Vault:
        return self.work.vault


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the protocol side."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Decision:
    """What pure code decided: the answer, and what must be durable before it leaves.

    `writes` go in one transaction; when one of them lost a race nothing is written and the request
    is decided again on fresh facts. `consequence` is for what is rare and wide (a replay that ends
    a grant): it runs in a unit of work of its own, before the answer.
    """

    answer: Answer
    writes: list[Write] = field(default_factory=list)
    consequence: Callable[[UnitOfWork], None] | None = None


class NeedsClientKeys(Exception):  # noqa: N818
    """The decision needs a client's keys from its `jwks_uri`, which are not at hand."""

    def __init__(self, jwks_uri: str) -> None:
        super().__init__(jwks_uri)
        self.jwks_uri = jwks_uri


class NeedsSession(Exception):  # noqa: N818
    """The decision needs a session and a grant that are to be made first: rare, and many statements.

    `make` does it in units of work of its own; what became of it is in the facts afterwards.
    """

    def __init__(self, make: Callable[[Work], None]) -> None:
        super().__init__("a session is to be made")
        self.make = make


# RFC 6750 section 3 wants a parameter in every challenge, RFC 7617 section 2 this one in each of Basic.
REALM = "idp"
NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


def json_answer(
    status: int, body: dict[str, Any], headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """JSON that no cache keeps (RFC 6749 section 5.1)."""
    return Answer(
        status,
        orjson.dumps(body),
        (("Content-Type", "application/json"), *NO_STORE, *headers),
    )

"""What administrators do, as events: the part of the `catalogue` about apps, rules, keys and bulk."""

from dataclasses import dataclass
from typing import Any, ClassVar

from idp.events.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCreated(Event):
    """A client was created; `registered_with` is the initial access token if it registered itself."""

    type: ClassVar[str] = "client.created"
    registered_with: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChanged(Event):
    """A client was changed; `changed` names the fields."""

    type: ClassVar[str] = "client.changed"
    changed: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialAccessAllowed(Event):
    """An administrator made an initial access token, with which apps may register themselves."""

    type: ClassVar[str] = "initial_access.allowed"
    token: str
    scope: str
    grant_types: list[str]
    redirect_hosts: list[str]
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialAccessRevoked(Event):
    """An administrator took an initial access token back; what registered with it stays."""

    type: ClassVar[str] = "initial_access.revoked"
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationReuseDetected(Event):
    """A registration access token came back after it was replaced; only administrators change the app
    now.
    """

    type: ClassVar[str] = "registration.reuse_detected"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChanged(Event):
    """An administrator changed a rule."""

    type: ClassVar[str] = "rule.changed"
    kind: str
    applies_to: dict[str, str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesApplied(Event):
    """Changed rules were applied to the sessions that run: `nearer` of them end or rest sooner now."""

    type: ClassVar[str] = "rule.applied"
    nearer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRotated(Event):
    """The next signing key became the active one."""

    type: ClassVar[str] = "keys.rotated"
    kid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSignOutAsked(Event):
    """An administrator asked to end every session that `filter` means; `matched` so many."""

    type: ClassVar[str] = "bulk_sign_out.asked"
    operation: str
    filter: str
    matched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSignOutDone(Event):
    """The last session that a bulk sign-out meant has ended; `ended` so many."""

    type: ClassVar[str] = "bulk_sign_out.done"
    operation: str
    ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySaved(Event):
    """An administrator kept a search or report under a name."""

    type: ClassVar[str] = "query.saved"
    query: str
    after: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryChanged(Event):
    """A search or report that is kept got another name, or asks something else."""

    type: ClassVar[str] = "query.changed"
    query: str
    before: dict[str, str]
    after: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRemoved(Event):
    """A search or report is kept no longer."""

    type: ClassVar[str] = "query.removed"
    query: str
    before: dict[str, str]

"""What the self-service API takes and gives, for the OpenAPI document; a test holds it to the truth."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OwnDevice(_Model):
    """What a browser says of itself."""

    type: str
    browser: str | None
    os: str | None


class OwnPlace(_Model):
    """Where the address is, as far as it is known: approximate by nature."""

    country: str | None
    region: str | None
    city: str | None
    network: str | None


class OwnApp(_Model):
    """An app that a session signed in to."""

    client_id: str
    name: str
    state: Literal["active", "ended"]


class OwnSession(_Model):
    """A running session of the person the token speaks for."""

    id: str
    name: str
    default_name: str
    device: OwnDevice
    current: bool
    kept: bool
    on_trusted_device: bool
    origin: str
    ip: str | None
    place: OwnPlace | None
    created_at: Moment
    last_active_at: Moment
    idle_expires_at: Moment
    expires_at: Moment
    method: str
    acr: str
    remembered: bool
    apps: list[OwnApp]


class OwnLimit(BaseModel):
    """A limit on one's sessions; selectors say which are counted."""

    model_config = ConfigDict(extra="allow")

    maximum: int
    used: int
    at_limit: str
    per: str | None


class OwnSessions(_Model):
    """One's running sessions, the present one first."""

    sessions: list[OwnSession]
    limits: list[OwnLimit]


class OwnChange(_Model):
    """A name of one's own (null or "" for the default), and whether it is the last to give way."""

    name: str | None = Field(default=None, max_length=60)
    kept: bool = False


class OwnDeadline(_Model):
    """When a session that was extended ends without activity."""

    id: str
    idle_expires_at: Moment


class OwnDeadlines(OwnDeadline):
    """When the session of the token ends, and what time it is here."""

    now: Moment
    expires_at: Moment


class OwnAppTold(_Model):
    """An app of an ended session, and whether it knows."""

    client_id: str
    name: str
    state: Literal["told", "telling", "not_told", "no_address"]


class OwnEnded(_Model):
    """The sessions that ended, and their apps."""

    ended: list[str]
    apps: list[OwnAppTold]


@dataclass(frozen=True, slots=True)
class Described:
    """One method at one address of the self-service API."""

    method: str
    path: str
    name: str
    summary: str
    gives: type[BaseModel]
    takes: type[BaseModel] | None = None
    scope: str = "sessions"


_PATH = "/api/v1/users/sessions"
DESCRIBED = (
    Described("GET", _PATH, "list_own_sessions", "List one's running sessions.", OwnSessions),
    Described(
        "POST", f"{_PATH}/revoke-all", "end_other_own_sessions", "End all others.", OwnEnded
    ),
    Described(
        "GET", f"{_PATH}/current", "get_own_session", "When this session ends.", OwnDeadlines,
        scope="openid",
    ),
    Described(
        "POST", f"{_PATH}/current/extend", "extend_current_session", "Stay signed in.",
        OwnDeadlines, scope="openid",
    ),
    Described(
        "POST", f"{_PATH}/{{id}}/extend", "extend_own_session", "Stay signed in.", OwnDeadline
    ),
    Described(
        "PATCH", f"{_PATH}/{{id}}", "change_own_session", "Rename or keep a session.", OwnSession,
        OwnChange,
    ),
    Described("DELETE", f"{_PATH}/{{id}}", "end_own_session", "End a session.", OwnEnded),
)  # fmt: skip

"""What every event is made of; the events themselves are in `catalogue`."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from idp import ids

COLUMNS = ("user_id", "session_id", "client_id", "ip", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have: an id, who did it, and whom it concerns."""

    type: ClassVar[str]
    event_id: str = field(default_factory=lambda: ids.new("evt"))
    actor: str = "system"
    actor_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    client_id: str | None = None
    ip: str | None = None
    reason: str | None = None

    def data(self) -> dict[str, Any]:
        """The fields that are particular to this type."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in COLUMNS and one.name not in ("event_id", "actor", "actor_id")
        }

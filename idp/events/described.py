"""An event as whoever is outside reads it: the management API, exports, webhooks, syslog.

One form for all of them, so that what was exported and what was sent can be compared.
"""

from typing import Any

import orjson
from sqlalchemy import Text, type_coerce

from idp.clock import to_rfc3339
from idp.events.model import EventRow

# What is read of an event that only goes out. `data` stays the text that is stored: nothing is parsed
# only to be written again.
COLUMNS = (
    EventRow.event_id,
    EventRow.position,
    EventRow.type,
    EventRow.at,
    EventRow.actor,
    EventRow.actor_id,
    EventRow.user_id,
    EventRow.session_id,
    EventRow.client_id,
    EventRow.ip,
    EventRow.reason,
    type_coerce(EventRow.data, Text).label("data"),
)


def described(row: EventRow) -> dict[str, Any]:
    """The members of an event. `position` is its place in the sealed chain, counted without gaps; it
    is null until the event is sealed, about a second after it was written.
    """
    return _members(row, row.data)


def line(row: Any) -> bytes:
    """The event of a row of `COLUMNS`, as a line of JSON with its end."""
    return orjson.dumps(_members(row, orjson.Fragment(row.data)), option=orjson.OPT_APPEND_NEWLINE)


def _members(row: Any, data: Any) -> dict[str, Any]:
    return {
        "id": row.event_id,
        "position": row.position,
        "type": row.type,
        "at": to_rfc3339(row.at),
        "actor": row.actor,
        "actor_id": row.actor_id,
        "user_id": row.user_id,
        "session_id": row.session_id,
        "client_id": row.client_id,
        "ip": row.ip,
        "reason": row.reason,
        "data": data,
    }

"""An event as whoever is outside reads it: the management API, exports, webhooks, syslog.

One form for all of them, so that what was exported and what was sent can be compared.
"""

from typing import Any

from idp.clock import to_rfc3339
from idp.events.model import EventRow


def described(row: EventRow) -> dict[str, Any]:
    """The members of an event. `position` is its place in the sealed chain, counted without gaps; it
    is null until the event is sealed, about a second after it was written.
    """
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
        "data": row.data,
    }

"""The events that a report lists one by one: what went wrong, and what administrators did.

By an index of their own, which only these rows are in.
"""

from dataclasses import dataclass

from sqlalchemy import select

from idp.clock import Instant
from idp.events.model import IS_NOTABLE, EventRow
from idp.storage.unit_of_work import UnitOfWork

# What a report lists at most; its counts are of all.
MOST = 500
OF_REPORT: dict[str, tuple[str, ...]] = {
    "usage": (),
    "incidents": (
        "token.reuse_detected",
        "remember.reuse_detected",
        "registration.reuse_detected",
        "pairing.reported",
        "factor.suspended",
        "session.disowned",
        "logout.given_up",
        "mail.given_up",
    ),
    "compliance": ("rule.changed", "keys.rotated", "client.changed", "client.created"),
}


@dataclass(frozen=True, slots=True)
class Incident:
    """One event of a report."""

    at: Instant
    type: str
    user_id: str | None
    actor: str
    actor_id: str | None
    ip: str | None
    reason: str | None


def listed(unit: UnitOfWork, kind: str, *, since: Instant, until: Instant) -> list[Incident]:
    """The events of a report in a span, the newest first, at most `MOST`."""
    types = OF_REPORT[kind]
    if not types:
        return []
    rows = unit.connection.execute(
        select(
            EventRow.at,
            EventRow.type,
            EventRow.user_id,
            EventRow.actor,
            EventRow.actor_id,
            EventRow.ip,
            EventRow.reason,
        )
        .where(
            IS_NOTABLE,
            EventRow.type.in_(types),
            EventRow.at >= since,
            EventRow.at < until,
        )
        .order_by(EventRow.at.desc(), EventRow.id.desc())
        .limit(MOST)
    )
    return [Incident(*row) for row in rows]

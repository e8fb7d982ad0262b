"""Tables of the audit log and of what is owed to receivers."""

from typing import Any

from sqlalchemy import Index, Integer, String, Text, TextClause, text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds, RowNumber

# What reports list one by one; rare, so an index of them costs other events nothing.
NOTABLE = (
    "client.changed",
    "client.created",
    "factor.suspended",
    "keys.rotated",
    "logout.given_up",
    "mail.given_up",
    "pairing.reported",
    "registration.reuse_detected",
    "remember.reuse_detected",
    "rule.changed",
    "session.disowned",
    "token.reuse_detected",
)
# What pages ask of one person: when was that last? As rare.
SOUGHT = (
    "consent.revoked",
    "credential.changed",
    "device.forgotten",
    "remember.reuse_detected",
    "session.disowned",
    "token.reuse_detected",
    "user.secured",
    "user.signed_out_everywhere",
)


def _one_of(types: tuple[str, ...]) -> TextClause:
    """A partial index is used by SQLite only where a query says its condition in the same words."""
    return text(f"type IN ({', '.join(repr(one) for one in types)})")


IS_NOTABLE, IS_SOUGHT = _one_of(NOTABLE), _one_of(SOUGHT)


class EventRow(Base):
    """A fact, written in the transaction of its cause; never changed, only sealed.

    `position` and `seal` are NULL until the worker chains the row (see `log.seal_pending`).
    """

    __tablename__ = "events"
    __table_args__ = (
        # Every index is a page more that each commit writes, so there are only these.
        Index("ix_events_session", "session_id", "id"),
        Index("ix_events_user", "user_id", "id"),
        Index(
            "ix_events_position",
            "position",
            unique=True,
            sqlite_where=text("position IS NOT NULL"),
            postgresql_where=text("position IS NOT NULL"),
        ),
        Index("ix_events_reported", "at", sqlite_where=IS_NOTABLE, postgresql_where=IS_NOTABLE),
        Index(
            "ix_events_sought",
            "user_id",
            "type",
            "id",
            sqlite_where=IS_SOUGHT,
            postgresql_where=IS_SOUGHT,
        ),
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(String(40))
    type: Mapped[str] = mapped_column(String(48))
    at: Mapped[Instant] = mapped_column(Microseconds)
    # Who did it: "user", "admin", "client", "system"; and which one.
    actor: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str | None] = mapped_column(String(64))
    user_id: Mapped[str | None] = mapped_column(String(40))
    session_id: Mapped[str | None] = mapped_column(String(40))
    client_id: Mapped[str | None] = mapped_column(String(64))
    ip: Mapped[str | None] = mapped_column(String(45))
    reason: Mapped[str | None] = mapped_column(String(255))
    data: Mapped[dict[str, Any]] = mapped_column(Json)
    position: Mapped[int | None] = mapped_column(RowNumber)
    seal: Mapped[str | None] = mapped_column(String(64))


OWED = "owed"
DELIVERED = "delivered"
GIVEN_UP = "given_up"


class Delivery(Base):
    """One event owed to one receiver until it is accepted, or the horizon has passed."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "state", "next_attempt_at"),
        Index("ix_deliveries_session", "session_id"),
        # What a webhook was sent is listed by webhook; other channels pay nothing for it.
        Index(
            "ix_deliveries_webhook",
            "receiver",
            "created_at",
            sqlite_where=text("channel = 'webhook'"),
            postgresql_where=text("channel = 'webhook'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(40))
    # What carries it: "backchannel_logout", "mail" or "webhook".
    channel: Mapped[str] = mapped_column(String(32))
    receiver: Mapped[str] = mapped_column(String(64))
    session_id: Mapped[str | None] = mapped_column(String(40))
    # What the channel needs to make the message again at every attempt (same `jti`, fresh `iat`).
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16), default=OWED)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    next_attempt_at: Mapped[Instant] = mapped_column(Microseconds)
    give_up_at: Mapped[Instant] = mapped_column(Microseconds)
    claimed_until: Mapped[Instant] = mapped_column(Microseconds, default=0)
    finished_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # The receipt: the status of the last answer, or why there was none.
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str | None] = mapped_column(Text)


class Lease(Base):
    """Who may run a scheduled job now, so that one of many nodes does."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[Instant] = mapped_column(Microseconds)

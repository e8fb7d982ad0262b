"""Tables of the management API: answers kept for requests sent again, ends of many sessions at once,
counts for charts, and queries under a name.
"""

from typing import Literal

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds


class KeptAnswer(Base):
    """What a request with an `Idempotency-Key` was answered, for whoever sends it again."""

    __tablename__ = "kept_answers"
    __table_args__ = (Index("ix_kept_answers_caller", "caller"),)

    # Digest of caller and key.
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    # usr_… or a client's id: what one caller may have kept is bounded.
    caller: Mapped[str] = mapped_column(String(64))
    # Digest of what was asked: the same key for something else is a mistake of the caller.
    request: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(Integer)
    # Sealed, because it may hold a new client's secret; context "kept_answer:<key>".
    body: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)


ENDING = "ending"
# The sessions have ended; what outlived older ones is looked for.
OUTLIVED = "outlived"
DONE = "done"


class BulkSignOut(Base):
    """The end of every session that a filter meant when it was asked for (`idp.admin.bulk`)."""

    __tablename__ = "bulk_sign_outs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # In the grammar of `session_filter`, its user by id; "everybody" for all.
    filter: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(String(255))
    actor: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str | None] = mapped_column(String(64))
    # Those of the call: sessions of people who have others are left alone.
    rights: Mapped[list[str]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16))
    # How many sessions there were to end, and how many have.
    matched: Mapped[int] = mapped_column(Integer)
    ended: Mapped[int] = mapped_column(Integer)
    # The id behind which the next batch begins: of a session, then of a user.
    position: Mapped[str] = mapped_column(String(40))
    # The epoch that it began, if it ended everybody at once; those of older ones are only marked.
    epoch: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    worked_at: Mapped[Instant] = mapped_column(Microseconds)
    finished_at: Mapped[Instant | None] = mapped_column(Microseconds, index=True)


class BulkSession(Base):
    """One session that a bulk sign-out ended."""

    __tablename__ = "bulk_sessions"
    __table_args__ = ({"sqlite_with_rowid": False},)

    order_id: Mapped[str] = mapped_column(
        ForeignKey("bulk_sign_outs.id", ondelete="CASCADE"), primary_key=True
    )
    session_id: Mapped[str] = mapped_column(String(40), primary_key=True)


LABEL_MAXIMUM = 64


class Tally(Base):
    """How often something happened within one hour; `hour` is its beginning (`idp.admin.tally`)."""

    __tablename__ = "tallies"
    __table_args__ = ({"sqlite_with_rowid": False},)

    hour: Mapped[Instant] = mapped_column(Microseconds, primary_key=True)
    measure: Mapped[str] = mapped_column(String(24), primary_key=True)
    label: Mapped[str] = mapped_column(String(LABEL_MAXIMUM), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


QUERY_NAME_MAXIMUM = 80
# What a stored query asks about: the two searches, and the three reports.
QueryKind = Literal["sessions", "events", "usage", "incidents", "compliance"]


class StoredQuery(Base):
    """A search or report that is kept under a name (`idp.admin.stored_queries`)."""

    __tablename__ = "stored_queries"
    # By kind, so that nobody learns of a name that they may not see.
    __table_args__ = (UniqueConstraint("kind", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(QUERY_NAME_MAXIMUM))
    kind: Mapped[QueryKind] = mapped_column(String(16))
    # In the grammar of its kind.
    text: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[Instant] = mapped_column(Microseconds)
    # usr_…, a client's id, or "cli".
    changed_by: Mapped[str] = mapped_column(String(64))

"""Tables of the management API: answers kept for requests sent again, and counts for charts."""

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Microseconds


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


LABEL_MAXIMUM = 64


class Tally(Base):
    """How often something happened within one hour; `hour` is its beginning (`idp.admin.tally`)."""

    __tablename__ = "tallies"
    __table_args__ = ({"sqlite_with_rowid": False},)

    hour: Mapped[Instant] = mapped_column(Microseconds, primary_key=True)
    measure: Mapped[str] = mapped_column(String(24), primary_key=True)
    label: Mapped[str] = mapped_column(String(LABEL_MAXIMUM), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)

"""Tables of what leaves: mail that waits to be read at /dev/mail, webhooks, and how far syslog is."""

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds, RowNumber


class Mail(Base):
    """One mail of a deployment that is being tried out (loopback only)."""

    __tablename__ = "mails"

    # The id of its delivery.
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # Sealed JSON {"to", "subject", "text", "html"}; context "mail:<id>".
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Instant] = mapped_column(Microseconds, index=True)


class Webhook(Base):
    """An address to which events of the audit log are sent (`idp.notify.webhooks`)."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    # Kinds of events, `session.ended` or `session.*`; none: every one.
    types: Mapped[list[str]] = mapped_column(Json)
    # Sealed; context "webhook:<id>". The one before signs besides until `previous_until`.
    secret: Mapped[str] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_until: Mapped[Instant | None] = mapped_column(Microseconds)
    # Events up to this position of the chain are owed, or not meant.
    position: Mapped[int] = mapped_column(RowNumber)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    disabled_at: Mapped[Instant | None] = mapped_column(Microseconds)
    disabled_reason: Mapped[str | None] = mapped_column(String(64))


class Forward(Base):
    """How far the log was handed to a receiver that takes it in order: a position of the chain."""

    __tablename__ = "forwards"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    position: Mapped[int] = mapped_column(RowNumber)

"""Mail that was not sent because there is no mail server: kept to be read at /dev/mail."""

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Microseconds


class Mail(Base):
    """One mail of a deployment that is being tried out (loopback only)."""

    __tablename__ = "mails"

    # The id of its delivery.
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # Sealed JSON {"to", "subject", "text", "html"}; context "mail:<id>".
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Instant] = mapped_column(Microseconds, index=True)

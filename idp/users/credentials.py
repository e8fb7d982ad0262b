"""What a person proves themselves with besides a password: the tables, and what all kinds share.

Owns the rows; what each kind means and how it is checked is in `passkeys`, `totp`,
`recovery_codes` and `trusted_devices`.
"""

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds

NAME_MAXIMUM = 60


class Passkey(Base):
    """A WebAuthn credential (WebAuthn Level 3 section 4, "credential record")."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("ix_passkeys_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # base64url without padding; at most 1023 bytes (section 7.1 step 26). Nobody else's: unique.
    credential_id: Mapped[str] = mapped_column(String(1364), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(NAME_MAXIMUM))
    # COSE_Key.
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    # Unsigned, 32 bits.
    sign_count: Mapped[int] = mapped_column(BigInteger, default=0)
    transports: Mapped[list[str]] = mapped_column(Json, default=list)
    # Whether the key may be copied to other devices (BE), and whether it was (BS).
    backup_eligible: Mapped[int] = mapped_column(Integer)
    backed_up: Mapped[int] = mapped_column(Integer)
    # Whether its user was ever verified with it (uvInitialized).
    user_verified: Mapped[int] = mapped_column(Integer)
    aaguid: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_used_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # Set when its counter went backwards: there may be a copy, and it is not taken any more.
    suspended_at: Mapped[Instant | None] = mapped_column(Microseconds)


class Totp(Base):
    """A code generator (RFC 6238) that showed a right code once."""

    __tablename__ = "totps"
    __table_args__ = (Index("ix_totps_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(NAME_MAXIMUM))
    # Sealed base32; context "totp.secret:<id>".
    secret: Mapped[str] = mapped_column(Text)
    # The time step of the last code that was taken: no code of it or before is taken again.
    last_step: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_used_at: Mapped[Instant | None] = mapped_column(Microseconds)


class RecoveryCode(Base):
    """One code of a set; a new set replaces the old one."""

    __tablename__ = "recovery_codes"
    __table_args__ = (Index("ix_recovery_codes_user", "user_id"),)

    # A keyed digest over user and code.
    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    used_at: Mapped[Instant | None] = mapped_column(Microseconds)


class TrustedDevice(Base):
    """A browser in which a person need not show a second factor at sign-in (row T8)."""

    __tablename__ = "trusted_devices"
    __table_args__ = (Index("ix_trusted_devices_user", "user_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Digest of the browser cookie, which was new when the browser was trusted.
    device_hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(NAME_MAXIMUM))
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_used_at: Mapped[Instant] = mapped_column(Microseconds)
    expires_at: Mapped[Instant] = mapped_column(Microseconds)

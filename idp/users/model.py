"""Who may sign in, and with what.

Owns the tables of users, their identifiers, roles and what those gave once, throttles, links sent to
them, and rules; those of factors are in `credentials`. One identifier (a user name or an e-mail
address, in canonical form) belongs to one user: the primary key says so, so nobody can take another's
e-mail address as a user name.
"""

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds

ACTIVE = "active"
DISABLED = "disabled"
LOCKED = "locked"


class User(Base):
    """A person. `claims` holds the standard claims (OpenID Connect Core section 5.1) sealed."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    username: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(320))
    email_verified: Mapped[int] = mapped_column(Integer, default=0)
    status: Mapped[str] = mapped_column(String(16), default=ACTIVE)
    # Sealed JSON of standard claims (name, given_name, picture, …); context "user.claims:<id>".
    claims: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    password_changed_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # Role names, and the permissions those roles give: derived by `queries.set_roles`, kept here so
    # that a token request reads one row.
    roles: Mapped[list[str]] = mapped_column(Json, default=list)
    permissions: Mapped[list[str]] = mapped_column(Json, default=list)
    locale: Mapped[str | None] = mapped_column(String(35))
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    updated_at: Mapped[Instant] = mapped_column(Microseconds)


class UserIdentifier(Base):
    """A canonical name that leads to one user: user name or e-mail address."""

    __tablename__ = "user_identifiers"

    # In the order of bytes, so that those which begin alike stand together (SQLite knows no other).
    key: Mapped[str] = mapped_column(
        String(320).with_variant(String(320, collation="C"), "postgresql"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


class Role(Base):
    """A named set of permissions; a permission is a scope that apps may ask for (row K6)."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    permissions: Mapped[list[str]] = mapped_column(Json, default=list)


class Permission(Base):
    """What a role gives or gave once: only roles give it, so while none does it is nobody's."""

    __tablename__ = "permissions"
    __table_args__ = ({"sqlite_with_rowid": False},)

    name: Mapped[str] = mapped_column(String(128), primary_key=True)


class Throttle(Base):
    """Attempts counted for one key in one window, reserved before the password is checked."""

    __tablename__ = "throttles"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    window_ends_at: Mapped[Instant] = mapped_column(Microseconds, index=True)
    count: Mapped[int] = mapped_column(Integer)


class Spent(Base):
    """Something that may be used once and is no row itself: a ceremony, a WebAuthn challenge."""

    __tablename__ = "spent"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    # When it would have run out anyway, so that this row is needed no longer.
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)


class ActionToken(Base):
    """A link that was sent to somebody: what it is for, for whom, and whether it was used."""

    __tablename__ = "action_tokens"
    __table_args__ = (Index("ix_action_tokens_user", "user_id", "purpose"),)

    # Digest of 256 random bits.
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    # reset_password | verify_email | invitation | set_up, or a question (`idp.notify.recovery`)
    purpose: Mapped[str] = mapped_column(String(24))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Sealed JSON of what the purpose needs (a new address); context "action_token:<token_hash>".
    data: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)
    used_at: Mapped[Instant | None] = mapped_column(Microseconds)


class Rule(Base):
    """A rule an administrator edits: versioned, audited, read by `idp.policy`.

    `applies_to` says whom it holds for (`idp.policy.selection`); empty means everybody. The id is
    made of kind and `applies_to`, and of a limit's `per`.
    """

    __tablename__ = "rules"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    applies_to: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    value: Mapped[dict[str, Any]] = mapped_column(Json)
    version: Mapped[int] = mapped_column(Integer, default=1)
    changed_at: Mapped[Instant] = mapped_column(Microseconds)
    changed_by: Mapped[str] = mapped_column(String(64))

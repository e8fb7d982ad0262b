"""One browser, device or agent signed in as a user, and the pairing of two of them.

`id` is the public `sid` that apps and the account page see; the cookie holds a secret of which only
a digest is kept. `idp.sessions.lifecycle` says who writes these rows.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    ScalarSelect,
    String,
    Text,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Duration, Instant
from idp.storage.columns import Base, Json, Microseconds

_RUNNING = text("ended_at IS NULL")
_ENDED = text("ended_at IS NOT NULL")


class SessionEpoch(Base):
    """The one row that ends everybody's sessions at once (`idp.sessions.epoch`)."""

    __tablename__ = "session_epochs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer)
    # When it began, and who began it: of the sessions of older ones that nobody has marked yet.
    began_at: Mapped[Instant] = mapped_column(Microseconds)
    actor: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str | None] = mapped_column(String(64))


def _present_epoch() -> ScalarSelect[int]:
    """Read in the statement that inserts, and shared until its commit: whoever begins the next epoch
    waits for it, and then finds, and marks, every session of an older one."""
    return select(SessionEpoch.number).with_for_update(read=True).scalar_subquery()


class Session(Base):
    """A session, from its start until its history is cleaned up."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_active", "user_id", "ended_at", "last_active_at"),
        # What the worker looks for: sessions that run out next, and those that ended long ago. Each
        # holds only those, and does not begin with `ended_at`: SQLite guessed that such an index is
        # better than that of one person, and walked through everybody's running sessions.
        Index(
            "ix_sessions_expires_at", "expires_at", sqlite_where=_RUNNING, postgresql_where=_RUNNING
        ),
        Index("ix_sessions_idle_at", "idle_at", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
        Index("ix_sessions_device", "device_hash", "user_id"),
        # Searches (`idp.admin.session_search`), each in the order in which sessions are shown. They
        # hold what is looked at of a running session, of an ended one, and of either; of the last
        # what changes seldom, for it is written whenever that does.
        Index(
            "ix_sessions_running",
            "last_active_at",
            "id",
            "ended_at",
            "created_at",
            "idle_at",
            "expires_at",
            "user_id",
            "address",
            "asn",
            "country",
            "device_type",
            "acr",
            "origin",
            "epoch",
            sqlite_where=_RUNNING,
            postgresql_where=_RUNNING,
        ),
        Index(
            "ix_sessions_ended_at",
            "ended_at",
            "id",
            "created_at",
            "last_active_at",
            "address",
            "asn",
            "country",
            "device_type",
            "acr",
            "origin",
            "end_reason",
            sqlite_where=_ENDED,
            postgresql_where=_ENDED,
        ),
        Index(
            "ix_sessions_created",
            "created_at",
            "id",
            "address",
            "asn",
            "country",
            "device_type",
            "acr",
            "origin",
        ),
        Index("ix_sessions_address", "address"),
        {"sqlite_with_rowid": False},
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    parent_id: Mapped[str | None] = mapped_column(String(40), index=True)
    # Where it came from: browser, device (RFC 8628), handoff.
    origin: Mapped[str] = mapped_column(String(16), default="browser")

    # The private secret. `secret_generation` counts its changes; after a change made only by time
    # the previous secret is honoured until `previous_until`: the new one may never have arrived.
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    previous_secret_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    previous_until: Mapped[Instant | None] = mapped_column(Microseconds)
    secret_generation: Mapped[int] = mapped_column(Integer, default=1)
    secret_changed_at: Mapped[Instant] = mapped_column(Microseconds)

    # Binding to something held by the browser (dbsc, mtls, dpop): not there yet, always "none".
    binding_type: Mapped[str] = mapped_column(String(8), default="none")
    binding_key: Mapped[str | None] = mapped_column(Text)
    last_proof_at: Mapped[Instant | None] = mapped_column(Microseconds)

    # What was proved, when and how, the newest last: {"method", "amr", "acr", "at", "credential"}
    # each. `acr` is the highest level they earn (`idp.policy.assurance`), `auth_time` the newest.
    authentications: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    acr: Mapped[str] = mapped_column(String(64))
    auth_time: Mapped[Instant] = mapped_column(Microseconds)

    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_active_at: Mapped[Instant] = mapped_column(Microseconds)
    # Deadlines: idle (slides with activity: last_active_at + idle_timeout) and absolute (fixed).
    idle_timeout: Mapped[Duration] = mapped_column(Microseconds)
    idle_at: Mapped[Instant] = mapped_column(Microseconds)
    expires_at: Mapped[Instant] = mapped_column(Microseconds)

    # Whether a remembered browser began it, and the series of the browser it runs in, if there is one.
    remembered: Mapped[int] = mapped_column(Integer, default=0)
    remembered_id: Mapped[str | None] = mapped_column(String(40))
    # The last to give way at a limit: its person said so (1), or it is on a trusted device.
    kept: Mapped[int] = mapped_column(Integer, default=0)
    trusted_device_id: Mapped[str | None] = mapped_column(String(40))
    temporary: Mapped[int] = mapped_column(Integer, default=0)

    # The person has seen, in this session, which others had begun until then (`idp.sessions.notices`).
    notices_seen_at: Mapped[Instant | None] = mapped_column(Microseconds)

    # Of its pages, as its person chose (`idp.sessions.preferences`).
    language: Mapped[str | None] = mapped_column(String(8))
    theme: Mapped[str | None] = mapped_column(String(8))

    # Sealed JSON {"label", "default_label", "ip", "user_agent", "place"}; context
    # "session.details:<id>".
    details: Mapped[str] = mapped_column(Text)
    # Plain, because lists are filtered and counted by them.
    device_type: Mapped[str] = mapped_column(String(16))
    browser: Mapped[str | None] = mapped_column(String(64))
    os: Mapped[str | None] = mapped_column(String(64))
    # Where it was begun, or moved to: `idp.policy.network.key` of the address, the number of its
    # network (autonomous system), and the country (ISO 3166-1), as far as they are known.
    address: Mapped[str | None] = mapped_column(String(32))
    asn: Mapped[int | None] = mapped_column(BigInteger)
    country: Mapped[str | None] = mapped_column(String(2))
    relocated_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # Digest of the long-lived device cookie: "a device that signed in before".
    device_hash: Mapped[str | None] = mapped_column(String(64))
    # Since when its person must prove who they are, how surely, and for which change
    # (`idp.sessions.challenge`, `idp.policy.changes`).
    challenged_at: Mapped[Instant | None] = mapped_column(Microseconds)
    challenge: Mapped[str | None] = mapped_column(String(16))
    challenged_for: Mapped[str | None] = mapped_column(String(16))

    # Begun in this one; over in any later one.
    epoch: Mapped[int] = mapped_column(Integer, default=_present_epoch(), server_default=text("0"))
    # Why it will have ended at `expires_at`, when that is not for its age (see `endings.why_over`).
    expiry_reason: Mapped[str | None] = mapped_column(String(32))
    ended_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # Why (see endings.EndReason), who ("user", "admin", "client", "system") and which one.
    end_reason: Mapped[str | None] = mapped_column(String(32))
    ended_by: Mapped[str | None] = mapped_column(String(16))
    ended_by_id: Mapped[str | None] = mapped_column(String(64))


class Review(Base):
    """How far running sessions were looked at since a rule changed (`idp.sessions.review`)."""

    __tablename__ = "reviews"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    after_expires_at: Mapped[Instant] = mapped_column(Microseconds, default=0)
    after_id: Mapped[str] = mapped_column(String(40), default="")
    nearer: Mapped[int] = mapped_column(Integer, default=0)


class Pairing(Base):
    """Two devices on their way to a session: one asks for it, one of the person's own approves.

    `idp.sessions.pairing` says who writes these rows and what the states mean.
    """

    __tablename__ = "pairings"
    __table_args__ = (Index("ix_pairings_user", "user_id"), {"sqlite_with_rowid": False})

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # device (RFC 8628) | sign_in (the asking browser shows a code) | move (the approving one does)
    kind: Mapped[str] = mapped_column(String(8))
    # pending | claimed | approved | denied | reported | consumed
    state: Mapped[str] = mapped_column(String(10), default="pending")
    # Digest of the device code, or of the id in a QR code; keyed digest of the code to type.
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    # Who asks: an app, or a browser (digest of its cookie); and a keyed digest of its network.
    client_id: Mapped[str | None] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"))
    browser_hash: Mapped[str | None] = mapped_column(String(64))
    network_hash: Mapped[str | None] = mapped_column(String(64))
    # Sealed JSON of the asking device and the code to type; context "pairing:<id>".
    details: Mapped[str] = mapped_column(Text)
    # What an app asks for: scope, and the least level.
    scope: Mapped[str] = mapped_column(Text, default="")
    acr: Mapped[str | None] = mapped_column(String(16))
    # The session that approves, and its person.
    session_id: Mapped[str | None] = mapped_column(String(40))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Proofs of the approving session from before this moment did not count.
    proved_since: Mapped[Instant | None] = mapped_column(Microseconds)
    # Somebody else opened the code as well.
    contested_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # How often an app may ask whether it is approved (RFC 8628 section 3.5).
    poll_interval: Mapped[Duration] = mapped_column(Microseconds, default=0)
    next_poll_at: Mapped[Instant] = mapped_column(Microseconds, default=0)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)
    decided_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # What came of it.
    new_session_id: Mapped[str | None] = mapped_column(String(40))
    authorization_id: Mapped[str | None] = mapped_column(String(40))


class RememberedBrowser(Base):
    """A browser that stays signed in: one series of cookies (`idp.sessions.remember`)."""

    __tablename__ = "remembered_browsers"
    __table_args__ = (
        Index("ix_remembered_browsers_user", "user_id"),
        Index("ix_remembered_browsers_expires_at", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Digest of the browser cookie: a series is good in this browser and in no other.
    device_hash: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(60))
    # The cookie is a MAC over both (`remember_cookie`); `generation` counts its changes.
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    generation: Mapped[int] = mapped_column(Integer, default=1)
    # The session that the last cookie began; NULL before the first use.
    session_id: Mapped[str | None] = mapped_column(String(40))
    # Of the sign-in that earned it: when, and the passkeys and code generators that were used.
    auth_time: Mapped[Instant] = mapped_column(Microseconds)
    credentials: Mapped[list[str]] = mapped_column(Json, default=list)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_used_at: Mapped[Instant] = mapped_column(Microseconds)
    # Never later than when it was made: using it does not make it last longer.
    expires_at: Mapped[Instant] = mapped_column(Microseconds)
    # As of a session.
    epoch: Mapped[int] = mapped_column(Integer, default=_present_epoch(), server_default=text("0"))
    revoked_at: Mapped[Instant | None] = mapped_column(Microseconds)
    revoke_reason: Mapped[str | None] = mapped_column(String(32))

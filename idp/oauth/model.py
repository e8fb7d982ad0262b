"""Tables of the protocol: clients, authorizations, consents, pending requests, keys.

An **Authorization** is one client's stake in one session: it begins as an authorization code, is
redeemed once, and then carries one family of refresh tokens by a single generation counter. Access
and refresh tokens are not rows; they are views of their authorization (`access_token`,
`refresh_token`).
"""

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from idp.clock import Instant
from idp.storage.columns import Base, Json, Microseconds


class Client(Base):
    """An app that signs people in through us (RFC 7591 section 2 names its metadata)."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    # SHA-256 of 256 random bits; two, so that a secret can be rotated with overlap.
    secret_hash: Mapped[str | None] = mapped_column(String(64))
    previous_secret_hash: Mapped[str | None] = mapped_column(String(64))
    # none | client_secret_basic | client_secret_post | private_key_jwt
    token_endpoint_auth_method: Mapped[str] = mapped_column(String(32))
    grant_types: Mapped[list[str]] = mapped_column(Json)
    redirect_uris: Mapped[list[str]] = mapped_column(Json)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(Json, default=list)
    scope: Mapped[str] = mapped_column(Text)
    # Resource servers its access tokens are for: all of them are their `aud`.
    audience: Mapped[list[str]] = mapped_column(Json, default=list)
    jwks: Mapped[dict[str, Any] | None] = mapped_column(Json)
    jwks_uri: Mapped[str | None] = mapped_column(Text)
    backchannel_logout_uri: Mapped[str | None] = mapped_column(Text)
    # opaque | jwt (RFC 9068)
    access_token_format: Mapped[str] = mapped_column(String(8), default="opaque")
    id_token_signed_response_alg: Mapped[str] = mapped_column(String(8), default="ES256")
    # Seconds; NULL means the deployment's setting (row K1).
    access_token_lifetime: Mapped[int | None] = mapped_column(Integer)
    refresh_token_lifetime: Mapped[int | None] = mapped_column(Integer)
    # PKCE may be switched off only for a confidential client that sends a nonce.
    require_pkce: Mapped[int] = mapped_column(Integer, default=1)
    # "issuer": assertions must name our issuer as a single string (RFC 7523bis); "lenient" also
    # takes the token endpoint's URL, which the OpenID certification plans send.
    assertion_audience: Mapped[str] = mapped_column(String(8), default="issuer")
    # The least level (`acr`) somebody must have proved to use this app; NULL: any (row B4).
    minimum_acr: Mapped[str | None] = mapped_column(String(16))
    # Our own organisation's app: consent is not asked (public clients are always asked).
    first_party: Mapped[int] = mapped_column(Integer, default=0)
    application_type: Mapped[str] = mapped_column(String(8), default="web")
    # May introspect tokens of any client (a resource server); otherwise only its own.
    introspects_all: Mapped[int] = mapped_column(Integer, default=0)
    # May have scopes of the management API (`idp.policy.management`); nobody else's token opens it.
    management: Mapped[int] = mapped_column(Integer, default=0)
    # Browser origins that may call the token endpoint (CORS).
    allowed_origins: Mapped[list[str]] = mapped_column(Json, default=list)
    client_uri: Mapped[str | None] = mapped_column(Text)
    # Raised to refuse every client-credentials token made before.
    token_generation: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    disabled_at: Mapped[Instant | None] = mapped_column(Microseconds)
    # The initial access token an app registered itself with (RFC 7591); NULL: administrators did.
    registered_with: Mapped[str | None] = mapped_column(String(40))
    # SHA-256 of the tokens by which it manages its registration (RFC 7592): the newest, and the one
    # that it replaced, by which a copy is known. None left: only administrators change it.
    registration_hash: Mapped[str | None] = mapped_column(String(64))
    previous_registration_hash: Mapped[str | None] = mapped_column(String(64))
    # The newest itself, sealed (context "registration:<id>"), until it is seen; and since when it is.
    unseen_registration_token: Mapped[str | None] = mapped_column(Text)
    registration_rotated_at: Mapped[Instant | None] = mapped_column(Microseconds)


class InitialAccessToken(Base):
    """Leave for apps to register themselves, so many times, within bounds (RFC 7591 section 3)."""

    __tablename__ = "initial_access_tokens"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    # For administrators: whom it was given to.
    name: Mapped[str] = mapped_column(String(120))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    # The most that apps registered with it may have; it holds for their later changes as well.
    scope: Mapped[str] = mapped_column(Text)
    grant_types: Mapped[list[str]] = mapped_column(Json)
    redirect_hosts: Mapped[list[str]] = mapped_column(Json)
    uses: Mapped[int] = mapped_column(Integer)
    uses_left: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    created_by: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[Instant] = mapped_column(Microseconds)
    revoked_at: Mapped[Instant | None] = mapped_column(Microseconds)


class Authorization(Base):
    """One client's stake in one session; every token descends from it."""

    __tablename__ = "authorizations"
    __table_args__ = (
        # Every index is a page more that a commit writes, so there are only these.
        # With the client, so that "which apps are in this session" is read in the index.
        Index("ix_authorizations_session", "session_id", "client_id"),
        # The other way round: sessions of one app are searched, counted and ended.
        Index("ix_authorizations_client", "client_id", "session_id"),
        Index(
            "ix_authorizations_offline",
            "user_id",
            sqlite_where=text("offline = 1 AND ended_at IS NULL"),
            postgresql_where=text("offline = 1 AND ended_at IS NULL"),
        ),
        {"sqlite_with_rowid": False},
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"))
    scope: Mapped[str] = mapped_column(Text)
    # The part of `scope` that a role gave; it is refused once the role is gone (row K6).
    permission_scope: Mapped[str] = mapped_column(Text, default="")
    # Individual claims asked for (OpenID Connect Core section 5.5), nonce, and what was proved.
    claims: Mapped[dict[str, Any] | None] = mapped_column(Json)
    nonce: Mapped[str | None] = mapped_column(Text)
    redirect_uri: Mapped[str | None] = mapped_column(Text)
    auth_time: Mapped[Instant] = mapped_column(Microseconds)
    acr: Mapped[str] = mapped_column(String(64))
    amr: Mapped[list[str]] = mapped_column(Json)
    # Set with scope `offline_access`: survives the session's expiry, never its revocation.
    offline: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    last_used_at: Mapped[Instant] = mapped_column(Microseconds)

    code_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    code_expires_at: Mapped[Instant | None] = mapped_column(Microseconds)
    code_redeemed_at: Mapped[Instant | None] = mapped_column(Microseconds)
    code_challenge: Mapped[str | None] = mapped_column(String(128))

    # The refresh family: a token is (id, generation) under a MAC keyed with this salt.
    refresh_salt: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    refresh_generation: Mapped[int] = mapped_column(Integer, default=0)
    refresh_rotated_at: Mapped[Instant | None] = mapped_column(Microseconds)
    refresh_expires_at: Mapped[Instant | None] = mapped_column(Microseconds)

    ended_at: Mapped[Instant | None] = mapped_column(Microseconds)
    end_reason: Mapped[str | None] = mapped_column(String(32))


class Consent(Base):
    """What a person allowed a client; remembered until revoked."""

    __tablename__ = "consents"
    __table_args__ = ({"sqlite_with_rowid": False},)

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    client_id: Mapped[str] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    scope: Mapped[str] = mapped_column(Text)
    granted_at: Mapped[Instant] = mapped_column(Microseconds)


class PendingRequest(Base):
    """An authorization request pushed to ourselves while a person signs in or consents."""

    __tablename__ = "pending_requests"
    __table_args__ = ({"sqlite_with_rowid": False},)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"))
    # Sealed JSON of the request's parameters; context "request:<id>".
    parameters: Mapped[str] = mapped_column(Text)
    # Digest of the browser cookie that began it; the reference is useless in another browser.
    browser_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)
    # What was done for this very request: the session that signed in, and its consent.
    authenticated_session_id: Mapped[str | None] = mapped_column(String(40))
    consented_session_id: Mapped[str | None] = mapped_column(String(40))
    denied_at: Mapped[Instant | None] = mapped_column(Microseconds)
    used_at: Mapped[Instant | None] = mapped_column(Microseconds)


class SigningKey(Base):
    """A key pair for tokens: next (published), active (signs), retired (still verifies)."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    alg: Mapped[str] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(String(8))
    # Sealed private JWK; context "key:<kid>".
    private_jwk: Mapped[str] = mapped_column(Text)
    public_jwk: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[Instant] = mapped_column(Microseconds)
    activated_at: Mapped[Instant | None] = mapped_column(Microseconds)
    retired_at: Mapped[Instant | None] = mapped_column(Microseconds)


class UsedAssertion(Base):
    """A client assertion's `jti`, kept until the assertion has expired (RFC 7523 section 3)."""

    __tablename__ = "used_assertions"
    __table_args__ = ({"sqlite_with_rowid": False},)

    client_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    jti: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)


class RevokedAccessToken(Base):
    """An access token revoked by itself (RFC 7009), kept until it would have expired."""

    __tablename__ = "revoked_access_tokens"
    __table_args__ = ({"sqlite_with_rowid": False},)

    jti: Mapped[str] = mapped_column(String(80), primary_key=True)
    expires_at: Mapped[Instant] = mapped_column(Microseconds, index=True)

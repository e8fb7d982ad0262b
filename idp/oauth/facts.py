"""What a protocol decision needs to know, loaded in one statement.

The hot endpoints read their facts by one `HotStatement`, decide in pure code, and write by
conditional statements. A value here is a snapshot: JSON columns stay text until somebody asks.
Nothing in this module decides.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Select, and_, bindparam, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from idp.clock import Duration, Instant
from idp.oauth.model import (
    Authorization,
    Client,
    Consent,
    PendingRequest,
    RevokedAccessToken,
    UsedAssertion,
)
from idp.policy import assurance
from idp.policy.assurance import Proof
from idp.sessions import epoch, life
from idp.sessions.model import Pairing, Session
from idp.storage.database import HotStatement, Row
from idp.users.model import User


@lru_cache(maxsize=2_048)
def _strings(text: str) -> tuple[str, ...]:
    """A JSON list of strings; cached, because the same few clients come again and again."""
    return tuple(orjson.loads(text))


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """A client as the protocol sees it; answers what authlib's grants ask of a client."""

    id: str
    name: str
    secret_hash: str | None
    previous_secret_hash: str | None
    token_endpoint_auth_method: str
    grant_types_json: str
    redirect_uris_json: str
    post_logout_redirect_uris_json: str
    scope: str
    audience_json: str
    jwks_json: str | None
    jwks_uri: str | None
    access_token_format: str
    id_token_signed_response_alg: str
    access_token_lifetime: int | None
    refresh_token_lifetime: int | None
    require_pkce: int
    minimum_acr: str | None
    assertion_audience: str
    first_party: int
    application_type: str
    introspects_all: int
    management: int
    allowed_origins_json: str
    token_generation: int
    disabled_at: Instant | None

    @property
    def client_id(self) -> str:
        return self.id

    @property
    def grant_types(self) -> tuple[str, ...]:
        return _strings(self.grant_types_json)

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        return _strings(self.redirect_uris_json)

    @property
    def post_logout_redirect_uris(self) -> tuple[str, ...]:
        return _strings(self.post_logout_redirect_uris_json)

    @property
    def audience(self) -> tuple[str, ...]:
        return _strings(self.audience_json)

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        return _strings(self.allowed_origins_json)

    @property
    def is_public(self) -> bool:
        return self.token_endpoint_auth_method == "none"

    def get_client_id(self) -> str:
        return self.id

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grant_types

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The part of `scope` this client may have, in the order asked; None when nothing is left.

        At the authorization endpoint scopes that are not registered are left out, as OpenID Connect
        Core section 3.1.2.1 says of scopes that are not understood; the answer names what was given.
        """
        registered = self.scope.split()
        if not scope:
            wanted = [one for one in registered if one != "offline_access"]
        else:
            wanted = [one for one in dict.fromkeys(scope.split()) if one in registered]
        return " ".join(wanted) or None


@dataclass(frozen=True, slots=True)
class AuthorizationFacts:
    """One client's stake in one session, as it stood when it was read."""

    id: str
    session_id: str
    user_id: str
    client_id: str
    scope: str
    permission_scope: str
    claims_json: str | None
    nonce: str | None
    redirect_uri: str | None
    auth_time: Instant
    acr: str
    amr_json: str
    offline: int
    code_expires_at: Instant | None
    code_redeemed_at: Instant | None
    code_challenge: str | None
    refresh_salt: bytes | None
    refresh_generation: int
    refresh_rotated_at: Instant | None
    refresh_expires_at: Instant | None
    ended_at: Instant | None

    # authlib compares by these names.
    code_challenge_method = "S256"

    @property
    def claims(self) -> dict[str, Any]:
        return orjson.loads(self.claims_json) if self.claims_json else {}

    @property
    def amr(self) -> list[str]:
        return list(_strings(self.amr_json))

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def check_client(self, client: ClientFacts) -> bool:
        return client.id == self.client_id


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A session as it stood when it was read."""

    id: str
    user_id: str
    ended_at: Instant | None
    end_reason: str | None
    idle_at: Instant
    expires_at: Instant
    expiry_reason: str | None
    idle_timeout: Duration
    last_active_at: Instant
    secret_hash: str
    previous_until: Instant | None
    secret_generation: int
    secret_changed_at: Instant
    device_type: str
    browser: str | None
    os: str | None
    address: str | None
    asn: int | None
    country: str | None
    relocated_at: Instant | None
    device_hash: str | None
    challenged_at: Instant | None
    temporary: int
    authentications_json: str

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What was proved in it."""
        return assurance.proofs(orjson.loads(self.authentications_json))


@dataclass(frozen=True, slots=True)
class UserFacts:
    """A person as the protocol sees them."""

    id: str
    username: str
    email: str | None
    email_verified: int
    status: str
    sealed_claims: str | None
    roles_json: str
    permissions_json: str
    updated_at: Instant

    @property
    def roles(self) -> list[str]:
        return list(_strings(self.roles_json))

    @property
    def permissions(self) -> tuple[str, ...]:
        return _strings(self.permissions_json)


@dataclass(frozen=True, slots=True)
class PendingFacts:
    """A request that was pushed to ourselves, and what was done for it since."""

    id: str
    client_id: str
    sealed_parameters: str
    browser_hash: str
    created_at: Instant
    expires_at: Instant
    authenticated_session_id: str | None
    consented_session_id: str | None
    denied_at: Instant | None
    used_at: Instant | None


@dataclass(frozen=True, slots=True)
class PairingFacts:
    """An app's request for a session, made by a device code, and how it stands."""

    id: str
    client_id: str
    state: str
    poll_interval: Duration
    next_poll_at: Instant
    expires_at: Instant
    scope: str

    # What authlib asks of a device code.
    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.scope


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """For the token side: the caller, and the authorization its grant or token belongs to."""

    client: ClientFacts | None
    authorization: AuthorizationFacts | None
    session: SessionFacts | None
    user: UserFacts | None
    access_token_revoked: bool
    assertion_used: bool
    # The client the token was issued to; differs from `client` when a resource server introspects.
    owner_disabled: bool
    owner_scope: str
    owner_generation: int
    # Only where a device code was presented.
    pairing: PairingFacts | None = None


@dataclass(frozen=True, slots=True)
class AuthorizeFacts:
    """For the authorization endpoint: the client, the browser's session, and what was allowed."""

    client: ClientFacts | None
    session: SessionFacts | None
    user: UserFacts | None
    consented_scope: str | None
    pending: PendingFacts | None


def _columns(model: type, names: tuple[str, ...]) -> list[InstrumentedAttribute[Any]]:
    return [getattr(model, name.removesuffix("_json")) for name in names]


_CLIENT = _columns(Client, ClientFacts.__slots__)
_PAIRING = _columns(Pairing, PairingFacts.__slots__)
_AUTHORIZATION = _columns(Authorization, AuthorizationFacts.__slots__)
_OF_EPOCH = {"ended_at": epoch.ended_at(), "end_reason": epoch.end_reason()}
_SESSION = [
    _OF_EPOCH.get(name, getattr(Session, name.removesuffix("_json")))
    for name in SessionFacts.__slots__
]
_USER = [
    User.claims if name == "sealed_claims" else getattr(User, name.removesuffix("_json"))
    for name in UserFacts.__slots__
]
_PENDING = [
    PendingRequest.parameters if name == "sealed_parameters" else getattr(PendingRequest, name)
    for name in PendingFacts.__slots__
]
_C = len(_CLIENT)
_A = _C + len(_AUTHORIZATION)
_S = _A + len(_SESSION)
_U = _S + len(_USER)
_P = _U + 6


def _token_statement(authorization_key: Any) -> Select[Any]:
    owner = Client.__table__.alias("owner")
    one = select(literal(1).label("one")).subquery("one")
    return (
        select(
            *_CLIENT,
            *_AUTHORIZATION,
            *_SESSION,
            *_USER,
            RevokedAccessToken.jti,
            UsedAssertion.jti,
            owner.c.disabled_at,
            owner.c.id,
            owner.c.scope,
            owner.c.token_generation,
        )
        .select_from(one)
        .outerjoin(Client, Client.id == bindparam("client_id"))
        .outerjoin(Authorization, authorization_key)
        .outerjoin(Session, Session.id == Authorization.session_id)
        .outerjoin(User, User.id == Authorization.user_id)
        .outerjoin(RevokedAccessToken, RevokedAccessToken.jti == bindparam("jti"))
        .outerjoin(
            UsedAssertion,
            and_(
                UsedAssertion.client_id == bindparam("client_id"),
                UsedAssertion.jti == bindparam("assertion_jti"),
            ),
        )
        .outerjoin(
            owner,
            owner.c.id == func.coalesce(Authorization.client_id, bindparam("owner_id")),
        )
    )


BY_AUTHORIZATION = HotStatement(_token_statement(Authorization.id == bindparam("authorization_id")))
BY_CODE = HotStatement(_token_statement(Authorization.code_hash == bindparam("code_hash")))
# An approved device code leads to the grant that was made for it, as an authorization code would.
BY_DEVICE_CODE = HotStatement(
    _token_statement(
        Authorization.id
        == select(Pairing.authorization_id)
        .where(Pairing.code_hash == bindparam("code_hash"))
        .scalar_subquery()
    )
    .add_columns(*_PAIRING)
    .outerjoin(Pairing, Pairing.code_hash == bindparam("code_hash"))
)

FOR_AUTHORIZE = HotStatement(
    select(*_CLIENT, *_SESSION, *_USER, Consent.scope, *_PENDING)
    .select_from(select(literal(1).label("one")).subquery("one"))
    .outerjoin(Client, Client.id == bindparam("client_id"))
    .outerjoin(
        Session,
        and_(
            or_(
                Session.secret_hash == bindparam("secret_hash"),
                and_(
                    Session.previous_secret_hash == bindparam("secret_hash"),
                    Session.previous_until > bindparam("now"),
                ),
            ),
            # Deadlines are judged by whoever decides.
            life.unmarked(),
            epoch.is_current(),
        ),
    )
    .outerjoin(User, User.id == Session.user_id)
    .outerjoin(Consent, and_(Consent.user_id == Session.user_id, Consent.client_id == Client.id))
    .outerjoin(PendingRequest, PendingRequest.id == bindparam("pending_id"))
)

# A pending request with its client, for our pages.
OF_PENDING = HotStatement(
    select(*_PENDING, *_CLIENT, Client.client_uri)
    .join(Client, Client.id == PendingRequest.client_id)
    .where(PendingRequest.id == bindparam("pending_id"))
)


def token_facts(row: Row | None) -> TokenFacts:
    """Reads a row of `BY_AUTHORIZATION`, `BY_CODE` or `BY_DEVICE_CODE`."""
    if row is None:
        raise RuntimeError("the facts statement gives one row always")
    return TokenFacts(
        client=ClientFacts(*row[:_C]) if row[0] is not None else None,
        authorization=AuthorizationFacts(*row[_C:_A]) if row[_C] is not None else None,
        session=SessionFacts(*row[_A:_S]) if row[_A] is not None else None,
        user=UserFacts(*row[_S:_U]) if row[_S] is not None else None,
        access_token_revoked=row[_U] is not None,
        assertion_used=row[_U + 1] is not None,
        owner_disabled=row[_U + 2] is not None or row[_U + 3] is None,
        owner_scope=row[_U + 4] or "",
        owner_generation=row[_U + 5] or 0,
        pairing=PairingFacts(*row[_P:]) if len(row) > _P and row[_P] is not None else None,
    )


def authorize_facts(row: Row | None) -> AuthorizeFacts:
    """Reads a row of `FOR_AUTHORIZE`."""
    if row is None:
        raise RuntimeError("the facts statement gives one row always")
    s = _C + len(_SESSION)
    u = s + len(_USER)
    return AuthorizeFacts(
        client=ClientFacts(*row[:_C]) if row[0] is not None else None,
        session=SessionFacts(*row[_C:s]) if row[_C] is not None else None,
        user=UserFacts(*row[s:u]) if row[s] is not None else None,
        consented_scope=row[u],
        pending=PendingFacts(*row[u + 1 :]) if row[u + 1] is not None else None,
    )


def pending_facts(row: Row) -> tuple[PendingFacts, ClientFacts, str | None]:
    """Reads a row of `OF_PENDING`; the third is the address of the app itself."""
    p = len(_PENDING)
    return PendingFacts(*row[:p]), ClientFacts(*row[p : p + _C]), row[p + _C]

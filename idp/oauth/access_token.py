"""Access tokens: made and read, never stored (rows K1, K3).

A token names its authorization; whether it is good is asked of the authorization at every use
(`standing`). Two forms, chosen per client:

- **opaque**: the claims sealed with AES-GCM. Only we can read it; making one writes nothing.
- **jwt**: RFC 9068 (`typ` at+jwt), for resource servers that check offline. Signed with the algorithm
  of the client's ID tokens: many resource servers take RS256 alone, which section 2.1 has us support.

Price of keeping no rows: revoking one access token by itself (RFC 7009) is a row in
`revoked_access_tokens` until the token would have expired.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from idp.clock import Instant, to_seconds
from idp.oauth.facts import AuthorizationFacts, ClientFacts, UserFacts
from idp.oauth.keys import Keyring
from idp.settings import Settings
from idp.storage.vault import Unreadable, Vault

_PREFIX = "at_"
_CONTEXT = "access_token"
OPAQUE_MAXIMUM = 8_192
# Scopes that let a token be used at our own endpoints, which therefore are in its audience. Those of
# the management API are not among them: a client that may have them has no other audience.
_OWN_SCOPES = frozenset({"openid", "sessions"})


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token says; `authorization_id` is None for client credentials."""

    jti: str
    authorization_id: str | None
    client_id: str
    scope: str
    audience: tuple[str, ...]
    issued_at: int
    expires_at: int
    # For client credentials: refused once the client's generation is higher.
    generation: int


def lifetime(client: ClientFacts, settings: Settings) -> int:
    """Seconds an access token of this client lives."""
    return client.access_token_lifetime or settings.tokens.access_lifetime


def mint(
    client: ClientFacts,
    scope: str,
    *,
    authorization: AuthorizationFacts | None,
    user: UserFacts | None,
    settings: Settings,
    vault: Vault,
    keyring: Keyring,
    now: Instant,
) -> str:
    """A new access token of `scope` for `client`."""
    issued_at = to_seconds(now)
    token = AccessToken(
        # At most 80 characters, with the longest client identifier there can be.
        jti=f"{authorization.id if authorization else client.id}.{secrets.token_urlsafe(11)}",
        authorization_id=authorization.id if authorization else None,
        client_id=client.id,
        scope=scope,
        audience=audience_of(client, scope, settings.issuer),
        issued_at=issued_at,
        expires_at=issued_at + lifetime(client, settings),
        generation=client.token_generation,
    )
    if client.access_token_format == "jwt":
        alg = client.id_token_signed_response_alg
        return keyring.sign(alg, _claims(token, authorization, user, settings.issuer), "at+jwt")
    return _as_opaque(token, vault)


def audience_of(client: ClientFacts, scope: str, issuer: str) -> tuple[str, ...]:
    """Whom a token is for: the client's resource servers, and us where its scope is used here."""
    own = (issuer,) if not client.audience or _OWN_SCOPES & set(scope.split()) else ()
    return (*client.audience, *own)


def read(
    text: str, *, vault: Vault, keyring: Keyring, issuer: str, now: Instant
) -> AccessToken | None:
    """The token `text` stands for if we made it and it has not expired; None for anything else."""
    if text.startswith(_PREFIX):
        token = _from_opaque(text, vault)
    elif text.count(".") == 2:
        token = _from_jwt(text, keyring, issuer)
    else:
        return None
    if token is None or to_seconds(now) >= token.expires_at:
        return None
    return token


def _as_opaque(token: AccessToken, vault: Vault) -> str:
    body = orjson.dumps(
        [
            token.jti,
            token.authorization_id,
            token.client_id,
            token.scope,
            token.audience,
            token.issued_at,
            token.expires_at,
            token.generation,
        ]
    )
    return _PREFIX + vault.seal_text(body.decode(), _CONTEXT)


def _from_opaque(text: str, vault: Vault) -> AccessToken | None:
    if len(text) > OPAQUE_MAXIMUM:
        return None
    try:
        fields = orjson.loads(vault.open_text(text.removeprefix(_PREFIX), _CONTEXT))
    except Unreadable:
        return None
    jti, authorization_id, client_id, scope, audience, issued_at, expires_at, generation = fields
    return AccessToken(
        jti, authorization_id, client_id, scope, tuple(audience), issued_at, expires_at, generation
    )


def _claims(
    token: AccessToken,
    authorization: AuthorizationFacts | None,
    user: UserFacts | None,
    issuer: str,
) -> dict[str, Any]:
    """The claims of RFC 9068 section 2.2."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": authorization.user_id if authorization else token.client_id,
        "aud": list(token.audience) if len(token.audience) > 1 else token.audience[0],
        "client_id": token.client_id,
        "iat": token.issued_at,
        "exp": token.expires_at,
        "jti": token.jti,
        "scope": token.scope,
    }
    if authorization is not None:
        claims |= {
            "sid": authorization.session_id,
            "auth_time": to_seconds(authorization.auth_time),
            "acr": authorization.acr,
            "amr": authorization.amr,
        }
        if user is not None and "roles" in token.scope.split():
            claims["roles"] = user.roles
    else:
        claims["gen"] = token.generation
    return claims


def _from_jwt(text: str, keyring: Keyring, issuer: str) -> AccessToken | None:
    claims = keyring.verify(text, typ="at+jwt")
    if claims is None or claims.get("iss") != issuer:
        return None
    audience = claims["aud"]
    return AccessToken(
        jti=claims["jti"],
        authorization_id=claims["jti"].partition(".")[0] if "sid" in claims else None,
        client_id=claims["client_id"],
        scope=claims["scope"],
        audience=tuple(audience) if isinstance(audience, list) else (audience,),
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        generation=claims.get("gen", 0),
    )

"""The ID token (OpenID Connect Core sections 2, 3.1.3.6 and 12.2).

On refresh it says the same as the first one about who, when and how: `auth_time`, `acr`, `amr`,
`sid` come from the authorization, not from the moment.
"""

import base64
import hashlib
from typing import Any

from idp.clock import Instant, to_seconds
from idp.oauth import claims
from idp.oauth.facts import AuthorizationFacts, ClientFacts, SessionFacts, UserFacts
from idp.oauth.keys import Keyring
from idp.sessions import endings
from idp.settings import Settings
from idp.storage.vault import Vault


def mint(
    client: ClientFacts,
    authorization: AuthorizationFacts,
    user: UserFacts,
    *,
    session: SessionFacts | None,
    access_token: str,
    with_nonce: str | None,
    settings: Settings,
    vault: Vault,
    keyring: Keyring,
    now: Instant,
) -> str:
    """A signed ID token for `client` about the sign-in behind `authorization`.

    `session_expiry` is when the app's own session must end (OpenID Connect Enterprise Extensions
    1.0); a grant that has outlived its session has none.
    """
    issued_at = to_seconds(now)
    alg = client.id_token_signed_response_alg
    payload: dict[str, Any] = claims.for_id_token(
        user, claims.within(authorization.claims, client.scope), vault=vault
    ) | {
        "iss": settings.issuer,
        "sub": user.id,
        "aud": client.id,
        "exp": issued_at + settings.tokens.id_token_lifetime,
        "iat": issued_at,
        "auth_time": to_seconds(authorization.auth_time),
        "acr": authorization.acr,
        "amr": authorization.amr,
        "sid": authorization.session_id,
        "at_hash": _half_hash(access_token),
    }
    if session is not None and endings.reason_of(session, now) is None:
        payload["session_expiry"] = to_seconds(session.expires_at)
    if with_nonce is not None:
        payload["nonce"] = with_nonce
    return keyring.sign(alg, payload)


def read_hint(token: str, *, issuer: str, keyring: Keyring) -> dict[str, Any] | None:
    """The claims of an `id_token_hint` of ours, expired or not; None when it is not ours."""
    payload = keyring.verify(token, typ="jwt")
    if payload is None or payload.get("iss") != issuer or "at_hash" not in payload:
        return None
    wanted = (payload.get("sub"), payload.get("aud"), payload.get("sid"))
    return payload if all(isinstance(one, str) for one in wanted) else None


def _half_hash(access_token: str) -> str:
    """`at_hash`: the left half of SHA-256, which both ES256 and RS256 use (section 3.1.3.6)."""
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()

"""Checking a logout token (OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6)."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

EVENT = "http://schemas.openid.net/event/backchannel-logout"
# What we accept, whatever a token's header asks for: never "none", never a shared secret.
ALGORITHMS = ("ES256", "RS256")
LEEWAY = 30
# The longest life we believe a logout token to have; also how long a `jti` is remembered at most.
LONGEST_LIFE = 600
# A token naming a key we do not know makes us fetch the keys again, but not at any rate.
REFETCH_EVERY = 5.0
LONGEST = 16_384

FetchKeys = Callable[..., Awaitable[dict[str, Any]]]


class NotALogoutToken(Exception):  # noqa: N818 - an answer to the sender
    """The token is refused; the message says why and is sent back."""


@dataclass(frozen=True, slots=True)
class Logout:
    """Whom to sign out. `is_repeated`: this very token was carried out before."""

    sid: str | None
    sub: str | None
    is_repeated: bool


class LogoutTokens:
    """Checks logout tokens of one issuer for one client, and remembers which came before."""

    def __init__(self, *, issuer: str, client_id: str, fetch_keys: FetchKeys) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._fetch_keys = fetch_keys
        self._fetched_at = 0.0
        self._seen: dict[str, float] = {}

    async def check(self, token: object) -> Logout:
        """Gives whom a logout token signs out; raises `NotALogoutToken`."""
        if not isinstance(token, str) or token.count(".") != 2 or len(token) > LONGEST:
            raise NotALogoutToken("logout_token must be one signed JWT")
        try:
            decoded = await self._verified(token)
        except (JoseError, ValueError) as error:
            raise NotALogoutToken(f"the signature does not hold: {error}") from None
        if str(decoded.header.get("typ", "")).lower() not in (
            "logout+jwt",
            "application/logout+jwt",
        ):
            raise NotALogoutToken("the typ header must be logout+jwt")
        claims = decoded.claims
        self._check_claims(claims, time.time())
        # The provider sends the same token again when our answer was lost on its way. It has done
        # its work, so it must not end what was begun since; and it is no error either.
        self._seen = {jti: until for jti, until in self._seen.items() if until > time.time()}
        is_repeated = claims["jti"] in self._seen
        self._seen[claims["jti"]] = claims["exp"] + LEEWAY
        return Logout(sid=claims.get("sid"), sub=claims.get("sub"), is_repeated=is_repeated)

    async def _verified(self, token: str) -> jwt.Token:
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        keys = KeySet.import_key_set(await self._fetch_keys())
        try:
            return jwt.decode(token, keys, registry=registry)
        except InvalidKeyIdError:
            if time.monotonic() - self._fetched_at < REFETCH_EVERY:
                raise
            self._fetched_at = time.monotonic()
            keys = KeySet.import_key_set(await self._fetch_keys(force=True))
            return jwt.decode(token, keys, registry=registry)

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        if claims.get("iss") != self._issuer:
            raise NotALogoutToken("iss is another issuer")
        audience = claims.get("aud")
        if self._client_id not in (audience if isinstance(audience, list) else [audience]):
            raise NotALogoutToken("aud is another client")
        issued, expires = claims.get("iat"), claims.get("exp")
        if not _is_number(issued) or not _is_number(expires):
            raise NotALogoutToken("iat and exp must be numbers")
        if issued > now + LEEWAY or expires < now - LEEWAY or expires > now + LONGEST_LIFE:
            raise NotALogoutToken("the token is not valid at this time")
        if not isinstance(claims.get("jti"), str) or not claims["jti"]:
            raise NotALogoutToken("jti is missing")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise NotALogoutToken("events does not name a back-channel logout")
        # An ID token must never pass for a logout token.
        if "nonce" in claims:
            raise NotALogoutToken("a logout token has no nonce")
        named = [claims[name] for name in ("sid", "sub") if name in claims]
        if not named or not all(isinstance(value, str) and value for value in named):
            raise NotALogoutToken("sid or sub must name a session or a person")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""Refresh tokens: (authorization, generation) under a MAC; not stored (row K2).

The authorization's row holds a random salt and one counter. A token is worth something only while
its generation is the current one, or the one just before within the grace of a lost answer. That
the successor can be computed again is what makes a retry idempotent: it never forks.

Format: `rt_` + base64url(authorization id, 16 bytes · generation, 4 bytes · HMAC-SHA-256, 32 bytes).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from idp.clock import SECOND, Instant
from idp.oauth.facts import AuthorizationFacts
from idp.storage.vault import Vault

_PREFIX = "rt_"
_LENGTH = 16 + 4 + 32

State = Literal["current", "retry", "reused", "expired", "unknown"]


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a presented token claims to be; `is_authentic` says whether we made it."""

    authorization_id: str
    generation: int
    tag: bytes

    def is_authentic(self, authorization: AuthorizationFacts, vault: Vault) -> bool:
        """Whether this token was made for this authorization (constant time)."""
        return authorization.refresh_salt is not None and vault.verify_mac(
            _message(authorization.id, self.generation, authorization.refresh_salt),
            "refresh_token",
            self.tag,
        )


def make(authorization_id: str, generation: int, *, salt: bytes, vault: Vault) -> str:
    """The refresh token of one generation of an authorization's family."""
    tag = vault.mac(_message(authorization_id, generation, salt), "refresh_token")
    body = _raw(authorization_id) + generation.to_bytes(4, "big") + tag
    return _PREFIX + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def parse(text: str) -> RefreshToken | None:
    """Takes a token apart; None when it cannot be one of ours. Proves nothing yet."""
    if not text.startswith(_PREFIX) or len(text) != 73:
        return None
    try:
        body = base64.b64decode(text[3:] + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(body) != _LENGTH:
        return None
    return RefreshToken(f"azn_{body[:16].hex()}", int.from_bytes(body[16:20], "big"), body[20:])


def state(
    token: RefreshToken, authorization: AuthorizationFacts, *, grace: int, now: Instant
) -> State:
    """Where an authentic token stands in its family. `grace` in seconds.

    Decided by the generation counter; the clock only bounds how long a retry is answered.
    """
    if authorization.refresh_expires_at is not None and now >= authorization.refresh_expires_at:
        return "expired"
    if token.generation == authorization.refresh_generation:
        return "current"
    if token.generation > authorization.refresh_generation:
        # From before a restore of the database: cannot be told from a forgery.
        return "unknown"
    rotated_at = authorization.refresh_rotated_at
    if (
        token.generation == authorization.refresh_generation - 1
        and rotated_at is not None
        and now - rotated_at < grace * SECOND
    ):
        return "retry"
    return "reused"


def _message(authorization_id: str, generation: int, salt: bytes) -> bytes:
    return bytes(salt) + _raw(authorization_id) + generation.to_bytes(4, "big")


def _raw(authorization_id: str) -> bytes:
    return bytes.fromhex(authorization_id.removeprefix("azn_"))

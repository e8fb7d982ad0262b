"""The cookie of a browser that stays signed in: (series, generation) under a MAC; not stored.

The row of a series holds a random salt and one counter. Whatever was made for any of its generations
is recognised for ever, so that a copy betrays itself however often the owner came back meanwhile;
what was not, reads nothing and changes nothing. Where a cookie stands is decided in `remember`.

The secret of the session that a cookie begins is made the same way. So whoever shows one cookie
twice, because the answer was lost or two tabs asked at once, gets one session and not two.

Format: base64url(series id, 16 bytes · generation, 4 bytes · HMAC-SHA-256, 32 bytes).
"""

import base64
import binascii
from dataclasses import dataclass

from idp.sessions.model import RememberedBrowser
from idp.storage.vault import Vault

LENGTH = 70
_BYTES = 16 + 4 + 32
_PREFIX = "rem_"


@dataclass(frozen=True, slots=True)
class RememberCookie:
    """What a cookie claims to be; `is_authentic` says whether we made it."""

    series_id: str
    generation: int
    tag: bytes

    def is_authentic(self, series: RememberedBrowser, vault: Vault) -> bool:
        """Whether this cookie was made for this series (constant time)."""
        return vault.verify_mac(_message(series, self.generation), "remember cookie", self.tag)


def make(series: RememberedBrowser, generation: int, vault: Vault) -> str:
    """The cookie of one generation of a series."""
    tag = vault.mac(_message(series, generation), "remember cookie")
    body = _raw(series.id) + generation.to_bytes(4, "big") + tag
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def parse(text: str) -> RememberCookie | None:
    """Takes a cookie apart; None when it cannot be one of ours. Proves nothing yet."""
    if len(text) != LENGTH:
        return None
    try:
        body = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(body) != _BYTES:
        return None
    return RememberCookie(_PREFIX + body[:16].hex(), int.from_bytes(body[16:20], "big"), body[20:])


def session_secret(series: RememberedBrowser, session_id: str, vault: Vault) -> str:
    """The first secret of a session that this series began (43 characters)."""
    tag = vault.mac(bytes(series.salt) + session_id.encode(), "remembered session")
    return base64.urlsafe_b64encode(tag).rstrip(b"=").decode()


def _message(series: RememberedBrowser, generation: int) -> bytes:
    return bytes(series.salt) + _raw(series.id) + generation.to_bytes(4, "big")


def _raw(series_id: str) -> bytes:
    return bytes.fromhex(series_id.removeprefix(_PREFIX))

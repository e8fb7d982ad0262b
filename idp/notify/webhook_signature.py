"""How a webhook proves that it comes from us: Standard Webhooks 1.0, symmetric signatures (`v1`).

Pure. A secret is 32 random bytes, written `whsec_` and base64. What is signed is the message's id, the
moment of the attempt and the body, so that a receiver can refuse what is old and what came twice.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh secret as its receiver is given it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(
    message_id: str, timestamp: int, body: bytes, secrets_: Iterable[str]
) -> dict[str, str]:
    """The headers of one attempt; `timestamp` in seconds. One signature for each secret: while a
    secret is being replaced the receiver may have the old one or the new.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (
        base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()
        for secret in secrets_
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("not a secret of ours") from None

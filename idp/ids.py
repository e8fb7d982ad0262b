"""Identifiers and secrets.

An identifier names a row and may be shown (`ses_…`, `usr_…`); it carries 128 random bits and no
time order, so that nothing can be guessed from one. A secret grants something; only a digest of it
is ever stored.
"""

import hashlib
import secrets
from typing import Literal

Prefix = Literal[
    "usr",
    "ses",
    "cli",
    "azn",
    "req",
    "evt",
    "dlv",
    "rul",
    "psk",
    "otp",
    "dev",
    "par",
    "rem",
    "blk",
    "ini",
    "whk",
    "qry",
]


def new(prefix: Prefix) -> str:
    """A fresh identifier such as `ses_7f3a…`: 128 random bits in hexadecimal."""
    return f"{prefix}_{secrets.token_hex(16)}"


def new_secret() -> str:
    """256 random bits in base64url without padding (43 characters)."""
    return secrets.token_urlsafe(32)


def new_public() -> str:
    """128 random bits in base64url (22 characters): nobody guesses it, and whoever sees it may."""
    return secrets.token_urlsafe(16)


def digest(secret: str) -> str:
    """What is stored of a high-entropy secret: its SHA-256 in hexadecimal.

    A slow hash would buy nothing for 256 random bits and would cost every request.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

"""Encryption and keyed digests under the deployment's secret key (row B8).

Owns the sub-keys derived from `IDP_SECRET_KEY` and the format of what is sealed with them. Does not
know what it seals. A sealed value is bound to a context (table, column, row id) by AES-GCM's
associated data, so that a value copied into another row does not open there.

Format: one version byte, four bytes that name the key, twelve bytes of nonce, ciphertext and tag.
Specs: AES-GCM (NIST SP 800-38D), HKDF (RFC 5869), HMAC (RFC 2104).
"""

import base64
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_NONCE = 12


class Unreadable(Exception):  # noqa: N818
    """A sealed value that no key of ours opens, or that belongs to another place."""


class _Key:
    def __init__(self, secret: str) -> None:
        material = secret.encode()
        self.id = hashlib.sha256(b"idp key id" + material).digest()[:4]
        self.aead = AESGCM(_derive(material, b"idp seal"))
        self.mac = _derive(material, b"idp mac")


def _derive(material: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"idp", info=purpose).derive(material)


class Vault:
    """Seals and opens values; the first key writes, all keys read."""

    def __init__(self, secret_key: str, previous: tuple[str, ...] = ()) -> None:
        self._secrets = (secret_key, *previous)
        self._keys = [_Key(secret) for secret in self._secrets]
        self._by_id = {key.id: key for key in self._keys}

    @property
    def key_id(self) -> str:
        """Names the key that writes, without saying anything of it."""
        return self._keys[0].id.hex()

    def knows(self, key_id: str) -> bool:
        """Whether one of our keys is called so."""
        return key_id in {key.id.hex() for key in self._keys}

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypts `plaintext` so that it opens only with the same `context`."""
        key = self._keys[0]
        nonce = os.urandom(_NONCE)
        return _VERSION + key.id + nonce + key.aead.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypts what `seal` made; raises `Unreadable` for anything else."""
        if len(sealed) < 33 or sealed[:1] != _VERSION:
            raise Unreadable("not a sealed value")
        key = self._by_id.get(sealed[1:5])
        if key is None:
            raise Unreadable("sealed with a key we do not have")
        try:
            return key.aead.decrypt(sealed[5:17], sealed[17:], context.encode())
        except InvalidTag:
            raise Unreadable("altered, or sealed for another place") from None

    def seal_text(self, text: str, context: str) -> str:
        """`seal` for text columns and URLs: base64url without padding."""
        return base64.urlsafe_b64encode(self.seal(text.encode(), context)).rstrip(b"=").decode()

    def open_text(self, sealed: str, context: str) -> str:
        return self.open(_from_base64url(sealed), context).decode()

    def is_current(self, sealed: str) -> bool:
        """Whether a sealed text was written with the newest key."""
        return _from_base64url(sealed)[1:5] == self._keys[0].id

    def mac(self, message: bytes, purpose: str) -> bytes:
        """HMAC-SHA-256 under the newest key, 32 bytes; `purpose` separates uses."""
        return _mac(self._keys[0], message, purpose)

    def each_key(self) -> "list[Vault]":
        """A vault for each key alone, newest first: for checking what an older key made."""
        return [Vault(secret) for secret in self._secrets]

    def verify_mac(self, message: bytes, purpose: str, tag: bytes) -> bool:
        """Whether `tag` was made by `mac` under any of our keys; constant time per key."""
        return any(hmac.compare_digest(_mac(key, message, purpose), tag) for key in self._keys)


def _mac(key: _Key, message: bytes, purpose: str) -> bytes:
    return hmac.digest(key.mac, purpose.encode() + b"\x00" + message, "sha256")


def _from_base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Unreadable("not base64url") from None

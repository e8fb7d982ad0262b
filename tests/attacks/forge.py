"""Making JSON Web Tokens by hand: every header, every signature, right or wrong."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, RSAKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWS, unverified."""
    header, payload, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(payload))


def unsigned(header: object, claims: object) -> str:
    """Header and payload, ready to be signed."""
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def with_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """Signed with HMAC, with whatever is taken for a secret."""
    text = unsigned(header, claims)
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
    return f"{text}.{b64(hmac.digest(secret, text.encode(), digest[header['alg']]))}"


def signed(header: dict[str, Any], claims: dict[str, Any], key: ECKey | RSAKey) -> str:
    """Signed with the private key as ES256 or RS256 demands, whatever the header says."""
    text = unsigned(header, claims)
    return f"{text}.{b64(signature(text.encode(), key))}"


def signature(data: bytes, key: ECKey | RSAKey) -> bytes:
    if isinstance(key, ECKey):
        private = key.private_key
        assert private is not None
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    rsa = key.private_key
    assert rsa is not None
    return rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())

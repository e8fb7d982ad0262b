"""A passkey in software, and the browser in front of it: answers as `toJSON()` writes them.

Every part of an answer can be replaced by keyword (`changes`), one at a time and before anything
that covers it is signed, so that exactly one check of the server can be the reason of a refusal.
"""

import base64
import hashlib
import json
import secrets
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

UP, UV, BE, BS, AT, ED = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 6, 1 << 7
# What the answer says where a change leaves a member out altogether.
ABSENT = object()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """One passkey: its key, its id, its counter, and the user it was made for.

    `backup` is "none" (the key cannot leave the device), "eligible" or "done"; synced passkeys do
    not count. Changes that both ceremonies know: `type`, `challenge`, `origin`, `client_data`
    (more members), `client_data_json` (bytes), `rp_id_hash`, `flags`, `sign_count`, `aaguid`,
    `credential_id`, `key` (the COSE key as a map), `key_bytes`, `extensions` (bytes), `tail` (bytes
    behind the authenticator data), `auth_data`; `id`, `raw_id`, `outer_type`, `outer` (more members
    of the credential), `response` (more members of the response). Of `create` alone: `fmt`,
    `statement`, `attestation_object` (bytes), `transports`. Of `get` alone: `user_handle`,
    `signature`, `signed_by` (another authenticator).
    """

    def __init__(
        self, alg: str = "ES256", *, origin: str = "http://localhost:8000", backup: str = "none"
    ) -> None:
        self.origin = origin
        self.credential_id = secrets.token_bytes(32)
        self.user_handle: bytes | None = None
        self.sign_count = 0
        self.counts = backup == "none"
        self.backup_flags = {"none": 0, "eligible": BE, "done": BE | BS}[backup]
        self.private = _private_key(alg)

    # --- the two ceremonies -----------------------------------------------------------------

    def create(self, options: str, **changes: Any) -> str:
        """The answer to `navigator.credentials.create()`."""
        asked = json.loads(options)
        part = _Parts(changes)
        self.user_handle = from_base64url(asked["user"]["id"])
        client_data = self._client_data("webauthn.create", asked, part)
        auth_data = part(
            "auth_data",
            lambda: self._auth_data(
                asked["rp"]["id"], part, flags=UP | UV | AT | self.backup_flags
            ),
        )
        attestation = part(
            "attestation_object",
            lambda: cbor2.dumps(
                {
                    "fmt": part("fmt", "none"),
                    "attStmt": part(
                        "statement", lambda: self._statement(changes, auth_data, client_data)
                    ),
                    "authData": auth_data,
                }
            ),
        )
        response = {
            "clientDataJSON": base64url(client_data),
            "attestationObject": base64url(attestation),
            "authenticatorData": base64url(auth_data),
            "transports": part("transports", ["internal"]),
            "publicKeyAlgorithm": -7,
        }
        return self._answer(response, part)

    def get(self, options: str, **changes: Any) -> str:
        """The answer to `navigator.credentials.get()`."""
        asked = json.loads(options)
        part = _Parts(changes)
        if self.counts and "sign_count" not in changes:
            self.sign_count += 1
        client_data = self._client_data("webauthn.get", asked, part)
        auth_data = part(
            "auth_data",
            lambda: self._auth_data(asked["rpId"], part, flags=UP | UV | self.backup_flags),
        )
        by = part("signed_by", self)
        signature = by.sign(auth_data + hashlib.sha256(client_data).digest())
        response = {
            "clientDataJSON": base64url(client_data),
            "authenticatorData": base64url(auth_data),
            "signature": base64url(part("signature", signature)),
        }
        handle = part("user_handle", self.user_handle)
        if handle is not ABSENT:
            response["userHandle"] = base64url(handle) if isinstance(handle, bytes) else handle
        return self._answer(response, part)

    def _statement(
        self, changes: dict[str, Any], auth_data: bytes, client_data: bytes
    ) -> dict[str, Any]:
        if changes.get("fmt") != "packed":
            return {}
        # What a key says of itself (WebAuthn section 8.2, "self attestation").
        signed = auth_data + hashlib.sha256(client_data).digest()
        return {"alg": self.key()[3], "sig": self.sign(signed)}

    # --- its parts ----------------------------------------------------------------------------

    def key(self) -> dict[int, Any]:
        """The public key as a COSE key."""
        public = self.private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            numbers = public.public_numbers()
            x, y = (one.to_bytes(32, "big") for one in (numbers.x, numbers.y))
            return {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        if isinstance(public, ed25519.Ed25519PublicKey):
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        modulus = public.public_numbers().n
        return {1: 3, 3: -257, -1: modulus.to_bytes(-(-modulus.bit_length() // 8), "big"),
                -2: b"\x01\x00\x01"}  # fmt: skip

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(data, ec.ECDSA(hashes.SHA256()))
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def _client_data(self, kind: str, asked: dict[str, Any], part: "_Parts") -> bytes:
        said = {
            "type": part("type", kind),
            "challenge": part("challenge", asked["challenge"]),
            "origin": part("origin", self.origin),
            "crossOrigin": False,
            **part("client_data", {}),
        }
        encoded = json.dumps(_present(said), separators=(",", ":")).encode()
        return bytes(part("client_data_json", encoded))

    def _auth_data(self, rp_id: str, part: "_Parts", *, flags: int) -> bytes:
        flags = part("flags", flags)
        data = part("rp_id_hash", hashlib.sha256(rp_id.encode()).digest())
        data += bytes([flags]) + part("sign_count", self.sign_count).to_bytes(4, "big")
        if flags & AT:
            credential_id = part("credential_id", self.credential_id)
            data += part("aaguid", bytes(16)) + len(credential_id).to_bytes(2, "big")
            data += credential_id
            data += part("key_bytes", lambda: cbor2.dumps(part("key", self.key())))
        return bytes(data + part("extensions", b"") + part("tail", b""))

    def _answer(self, response: dict[str, Any], part: "_Parts") -> str:
        credential_id = part("credential_id", self.credential_id)
        raw_id = part("raw_id", base64url(credential_id))
        answer = {
            "id": part("id", raw_id),
            "rawId": raw_id,
            "type": part("outer_type", "public-key"),
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {**response, **part("response", {})},
            **part("outer", {}),
        }
        part.require_all_used()
        if isinstance(answer["response"], dict):
            answer["response"] = _present(answer["response"])
        return json.dumps(_present(answer))


class _Parts:
    """The parts of an answer: a change where there is one, else what honest ones say."""

    def __init__(self, changes: dict[str, Any]) -> None:
        self._changes = changes
        self._used: set[str] = set()

    def __call__(self, name: str, otherwise: Any) -> Any:
        self._used.add(name)
        if name in self._changes:
            return self._changes[name]
        return otherwise() if callable(otherwise) else otherwise

    def require_all_used(self) -> None:
        unknown = set(self._changes) - self._used
        if unknown:
            raise TypeError(f"no such part in this answer: {', '.join(sorted(unknown))}")


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ABSENT}


def _private_key(
    alg: str,
) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey:
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    raise ValueError(alg)

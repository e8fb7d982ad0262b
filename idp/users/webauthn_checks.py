"""What a browser sends of a WebAuthn ceremony: read strictly, then verified by the library.

Pure. Owns what the `webauthn` library reads loosely or not at all: size, encodings, members that no
honest client sends, frames of others, the shape of keys (WebAuthn Level 3 sections 5.8.1, 6.1, 6.5,
7.1 and 7.2). Type, challenge, origin, RP ID, flags, attestation and signatures are verified by the
library afterwards, on exactly the bytes that were read here; whose a credential is, is `passkeys`.

Everything is refused with one sentence: which check it was only goes to the log.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from webauthn import verify_authentication_response, verify_registration_response
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorTransport,
    RegistrationCredential,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from idp.errors import Refused
from idp.users import cbor

UserVerification = Literal["required", "preferred"]
_Result = TypeVar("_Result")

# In characters; a 4096-bit RSA key with the longest credential id is about 10 000.
LONGEST_TEXT = 16 * 1024
LONGEST_CREDENTIAL_ID = 1023
# What is offered at registration, the best first, and all that is taken.
ALGORITHMS = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
# Without a policy on attestation we ask for "none". A client then sends that, or what a key says of
# itself (section 5.4.7). Every other format would be certificates of strangers to parse, for nothing.
_STATEMENT_MEMBERS: dict[str, set[str]] = {"none": set(), "packed": {"alg", "sig"}}
_RSA_BYTES = range(256, 513)
_TRANSPORTS = frozenset(one.value for one in AuthenticatorTransport)
_ATTESTED, _EXTENDED = 1 << 6, 1 << 7


def invalid(check: str) -> Refused:
    """The one refusal of every ceremony; `check` says which check, for the log."""
    return Refused(
        "invalid_passkey", "This passkey was not accepted. Please try again.", 400, detail=check
    )


@dataclass(frozen=True, slots=True)
class Expected:
    """What a ceremony must have been about: the challenge, and where it may have run."""

    challenge: bytes
    rp_id: str
    origins: list[str]


def registration(text: str) -> tuple[RegistrationCredential, list[str]]:
    """A `RegistrationResponseJSON` (section 5.1.8.1) and the transports it names.

    Raises `Refused` (`invalid_passkey`).
    """
    try:
        sent, response = _credential(text)
        credential = RegistrationCredential(
            id=_text(sent, "id"),
            raw_id=_bytes(sent, "rawId"),
            response=AuthenticatorAttestationResponse(
                client_data_json=_bytes(response, "clientDataJSON"),
                attestation_object=_bytes(response, "attestationObject"),
            ),
        )
        _require_own_page(credential.response.client_data_json)
        attested_id = _attested_id(credential.response.attestation_object)
        _require(attested_id == credential.raw_id, "the attested credential has another id")
        _require_same_id(credential.id, credential.raw_id)
        return credential, _transports(response.get("transports"))
    except (ValueError, IndexError, RecursionError) as error:
        raise _unreadable(error) from None


def assertion(text: str) -> AuthenticationCredential:
    """An `AuthenticationResponseJSON` (section 5.1.8.2); raises `Refused` (`invalid_passkey`)."""
    try:
        sent, response = _credential(text)
        handle = response.get("userHandle")
        credential = AuthenticationCredential(
            id=_text(sent, "id"),
            raw_id=_bytes(sent, "rawId"),
            response=AuthenticatorAssertionResponse(
                client_data_json=_bytes(response, "clientDataJSON"),
                authenticator_data=_bytes(response, "authenticatorData"),
                signature=_bytes(response, "signature"),
                user_handle=None if handle is None else _bytes(response, "userHandle"),
            ),
        )
        _require_own_page(credential.response.client_data_json)
        data = credential.response.authenticator_data
        _require(not data[32] & _ATTESTED, "an assertion does not carry a key")
        _require_extensions(data, 37)
        _require_same_id(credential.id, credential.raw_id)
    except (ValueError, IndexError, RecursionError) as error:
        raise _unreadable(error) from None
    return credential


def verify_registration(
    credential: RegistrationCredential, expected: Expected
) -> VerifiedRegistration:
    """What the library makes of a registration (section 7.1); its user must have been verified."""
    return _checked(
        lambda: verify_registration_response(
            credential=credential,
            expected_challenge=expected.challenge,
            expected_rp_id=expected.rp_id,
            expected_origin=expected.origins,
            require_user_verification=True,
            supported_pub_key_algs=list(ALGORITHMS),
        )
    )


def verify_assertion(
    credential: AuthenticationCredential,
    expected: Expected,
    *,
    public_key: bytes,
    user_verification: UserVerification,
) -> VerifiedAuthentication:
    """What the library makes of an assertion (section 7.2), but for its counter.

    The library looks at the counter before the signature: anybody who knows a credential id could
    have it suspended.
    """
    return _checked(
        lambda: verify_authentication_response(
            credential=credential,
            expected_challenge=expected.challenge,
            expected_rp_id=expected.rp_id,
            expected_origin=expected.origins,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=user_verification == "required",
        )
    )


def _checked(verify: Callable[[], _Result]) -> _Result:
    """What the library found; whatever it raises on what a stranger sent, is a refusal."""
    try:
        return verify()
    except Exception as error:
        raise invalid(f"{error!r}"[:200]) from None


def _credential(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    _require(len(text) <= LONGEST_TEXT, "longer than a credential")
    sent = _json(text)
    response = sent.get("response")
    _require(sent.get("type") == "public-key", "not of type public-key")
    return sent, _map(response, "response")


def _require_same_id(said: str, raw_id: bytes) -> None:
    """The text is that of the bytes: it is looked up before the library compares them."""
    spelled = base64.urlsafe_b64encode(raw_id).rstrip(b"=").decode()
    _require(said == spelled, "id is not rawId")


def _require_own_page(client_data: bytes) -> None:
    """The ceremony ran in a page of the origin it names, in no frame of somebody else's."""
    said = _json(client_data.decode("utf-8"))
    _bytes(said, "challenge")
    _require(said.get("crossOrigin", False) is False, "crossOrigin")
    _require("topOrigin" not in said, "topOrigin")


def _attested_id(attestation_object: bytes) -> bytes:
    """The id of the attested credential, once everything around it is in order."""
    found = _map(cbor.whole(attestation_object), "attestationObject")
    _require(found.keys() == {"fmt", "attStmt", "authData"}, "members of the attestationObject")
    fmt, data = found["fmt"], found["authData"]
    _require(isinstance(fmt, str) and fmt in _STATEMENT_MEMBERS, f"attestation format {fmt!r}")
    statement = _map(found["attStmt"], "attStmt")
    _require(statement.keys() == _STATEMENT_MEMBERS[fmt], "members of the attStmt")
    _require(isinstance(data, bytes) and len(data) > 55, "authData")
    _require(bool(data[32] & _ATTESTED), "no attested credential")
    length = int.from_bytes(data[53:55])
    _require(0 < length <= LONGEST_CREDENTIAL_ID, "length of the credential id")
    key, end = cbor.item(data, 55 + length)
    _require_key(key, data[55 + length : end])
    _require_extensions(data, end)
    return bytes(data[55 : 55 + length])


def _require_extensions(data: bytes, at: int) -> None:
    """Extensions are not asked for; what some authenticators say unasked is read and left alone."""
    if data[32] & _EXTENDED:
        outputs, at = cbor.item(data, at)
        _map(outputs, "extensions")
    _require(at == len(data), "bytes behind the authenticator data")


def _require_key(key: Any, encoded: bytes) -> None:
    """A COSE key of an offered algorithm, with its members and no other (section 6.5.1.1)."""
    match _map(key, "key"):
        case {1: 2, 3: -7, -1: 1, -2: bytes(x), -3: bytes(y)}:
            _require(len(key) == 5 and len(x) == len(y) == 32, "members of the EC2 key")
        case {1: 1, 3: -8, -1: 6, -2: bytes(x)}:
            _require(len(key) == 4 and len(x) == 32, "members of the OKP key")
        case {1: 3, 3: -257, -1: bytes(n), -2: b"\x01\x00\x01"}:
            # Any other size or exponent may make each check of a signature take seconds.
            sizes = len(key) == 4 and len(n) in _RSA_BYTES
            _require(sizes and n[0] != 0 and n[-1] % 2 == 1, "size of the RSA key")
        case _:
            raise ValueError("no key of an offered algorithm")
    # Also whether its point lies on the curve: raises ValueError.
    decoded_public_key_to_cryptography(decode_credential_public_key(encoded))


def _transports(said: Any) -> list[str]:
    """Hints for the browser, for the next time (section 7.1 step 27): the known ones, once each."""
    if not isinstance(said, list):
        return []
    return sorted({one for one in said if isinstance(one, str)} & _TRANSPORTS)


def _text(members: Mapping[str, Any], name: str) -> str:
    found = members.get(name)
    _require(isinstance(found, str), f"no {name}")
    return str(found)


def _bytes(members: Mapping[str, Any], name: str) -> bytes:
    """A member in base64url, in the one spelling there is for its bytes."""
    found = _text(members, name)
    decoded = base64.urlsafe_b64decode(found + "=" * (-len(found) % 4))
    # The decoder skips what it does not know: what it gives must be written as it came.
    again = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode()
    _require(again == found, f"{name} is spelled otherwise than base64url")
    return decoded


def _json(text: str) -> dict[str, Any]:
    return _map(json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant), "JSON")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a member that comes twice would be one thing here and another elsewhere."""
    members = list(pairs)
    found = dict(members)
    _require(len(found) == len(members), "a member came twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} in JSON")


def _require(holds: bool, check: str) -> None:
    if not holds:
        raise ValueError(check)


def _map(found: Any, what: str) -> dict[Any, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{what}: no map")  # noqa: TRY004 - a fault of what was sent, as all here
    return found


def _unreadable(error: Exception) -> Refused:
    return invalid(f"unreadable: {error!r}"[:200])

"""Passkeys: one negative case for each step of WebAuthn Level 3 sections 7.1 and 7.2, and hostile CBOR.

Each case changes one part of an answer that is good otherwise, and names the check that must be the
reason of the refusal: a check that is removed is not stood in for by another.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import func, select

from idp.errors import Refused
from idp.events.actor import SYSTEM
from idp.events.model import EventRow
from idp.storage.unit_of_work import Work
from idp.users import passkeys, queries
from idp.users.credentials import Passkey
from idp.users.model import User
from idp.users.passkeys import Suspended, Verified
from idp.users.webauthn_checks import LONGEST_TEXT, assertion
from tests.harness.authenticator import (
    ABSENT,
    AT,
    BE,
    BS,
    ED,
    UP,
    UV,
    Authenticator,
    base64url,
    from_base64url,
)
from tests.harness.stopwatch import least
from tests.harness.workbench import ManualClock, make_work

CHALLENGE = bytes(range(32))
ORIGIN = "http://localhost:8000"
SENTENCE = "This passkey was not accepted. Please try again."
Changes = dict[str, Any]


@pytest.fixture
def work(tmp_path: Path, clock: ManualClock) -> Iterator[Work]:
    made = make_work(f"sqlite:///{tmp_path / 'idp.db'}", clock)
    yield made
    made.database.close()


@pytest.fixture
def anna(work: Work) -> User:
    return person(work, "anna")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Work, User]]:
    """For cases that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    made = make_work(f"sqlite:///{folder / 'idp.db'}", ManualClock())
    yield made, person(made, "anna")
    made.database.close()


def person(work: Work, name: str) -> User:
    with work.begin() as unit:
        return queries.create_user(unit, username=name)


def creation_options(work: Work, user: User) -> str:
    with work.read() as unit:
        return passkeys.registration_options(unit, user, challenge=CHALLENGE)


def request_options(work: Work, user_id: str | None = None) -> str:
    with work.read() as unit:
        return passkeys.request_options(unit, challenge=CHALLENGE, user_id=user_id)


def register(work: Work, user: User, answer: str, challenge: bytes = CHALLENGE) -> Passkey:
    with work.begin() as unit:
        return passkeys.register(
            unit, user, credential=answer, challenge=challenge, name="", actor=SYSTEM
        )


def verify(
    work: Work, answer: str, *, user_id: str | None = None, challenge: bytes = CHALLENGE
) -> Verified | Suspended:
    with work.begin() as unit:
        return passkeys.verify(unit, credential=answer, challenge=challenge, user_id=user_id)


def enrolled(work: Work, user: User, device: Authenticator, **changes: Any) -> Passkey:
    return register(work, user, device.create(creation_options(work, user), **changes))


def require_refused(refused: pytest.ExceptionInfo[Refused], check: str) -> None:
    """Everybody sees one sentence; the log says which check it was."""
    answer = refused.value
    assert (answer.code, answer.sentence, answer.status) == ("invalid_passkey", SENTENCE, 400)
    assert answer.retry_after is None
    assert check in (answer.detail or "")


def require_refused_at_once(send: Callable[[], object], check: str) -> None:
    """In less than 10 ms."""

    def took() -> float:
        begun = time.perf_counter()
        with pytest.raises(Refused) as refused:
            send()
        found = time.perf_counter() - begun
        require_refused(refused, check)
        return found

    assert least(0.010, took, rounds=20) < 0.010


def client_data(kind: str, **members: Any) -> bytes:
    return json.dumps(
        {"type": kind, "challenge": base64url(CHALLENGE), "origin": ORIGIN, **members}
    ).encode()


def client_data_cases(kind: str, other: str) -> list[tuple[str, Changes, str]]:
    """What both ceremonies ask of the client data."""
    good = client_data(kind)
    return [
        ("R1 UTF-16", {"client_data_json": good.decode().encode("utf-16")}, "utf-8"),
        ("R1 no UTF-8", {"client_data_json": good[:-1] + b',"x":"\xff"}'}, "utf-8"),
        ("R1 mark in front", {"client_data_json": b"\xef\xbb\xbf" + good}, "BOM"),
        ("R1 a list", {"client_data_json": b"[" + good + b"]"}, "no map"),
        ("R1 cut short", {"client_data_json": good[:-1]}, "JSONDecodeError"),
        ("R1 bytes behind", {"client_data_json": good + b"{}"}, "JSONDecodeError"),
        ("R1 NaN", {"client_data": {"x": float("nan")}}, "NaN"),
        (
            "R1 a member twice",
            {"client_data_json": b'{"type":"x",' + good[1:]},
            "a member came twice",
        ),
        ("R2 type of the other", {"type": other}, "Unexpected client data type"),
        ("R2 type in capitals", {"type": kind.upper()}, "Unexpected client data type"),
        ("R2 no type", {"type": ABSENT}, "clientDataJSON was malformed"),
        ("R2 type of a list", {"type": [kind]}, "Unexpected client data type"),
        ("R3 other", {"challenge": base64url(bytes(32))}, "challenge was not expected"),
        ("R3 shorter", {"challenge": base64url(CHALLENGE[:-1])}, "challenge was not expected"),
        ("R3 empty", {"challenge": ""}, "challenge was not expected"),
        ("R3 padded", {"challenge": base64url(CHALLENGE) + "="}, "base64url"),
        ("R3 with rubbish", {"challenge": "...." + base64url(CHALLENGE)}, "base64url"),
        ("R3 none", {"challenge": ABSENT}, "no challenge"),
        *(
            (f"R4 {origin!r}", {"origin": origin}, "Unexpected client data origin")
            for origin in (
                "https://evil.example",
                "https://localhost:8000",
                "http://localhost",
                "http://localhost:8001",
                "http://localhost:8000/",
                "http://LOCALHOST:8000",
                "http://a.localhost:8000",
                "http://localhost:8000.evil.example",
                "null",
                "",
                [ORIGIN],
                None,
            )
        ),
        ("R4 no origin", {"origin": ABSENT}, "clientDataJSON was malformed"),
        *(
            (f"R5 {said!r}", {"client_data": {"crossOrigin": said}}, "crossOrigin")
            for said in (True, "false", 1, 0, None)
        ),
        *(
            (f"R6 {said!r}", {"client_data": {"topOrigin": said}}, "topOrigin")
            for said in ("https://evil.example", ORIGIN, "", None)
        ),
    ]


# --- MF-08: registration ------------------------------------------------------------------------

_EC = Authenticator()
_P384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
_X, _Y = _EC.key()[-2], _EC.key()[-3]
_OKP = Authenticator("EdDSA").key()
_RSA = Authenticator("RS256").key()
_SMALL_RSA = (
    rsa.generate_private_key(65537, 1024).public_key().public_numbers().n.to_bytes(128, "big")
)
_NOT_OFFERED = "no key of an offered algorithm"

KEYS: list[tuple[str, Changes, str]] = [
    ("PS256", {"key": {**_RSA, 3: -37}}, _NOT_OFFERED),
    ("RS1", {"key": {**_RSA, 3: -65535}}, _NOT_OFFERED),
    ("RS512", {"key": {**_RSA, 3: -259}}, _NOT_OFFERED),
    ("ES512", {"key": {**_EC.key(), 3: -36}}, _NOT_OFFERED),
    ("ES256K", {"key": {**_EC.key(), 3: -47, -1: 8}}, _NOT_OFFERED),
    ("ML-DSA-44", {"key": {1: 7, 3: -48, -1: bytes(1312)}}, _NOT_OFFERED),
    ("none", {"key": {**_EC.key(), 3: 0}}, _NOT_OFFERED),
    ("a type of another algorithm", {"key": {**_EC.key(), 1: 1}}, _NOT_OFFERED),
    ("a type that is true", {"key_bytes": cbor2.dumps({**_OKP, 1: True})}, _NOT_OFFERED),
    ("P-384 as ES256", {"key": {1: 2, 3: -7, -1: 2, -2: _P384.x.to_bytes(48, "big"),
                                -3: _P384.y.to_bytes(48, "big")}}, _NOT_OFFERED),
    ("Ed448", {"key": {**_OKP, -1: 7}}, _NOT_OFFERED),
    ("a point off the curve", {"key": {**_EC.key(), -3: _X}}, "not on the curve"),
    ("the point at infinity", {"key": {**_EC.key(), -2: bytes(32), -3: bytes(32)}},
     "not on the curve"),
    ("a short coordinate", {"key": {**_EC.key(), -2: _X[:31]}}, "members of the EC2 key"),
    ("a long coordinate", {"key": {**_EC.key(), -3: b"\0" + _Y}}, "members of the EC2 key"),
    ("a compressed point", {"key_bytes": cbor2.dumps({1: 2, 3: -7, -1: 1, -2: _X, -3: True})},
     _NOT_OFFERED),
    ("a short Ed25519 key", {"key": {**_OKP, -2: bytes(31)}}, "members of the OKP key"),
    ("one member more, EC2", {"key": {**_EC.key(), 4: 1}}, "members of the EC2 key"),
    ("one member more, OKP", {"key": {**_OKP, -3: bytes(32)}}, "members of the OKP key"),
    ("one member more, RSA", {"key": {**_RSA, -3: bytes(32)}}, "size of the RSA key"),
    ("1024 bits", {"key": {**_RSA, -1: _SMALL_RSA}}, "size of the RSA key"),
    ("16 384 bits", {"key": {**_RSA, -1: b"\xff" * 2048}}, "size of the RSA key"),
    ("1024 bits, filled up", {"key": {**_RSA, -1: bytes(128) + _SMALL_RSA}}, "size of the RSA key"),
    ("exponent 1", {"key": {**_RSA, -2: b"\x01"}}, _NOT_OFFERED),
    ("exponent 3", {"key": {**_RSA, -2: b"\x03"}}, _NOT_OFFERED),
    ("an exponent of 2048 bits", {"key": {**_RSA, -2: b"\xff" * 256}}, _NOT_OFFERED),
    ("an even modulus", {"key": {**_RSA, -1: b"\xff" * 255 + b"\xfe"}}, "size of the RSA key"),
    ("no map", {"key_bytes": cbor2.dumps([2, -7])}, "key: no map"),
    ("an empty map", {"key_bytes": b"\xa0"}, _NOT_OFFERED),
    ("a bare point of U2F", {"key_bytes": b"\x04" + _X + _Y}, "key: no map"),
    ("nothing", {"key_bytes": b""}, "IndexError"),
]  # fmt: skip

REGISTRATIONS: list[tuple[str, Changes, str]] = [
    *client_data_cases("webauthn.create", "webauthn.get"),
    ("R7 no CBOR", {"attestation_object": b"\xff" * 300}, "CBOR"),
    ("R7 no map", {"attestation_object": b"\x80"}, "attestationObject: no map"),
    ("R7 a member more", {"attestation_object": cbor2.dumps(
        {"fmt": "none", "attStmt": {}, "authData": b"", "x": 1})}, "members of the attestationObject"),
    ("R7 no authData", {"attestation_object": cbor2.dumps({"fmt": "none", "attStmt": {}})},
     "members of the attestationObject"),
    ("R7 authData of text", {"attestation_object": cbor2.dumps(
        {"fmt": "none", "attStmt": {}, "authData": "x" * 200})}, "authData"),
    ("R7 authData cut short", {"auth_data": bytes(37)}, "authData"),
    ("R7 bytes behind authData", {"tail": b"\0"}, "bytes behind the authenticator data"),
    ("R8 RP ID", {"rp_id_hash": hashlib.sha256(b"evil.example").digest()}, "RP ID hash"),
    ("R8 RP ID as an origin", {"rp_id_hash": hashlib.sha256(ORIGIN.encode()).digest()},
     "RP ID hash"),
    ("R9 nobody there", {"flags": UV | AT}, "User presence was required"),
    ("R10 nobody verified", {"flags": UP | AT}, "User verification is required"),
    ("R11 BS without BE", {"flags": UP | UV | AT | BS}, "InvalidBackupFlags"),
    *((f"R12 {name}", changes, check) for name, changes, check in KEYS),
    ("R13 extensions that are none", {"flags": UP | UV | AT | ED}, "IndexError"),
    ("R13 extensions as a list", {"flags": UP | UV | AT | ED, "extensions": b"\x80"},
     "extensions: no map"),
    ("R13 extensions cut short", {"flags": UP | UV | AT | ED, "extensions": b"\xa1\x61a"},
     "IndexError"),
    ("R13 extensions without the flag", {"extensions": b"\xa0"},
     "bytes behind the authenticator data"),
    *((f"R14 format {fmt!r}", {"fmt": fmt, "statement": {}}, "attestation format")
      for fmt in ("", "None", "tpm", "apple", "android-key", "android-safetynet", "fido-u2f",
                  "compound", 1, ["none"], {"none": 1})),
    ("R14 none with a statement", {"statement": {"sig": b"x"}}, "members of the attStmt"),
    ("R14 none with anything", {"statement": {"x": 1}}, "members of the attStmt"),
    ("R14 no statement", {"statement": []}, "attStmt: no map"),
    ("R14 packed without signature", {"fmt": "packed", "statement": {"alg": -7}},
     "members of the attStmt"),
    ("R14 packed with certificates", {"fmt": "packed", "statement": {
        "alg": -7, "sig": b"x", "x5c": [b"x"]}}, "members of the attStmt"),
    ("R14 packed, wrong signature", {"fmt": "packed", "statement": {
        "alg": -7, "sig": _EC.sign(b"something else")}}, "attestation statement signature"),
    ("R14 packed, empty signature", {"fmt": "packed", "statement": {"alg": -7, "sig": b""}},
     "missing signature"),
    ("R14 packed, other algorithm", {"fmt": "packed", "statement": {
        "alg": -257, "sig": _EC.sign(b"something else")}}, "did not equal"),
    ("R15 1024 bytes", {"credential_id": bytes(1024)},
     "length of the credential id"),
    ("R15 no bytes", {"credential_id": b""}, "length of the credential id"),
    ("R17 a signature of text", {"fmt": "packed", "statement": {"alg": -7, "sig": "text"}},
     "TypeError"),
    ("no key", {"auth_data": bytes(32) + bytes([UP | UV]) + bytes(60)},
     "no attested credential"),
    ("another id attested", {"raw_id": base64url(b"another")}, "has another id"),
]  # fmt: skip


@pytest.mark.attack("MF-08")
@pytest.mark.parametrize(
    ("changes", "check"), [one[1:] for one in REGISTRATIONS], ids=[one[0] for one in REGISTRATIONS]
)
def test_a_registration_with_one_part_wrong_is_refused(
    work: Work, anna: User, changes: Changes, check: str
) -> None:
    """MF-08: R1 to R17, a case for each check; nothing is kept of it."""
    answer = Authenticator().create(creation_options(work, anna), **changes)
    with pytest.raises(Refused) as refused:
        register(work, anna, answer)
    require_refused(refused, check)
    assert kept(work) == 0


def test_the_longest_credential_id_that_may_be_is_taken(work: Work, anna: User) -> None:
    """MF-08 R15: 1023 bytes and no more."""
    device = Authenticator()
    device.credential_id = bytes(1023)
    enrolled(work, anna, device)
    assert isinstance(verify(work, device.get(request_options(work))), Verified)


@pytest.mark.attack("MF-08")
@pytest.mark.parametrize("whose", ["anna", "bert"])
def test_a_credential_that_somebody_has_is_not_registered_again(
    work: Work, anna: User, whose: str
) -> None:
    """MF-08 R15: not for anybody, not even whose it is."""
    device, other = Authenticator(), Authenticator()
    first = enrolled(work, anna, device)
    other.credential_id = device.credential_id
    user = anna if whose == "anna" else person(work, whose)
    with pytest.raises(Refused) as refused:
        enrolled(work, user, other)
    require_refused(refused, "registered already")
    with work.read() as unit:
        [kept_one] = unit.orm.scalars(select(Passkey))
    assert (kept_one.id, kept_one.public_key) == (first.id, first.public_key)


def test_a_registration_is_not_taken_for_another_challenge(work: Work, anna: User) -> None:
    """MF-16: of another session, or of the same one a moment ago."""
    answer = Authenticator().create(creation_options(work, anna))
    with pytest.raises(Refused) as refused:
        register(work, anna, answer, challenge=bytes(32))
    require_refused(refused, "challenge was not expected")


@pytest.mark.attack("MF-11")
def test_the_user_must_be_verified_whatever_the_browser_was_told(work: Work, anna: User) -> None:
    """MF-11: options that were changed on the way to "discouraged" change nothing here."""
    asked = json.loads(creation_options(work, anna))
    asked["authenticatorSelection"]["userVerification"] = "discouraged"
    answer = Authenticator().create(json.dumps(asked), flags=UP | AT)
    with pytest.raises(Refused) as refused:
        register(work, anna, answer)
    require_refused(refused, "User verification is required")


# --- MF-08: assertions --------------------------------------------------------------------------

CREDENTIALS: list[tuple[str, Changes, str]] = [
    ("A13 id of another", {"id": base64url(b"another")}, "id is not rawId"),
    ("A13 id and rawId with padding", {"raw_id": base64url(bytes(32)) + "="}, "base64url"),
    ("A13 rawId in plain base64", {"raw_id": "+/" * 21 + "+A"}, "base64url"),
    ("A13 rawId with other last bits", {"raw_id": "A" * 42 + "B"}, "spelled otherwise"),
    ("A13 rawId with a line break", {"raw_id": "A" * 43 + "\n" * 4}, "base64url"),
    ("A13 rawId in other letters", {"raw_id": "Ａ" * 4}, "ValueError"),
    ("A13 no rawId", {"outer": {"rawId": ABSENT}}, "no rawId"),
    ("A13 no id", {"id": ABSENT}, "no id"),
    ("A13 id of a number", {"id": 7}, "no id"),
    ("A13 another type", {"outer_type": "password"}, "public-key"),
    ("A13 no type", {"outer_type": ABSENT}, "public-key"),
    ("A13 no response", {"outer": {"response": ABSENT}}, "response: no map"),
    ("A13 response of text", {"outer": {"response": "x"}}, "response: no map"),
    ("A13 no client data", {"response": {"clientDataJSON": ABSENT}}, "no clientDataJSON"),
    ("A13 client data of an object", {"response": {"clientDataJSON": {}}}, "no clientDataJSON"),
]  # fmt: skip

ASSERTIONS: list[tuple[str, Changes, str]] = [
    *((f"A3-A5 {name}", changes, check)
      for name, changes, check in client_data_cases("webauthn.get", "webauthn.create")),
    ("A2 no userHandle", {"user_handle": ABSENT}, "no userHandle"),
    ("A2 userHandle null", {"user_handle": None}, "no userHandle"),
    ("A2 userHandle of another", {"user_handle": b"usr_somebody_else"}, "userHandle of somebody"),
    ("A2 userHandle empty", {"user_handle": b""}, "userHandle of somebody"),
    ("A2 userHandle of a number", {"user_handle": 7}, "no userHandle"),
    ("A6 RP ID", {"rp_id_hash": hashlib.sha256(b"evil.example").digest()}, "RP ID hash"),
    ("A7 nobody there", {"flags": UV}, "not present"),
    ("A8 nobody verified", {"flags": UP}, "User verification is required"),
    ("A9 BE that was not", {"flags": UP | UV | BE}, "backup eligibility changed"),
    ("A9 BS without BE", {"flags": UP | UV | BS}, "InvalidBackupFlags"),
    ("A10 another's signature", {"signed_by": Authenticator()}, "authentication signature"),
    ("A10 no signature", {"signature": b""}, "authentication signature"),
    ("A10 signature of something else", {"signature": _EC.sign(b"x")}, "authentication signature"),
    ("A10 signature left out", {"response": {"signature": ABSENT}}, "no signature"),
    ("a key in it", {"flags": UP | UV | AT}, "does not carry a key"),
    ("no authenticator data", {"response": {"authenticatorData": ABSENT}}, "no authenticatorData"),
    ("authenticator data cut short", {"auth_data": bytes(32)}, "IndexError"),
    ("authenticator data one byte short", {"auth_data": hashlib.sha256(b"localhost").digest()
        + bytes([UP | UV]) + bytes(3)}, "authenticator data"),
    ("bytes behind", {"tail": b"\0"}, "bytes behind the authenticator data"),
    ("extensions that are none", {"flags": UP | UV | ED}, "IndexError"),
    ("extensions as a list", {"flags": UP | UV | ED, "extensions": b"\x80"}, "extensions: no map"),
    ("an unknown credential", {"raw_id": base64url(b"another")}, "unknown credential"),
]  # fmt: skip


@pytest.mark.attack("MF-08")
@pytest.mark.parametrize(
    ("changes", "check"),
    [one[1:] for one in (*CREDENTIALS, *ASSERTIONS) if one[0] != "A13 id of another"],
    ids=[one[0] for one in (*CREDENTIALS, *ASSERTIONS) if one[0] != "A13 id of another"],
)
def test_an_assertion_with_one_part_wrong_is_refused(
    work: Work, anna: User, changes: Changes, check: str
) -> None:
    """MF-08: A1 to A13, a case for each check; the passkey is as it was, and still taken."""
    device = Authenticator()
    made = enrolled(work, anna, device)
    answer = device.get(request_options(work), **changes)
    with pytest.raises(Refused) as refused:
        verify(work, answer)
    require_refused(refused, check)
    kept_one = stored(work, made)
    assert (kept_one.sign_count, kept_one.last_used_at) == (0, None)
    assert kept_one.suspended_at is None
    assert isinstance(verify(work, device.get(request_options(work))), Verified)


@pytest.mark.parametrize(
    ("changes", "check"), [one[1:] for one in CREDENTIALS], ids=[one[0] for one in CREDENTIALS]
)
def test_a_registration_in_a_wrong_envelope_is_refused(
    work: Work, anna: User, changes: Changes, check: str
) -> None:
    """MF-08 A13: the members around the response."""
    answer = Authenticator().create(creation_options(work, anna), **changes)
    with pytest.raises(Refused) as refused:
        register(work, anna, answer)
    require_refused(refused, check)


def test_an_id_that_is_not_its_raw_id_is_refused(work: Work, anna: User) -> None:
    """MF-08 A13: with the id of one passkey and the rawId of another, both registered."""
    device, other = Authenticator(), Authenticator()
    enrolled(work, anna, device)
    enrolled(work, anna, other)
    answer = device.get(request_options(work), id=base64url(other.credential_id), signed_by=other)
    with pytest.raises(Refused) as refused:
        verify(work, answer)
    require_refused(refused, "id is not rawId")


def test_backup_eligibility_that_was_lost_is_refused(work: Work, anna: User) -> None:
    """MF-08 A9: in the other direction it would raise aal2 to aal3."""
    device = Authenticator(backup="eligible")
    enrolled(work, anna, device)
    with pytest.raises(Refused) as refused:
        verify(work, device.get(request_options(work), flags=UP | UV))
    require_refused(refused, "backup eligibility changed")


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_every_bit_of_a_signature_counts(work: Work, anna: User, alg: str) -> None:
    """MF-08 A10: a damaged signature, and one over other data."""
    device = Authenticator(alg)
    enrolled(work, anna, device)
    options = request_options(work)
    good = json.loads(device.get(options))["response"]
    swapped = {**good, "authenticatorData": json.loads(device.get(options))["response"][
        "authenticatorData"]}  # fmt: skip
    damaged = {**good, "signature": good["signature"][:-6] + "AAAAAA"}
    for response in (swapped, damaged):
        with pytest.raises(Refused) as refused:
            verify(work, device.get(options, response=response))
        require_refused(refused, "authentication signature")


def test_a_passkey_of_one_does_not_sign_in_another(work: Work, anna: User) -> None:
    """MF-10: Anna's passkey where Bert's name was given; as she sends it, and with his handle."""
    bert = person(work, "bert")
    device = Authenticator()
    enrolled(work, anna, device)
    enrolled(work, bert, Authenticator())
    for handle in (anna.id.encode(), bert.id.encode(), ABSENT):
        answer = device.get(request_options(work, bert.id), user_handle=handle)
        with pytest.raises(Refused) as refused:
            verify(work, answer, user_id=bert.id)
        require_refused(refused, "credential of somebody else")


@pytest.mark.parametrize("given", ["no name", "her name"])
def test_a_user_handle_names_nobody_else(work: Work, anna: User, given: str) -> None:
    """MF-10: the userHandle is not signed; it must agree with whose the passkey is."""
    bert = person(work, "bert")
    device = Authenticator()
    enrolled(work, anna, device)
    user_id = anna.id if given == "her name" else None
    answer = device.get(request_options(work, user_id), user_handle=bert.id.encode())
    with pytest.raises(Refused) as refused:
        verify(work, answer, user_id=user_id)
    require_refused(refused, "userHandle of somebody else")


@pytest.mark.attack("MF-11")
def test_user_verification_is_not_talked_away_by_the_browser(work: Work, anna: User) -> None:
    """MF-11: the options were changed to "discouraged"; without a password that is no sign-in."""
    device = Authenticator()
    enrolled(work, anna, device)
    asked = {**json.loads(request_options(work)), "userVerification": "discouraged"}
    with pytest.raises(Refused) as refused:
        verify(work, device.get(json.dumps(asked), flags=UP))
    require_refused(refused, "User verification is required")


@pytest.mark.attack("MF-11")
def test_without_user_verification_a_passkey_earns_the_least(work: Work, anna: User) -> None:
    """MF-11: beside a password it counts as held, and for no more."""
    device = Authenticator()
    enrolled(work, anna, device)
    answer = device.get(request_options(work, anna.id), flags=UP)
    outcome = verify(work, answer, user_id=anna.id)
    assert isinstance(outcome, Verified)
    assert outcome.authentication.acr == "aal1"


def test_an_assertion_is_not_taken_for_another_challenge(work: Work, anna: User) -> None:
    """MF-16: of another session, or of the same one a moment ago."""
    device = Authenticator()
    enrolled(work, anna, device)
    with pytest.raises(Refused) as refused:
        verify(work, device.get(request_options(work)), challenge=bytes(32))
    require_refused(refused, "challenge was not expected")


def test_an_answer_to_one_ceremony_is_none_to_the_other(work: Work, anna: User) -> None:
    """MF-16: a registration sent to sign in, an assertion sent to enrol, the challenge the same."""
    device = Authenticator()
    created = device.create(creation_options(work, anna))
    register(work, anna, created)
    with pytest.raises(Refused) as refused:
        verify(work, created)
    require_refused(refused, "no signature")
    got = device.get(request_options(work))
    with pytest.raises(Refused) as refused:
        register(work, anna, got)
    require_refused(refused, "no attestationObject")
    # Both at once, so that no member is missing and the type alone tells them apart.
    both = json.loads(created)
    for name in ("signature", "authenticatorData", "userHandle"):
        both["response"][name] = json.loads(got)["response"][name]
    with pytest.raises(Refused) as refused:
        verify(work, json.dumps(both))
    require_refused(refused, "Unexpected client data type")


# --- clones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_a_counter_that_does_not_go_up_suspends_the_passkey(
    work: Work, anna: User, count: int
) -> None:
    """MF-08 A11: there may be a copy, so neither is taken any more; remembered, and told once."""
    device = Authenticator()
    made = enrolled(work, anna, device, sign_count=5)
    outcome = verify(work, device.get(request_options(work), sign_count=count))
    assert isinstance(outcome, Suspended)
    assert (outcome.user_id, outcome.passkey.id) == (anna.id, made.id)
    kept_one = stored(work, made)
    assert kept_one.suspended_at is not None
    assert (kept_one.sign_count, kept_one.last_used_at) == (5, None)
    # The original is not taken either: nobody knows which of the two it is.
    again = verify(work, device.get(request_options(work), sign_count=6))
    assert isinstance(again, Suspended)
    with work.read() as unit:
        told = unit.orm.scalar(
            select(func.count()).select_from(EventRow).where(EventRow.type == "factor.suspended")
        )
        asked = json.loads(passkeys.request_options(unit, challenge=CHALLENGE, user_id=anna.id))
    assert told == 1
    assert asked["allowCredentials"] == []


def test_nobody_without_the_key_has_a_passkey_suspended(work: Work, anna: User) -> None:
    """MF-08 A11: an old counter under a wrong signature says nothing."""
    device = Authenticator()
    made = enrolled(work, anna, device, sign_count=5)
    answer = device.get(request_options(work), sign_count=1, signed_by=Authenticator())
    with pytest.raises(Refused) as refused:
        verify(work, answer)
    require_refused(refused, "authentication signature")
    assert stored(work, made).suspended_at is None


# --- MF-17: hostile CBOR and JSON ----------------------------------------------------------------

HOSTILE: list[tuple[str, bytes, str]] = [
    ("arrays 10 000 deep", b"\x81" * 10_000 + b"\0", "too deep"),
    ("maps 5 000 deep", b"\xa1\0" * 5_000 + b"\0", "too deep"),
    ("keys 10 000 deep", b"\xa1" * 10_000 + b"\0", "too deep"),
    ("five deep", b"\x81" * 5 + b"\0", "too deep"),
    ("tags 10 000 deep", b"\xc1" * 10_000 + b"\0", "a tag"),
    ("a tag", b"\xc2\x41\x01", "a tag"),
    ("a shared reference", b"\xd8\x1c\x81\xd8\x1d\x00", "a tag"),
    ("bytes of 4 GiB", b"\x5a\xff\xff\xff\xff", "cut short"),
    ("bytes of 16 EiB", b"\x5b" + b"\xff" * 8, "cut short"),
    ("text of 4 GiB", b"\x7a\xff\xff\xff\xff", "cut short"),
    ("an array of 4 G items", b"\x9a\xff\xff\xff\xff", "IndexError"),
    ("a map of 16 E members", b"\xbb" + b"\xff" * 8, "IndexError"),
    ("a number cut short", b"\x1b\x01", "cut short"),
    ("a key twice", b"\xa2\x01\x01\x01\x02", "a key came twice"),
    ("a key of text twice", b"\xa2\x61a\x01\x61a\x02", "a key came twice"),
    ("a key twice, once too long", b"\xa2\x01\x01\x18\x01\x02", "written too long"),
    ("a number too long, 2 bytes", b"\x19\x00\xff", "written too long"),
    ("a number too long, 4 bytes", b"\x1a\x00\x00\xff\xff", "written too long"),
    ("a number too long, 8 bytes", b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", "written too long"),
    ("a key of bytes", b"\xa1\x41a\x01", "no number or text"),
    ("a key of a list", b"\xa1\x80\x01", "no number or text"),
    ("a key that is true", b"\xa1\xf5\x01", "no number or text"),
    ("NaN", b"\xf9\x7e\x00", "a float"),
    ("NaN as a key", b"\xa1\xf9\x7e\x00\x00", "a float"),
    ("a float", b"\xfb" + bytes(8), "a float"),
    ("undefined", b"\xf7", "a float"),
    ("a simple value", b"\xf8\xff", "a float"),
    ("an array without end", b"\x9f\x01\xff", "an indefinite length"),
    ("a map without end", b"\xbf\x01\x01\xff", "an indefinite length"),
    ("bytes without end", b"\x5f\x41a\xff", "an indefinite length"),
    ("text without end", b"\x7f\x61a\xff", "an indefinite length"),
    ("an end without beginning", b"\xff", "a float"),
    ("a reserved length", b"\x5c", "an indefinite length"),
    ("text that is not UTF-8", b"\x61\xff", "utf-8"),
    ("nothing", b"", "IndexError"),
]  # fmt: skip
ROOM_FOR = 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("encoded", "check"), [one[1:] for one in HOSTILE], ids=[one[0] for one in HOSTILE]
)
@pytest.mark.parametrize(
    "place", ["attestationObject", "attStmt", "key", "extensions", "assertion"]
)
def test_hostile_cbor_is_refused_at_once(
    shared: tuple[Work, User], encoded: bytes, check: str, place: str
) -> None:
    """MF-17: wherever CBOR is read, in less than 10 ms and with nothing set aside for it."""
    work, anna = shared
    changes: Changes = {"response": {"authenticatorData": ABSENT}}
    if place == "attestationObject":
        changes["attestation_object"] = encoded
    elif place == "attStmt":
        before_it = b"\xa3\x63fmt\x64none\x68authData\x40\x67attStmt"
        changes["attestation_object"] = before_it + encoded
    elif place == "key":
        changes["key_bytes"] = encoded
    elif place == "extensions":
        changes |= {"flags": UP | UV | AT | ED, "extensions": encoded}
    if place == "assertion":
        device = Authenticator()
        flags = UP | UV | ED
        answer = device.get(request_options(work), flags=flags, extensions=encoded)
    else:
        answer = Authenticator().create(creation_options(work, anna), **changes)

    def send() -> None:
        if place == "assertion":
            assertion(answer)
        else:
            register(work, anna, answer)

    process = psutil.Process()
    before = process.memory_info().rss
    require_refused_at_once(send, check)
    assert process.memory_info().rss - before < ROOM_FOR


def test_bytes_behind_the_attestation_object_are_refused(work: Work, anna: User) -> None:
    """MF-17: trailing bytes."""
    device = Authenticator()
    options = creation_options(work, anna)
    good = json.loads(device.create(options))["response"]["attestationObject"]
    longer = cbor2.dumps(cbor2.loads(from_base64url(good))) + b"\0"
    with pytest.raises(Refused) as refused:
        register(work, anna, device.create(options, attestation_object=longer))
    require_refused(refused, "bytes behind the item")


TEXTS: list[tuple[str, str, str]] = [
    ("nothing", "", "JSONDecodeError"),
    ("no JSON", "credential", "JSONDecodeError"),
    ("a list", "[]", "no map"),
    ("null", "null", "no map"),
    ("NaN", '{"id": NaN}', "NaN"),
    ("a member twice", '{"id": "a", "id": "b"}', "a member came twice"),
    ("lists too deep", "[" * LONGEST_TEXT, "RecursionError"),
    ("objects too deep", '{"a":' * (LONGEST_TEXT // 5), "RecursionError"),
    ("a number of 10 000 digits", '{"id": ' + "9" * 10_000 + "}", "ValueError"),
    ("too long", '{"id": "' + "A" * LONGEST_TEXT + '"}', "longer than a credential"),
    ("half a character", '{"id": "\\ud800"}', "public-key"),
    ("half a character, raw", "\ud800", "JSONDecodeError"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "check"), [one[1:] for one in TEXTS], ids=[one[0] for one in TEXTS]
)
def test_hostile_json_is_refused_at_once(work: Work, anna: User, text: str, check: str) -> None:
    """MF-17: the text around it, in less than 10 ms."""
    for read in (lambda: register(work, anna, text), lambda: verify(work, text)):
        require_refused_at_once(read, check)


def test_a_credential_of_the_greatest_length_is_read(work: Work, anna: User) -> None:
    """MF-17: the limit is where it is said to be, and above what honest ones need."""
    device = Authenticator("RS256")
    answer = device.create(creation_options(work, anna), fmt="packed")
    padded = answer[:-1] + ', "x": "' + "x" * (LONGEST_TEXT - len(answer) - 9) + '"}'
    assert len(padded) == LONGEST_TEXT
    with pytest.raises(Refused) as refused:
        register(work, anna, padded + " ")
    require_refused(refused, "longer than a credential")
    register(work, anna, padded)


def test_a_refusal_is_written_on_one_line_and_not_at_length(work: Work, anna: User) -> None:
    """What a stranger wrote stands in the log quoted and cut."""
    device = Authenticator()
    enrolled(work, anna, device)
    origin = "http://evil.example\nINFO forged line" + "x" * 5_000
    with pytest.raises(Refused) as refused:
        verify(work, device.get(request_options(work), origin=origin))
    assert "\n" not in (refused.value.detail or "")
    assert len(refused.value.detail or "") <= 200


def kept(work: Work) -> int:
    with work.read() as unit:
        return unit.orm.scalar(select(func.count()).select_from(Passkey)) or 0


def stored(work: Work, passkey: Passkey) -> Passkey:
    with work.read() as unit:
        return unit.orm.get_one(Passkey, passkey.id)

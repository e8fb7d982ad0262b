"""Signing keys: their making, states, rotation, and use.

Two keys sign at any time, ES256 and RS256, chosen per client. A key is `next` (published, so that
apps have it before it signs), `active` (signs), or `retired` (published while its tokens live).
Private keys are sealed in the database. Specs: RFC 7517 (JWK), RFC 7518 (algorithms).
"""

import base64
import hashlib
import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from sqlalchemy import func, select

from idp.clock import DAY, SECOND, Clock, Duration, Instant
from idp.errors import Refused, Unavailable
from idp.events.catalogue import KeysRotated
from idp.oauth.model import SigningKey
from idp.storage.unit_of_work import UnitOfWork, Work

Algorithm = Literal["ES256", "RS256"]
ALGORITHMS: tuple[Algorithm, ...] = ("ES256", "RS256")
RSA_BITS = 3_072
# A retired key stays published for as long as any token it signed may live, and a day.
RETIRED_PUBLISHED = 2 * DAY
# We ourselves accept an ID token as a hint for as long as its session may last.
RETIRED_VERIFIES = 31 * DAY
# Another process may rotate: the ring is read again this often. A ring in use is at most twice as old.
RELOAD_EVERY = 15 * SECOND
# A key signs when it was there for so long: then every node and its JWKS have it, whatever its clock.
KNOWN_AFTER = 3 * RELOAD_EVERY
# A key that has signed for longer is told of, on the page and by `idp doctor`.
AGE_WARNED = 180 * DAY
JWT_MAXIMUM = 16_384
_SHA256 = SHA256()
_ECDSA = ECDSA(_SHA256)


class _Signer:
    """A private key with its JWS headers ready (RFC 7515 section 3.1).

    Says the same as joserfc, whose checks of the header we would pay at every token; that what it
    makes verifies is tested with joserfc and with other people's libraries.
    """

    def __init__(self, key: ECKey | RSAKey, alg: str) -> None:
        self.key = key
        self._private: Any = key.private_key
        self._alg = alg
        self._kid = key.kid
        self._headers: dict[str, bytes] = {}

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """The compact JWS of `claims` with this `typ`."""
        header = self._headers.get(typ)
        if header is None:
            fields = {"alg": self._alg, "kid": self._kid, "typ": typ}
            header = self._headers[typ] = _base64url(orjson.dumps(fields))
        message = header + b"." + _base64url(orjson.dumps(claims))
        if self._alg == "ES256":
            # RFC 7518 section 3.4: R and S, 32 bytes each, instead of DER.
            r, s = decode_dss_signature(self._private.sign(message, _ECDSA))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            signature = self._private.sign(message, PKCS1v15(), _SHA256)
        return (message + b"." + _base64url(signature)).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


@dataclass(frozen=True, slots=True)
class _Ring:
    signing: dict[str, _Signer]
    verifying: KeySet
    document: bytes
    etag: str
    read_at: Instant


class Keyring:
    """The keys of this deployment, read from the database and kept fresh."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._clock: Clock = work.clock
        self._lock = threading.Lock()
        # By kid: an opened key keeps the headers it made.
        self._opened: dict[str, _Signer] = {}
        self._ring = self._read()

    def sign(self, alg: str, claims: dict[str, Any], typ: str = "JWT") -> str:
        """A compact JWT signed with the active key for `alg` (ES256 or RS256)."""
        return self._fresh().signing[alg].sign(claims, typ)

    def verify(self, token: str, *, typ: str | None) -> dict[str, Any] | None:
        """The claims of a JWT that one of our keys signed, or None.

        Checks signature, algorithm (of the key, never of the token alone), `typ` when one is given,
        and that no critical header is present (RFC 7515 section 4.1.11, RFC 8725). Times and
        audiences are the caller's to check, because each kind of token has its own rules.
        """
        if len(token) > JWT_MAXIMUM or token.count(".") != 2:
            return None
        ring = self._fresh()
        try:
            header = jws.extract_compact(token.encode()).headers()
            if not isinstance(header, dict):
                return None
            if "crit" in header or "b64" in header or header.get("alg") not in ALGORITHMS:
                return None
            if not isinstance(header.get("kid"), str):
                return None
            if typ is not None and str(header.get("typ", "")).lower() != typ:
                return None
            claims = jwt.decode(token, ring.verifying, algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, TypeError, KeyError, UnicodeError):
            return None
        return claims if isinstance(claims, dict) else None

    def jwks(self) -> tuple[bytes, str]:
        """The public key set as ready bytes, and its ETag."""
        ring = self._fresh()
        return ring.document, ring.etag

    def reload(self) -> None:
        """Reads the keys again now."""
        with self._lock:
            self._ring = self._read()

    def _fresh(self) -> _Ring:
        ring = self._ring
        age = abs(self._clock.now() - ring.read_at)
        # Whoever comes while another reads goes on with the ring at hand, unless it is from long ago:
        # a node that rested for an hour must not refuse what was signed meanwhile.
        if age > RELOAD_EVERY and self._lock.acquire(blocking=age > 2 * RELOAD_EVERY):
            try:
                if self._ring is ring:  # else somebody read while we waited
                    self._ring = self._read()
                ring = self._ring
            except Unavailable:
                # The keys at hand are still ours. Not asked again at once: this may be the event
                # loop, and a database that is gone takes seconds to say so.
                self._ring = ring = replace(ring, read_at=self._clock.now())
            finally:
                self._lock.release()
        return ring

    def _read(self) -> _Ring:
        with self._work.read() as unit:
            rows = unit.orm.scalars(select(SigningKey).order_by(SigningKey.created_at)).all()
            published = [row.public_jwk for row in rows if _within(row, RETIRED_PUBLISHED, unit)]
            verifying = [row.public_jwk for row in rows if _within(row, RETIRED_VERIFIES, unit)]
            active = [row for row in rows if row.state == "active"]
            for row in active:
                if row.kid not in self._opened:
                    self._opened[row.kid] = _Signer(_private(unit, row), row.alg)
            signing = {row.alg: self._opened[row.kid] for row in active}
            document = orjson.dumps({"keys": published})
        return _Ring(
            signing=signing,
            verifying=KeySet.import_key_set({"keys": verifying}),
            document=document,
            etag=f'"{hashlib.sha256(document).hexdigest()[:32]}"',
            read_at=unit.now,
        )


def _within(row: SigningKey, lasting: Duration, unit: UnitOfWork) -> bool:
    """Whether a key is in use, or was retired less than `lasting` ago."""
    return row.retired_at is None or row.retired_at + lasting > unit.now


def ensure(unit: UnitOfWork) -> None:
    """Makes the first keys of a deployment: one active and one next of each algorithm."""
    if unit.orm.scalar(select(SigningKey.kid).limit(1)) is None:
        for alg in ALGORITHMS:
            for state in ("active", "next"):
                _make(unit, alg, state)


def rotate(unit: UnitOfWork, *, actor: str = "admin", actor_id: str | None = None) -> list[str]:
    """Retires the active keys, activates the next ones, makes new next ones; gives the new kids.

    Raises `Refused` (`too_soon`, 409) while other nodes may not know the next ones.
    """
    # Locked before anything is looked at: of two who rotate at once the second one is too soon.
    usable = list(
        unit.orm.scalars(select(SigningKey).where(SigningKey.state != "retired").with_for_update())
    )
    latest = unit.orm.scalar(select(func.max(SigningKey.retired_at)))
    if latest is not None and (left := latest + KNOWN_AFTER - unit.now) > 0:
        raise Refused(
            "too_soon",
            "The keys were rotated just now, and not every node knows the next ones yet. "
            f"Try again in {-(-left // SECOND)} seconds.",
            409,
        )
    activated: list[str] = []
    for alg in ALGORITHMS:
        keys = {row.state: row for row in usable if row.alg == alg}
        if "active" in keys:
            keys["active"].state = "retired"
            keys["active"].retired_at = unit.now
        upcoming = keys.get("next") or _make(unit, alg, "next")
        upcoming.state = "active"
        upcoming.activated_at = unit.now
        _make(unit, alg, "next")
        activated.append(upcoming.kid)
        unit.record(KeysRotated(actor=actor, actor_id=actor_id, kid=upcoming.kid))
    return activated


def reseal(unit: UnitOfWork) -> int:
    """Seals every private key with the newest secret key; gives how many were changed."""
    changed = 0
    for row in unit.orm.scalars(select(SigningKey)):
        if not unit.vault.is_current(row.private_jwk):
            context = f"key:{row.kid}"
            row.private_jwk = unit.vault.seal_text(
                unit.vault.open_text(row.private_jwk, context), context
            )
            changed += 1
    return changed


def _make(unit: UnitOfWork, alg: Algorithm, state: str) -> SigningKey:
    key: ECKey | RSAKey
    key = ECKey.generate_key("P-256") if alg == "ES256" else RSAKey.generate_key(RSA_BITS)
    kid = key.thumbprint()
    shared = {"kid": kid, "use": "sig", "alg": alg}
    row = SigningKey(
        kid=kid,
        alg=alg,
        state=state,
        private_jwk=unit.vault.seal_text(
            orjson.dumps(key.as_dict(private=True) | shared).decode(), f"key:{kid}"
        ),
        public_jwk=key.as_dict(private=False) | shared,
        created_at=unit.now,
        activated_at=unit.now if state == "active" else None,
    )
    unit.orm.add(row)
    unit.flush()
    return row


def _private(unit: UnitOfWork, row: SigningKey) -> ECKey | RSAKey:
    jwk = orjson.loads(unit.vault.open_text(row.private_jwk, f"key:{row.kid}"))
    return ECKey.import_key(jwk) if row.alg == "ES256" else RSAKey(_rsa(jwk), jwk)


def _rsa(jwk: dict[str, str]) -> RSAPrivateKey:
    """The key of a private JWK that we made (RFC 7518 section 6.3).

    Its primes are not checked again, which would take a tenth of a second at every start: the seal
    it was under says that it is the key we made.
    """
    number = {name: _integer(jwk[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi")}
    return RSAPrivateNumbers(
        p=number["p"],
        q=number["q"],
        d=number["d"],
        dmp1=number["dp"],
        dmq1=number["dq"],
        iqmp=number["qi"],
        public_numbers=RSAPublicNumbers(e=number["e"], n=number["n"]),
    ).private_key(unsafe_skip_rsa_key_validation=True)


def _integer(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))

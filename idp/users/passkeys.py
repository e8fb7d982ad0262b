"""Passkeys: enrolling them, proving oneself by one, naming and removing them.

Owns what is asked of a browser and the order of the checks on what comes back, all of WebAuthn
Level 3 sections 7.1 and 7.2: `webauthn_checks` reads strictly, the `webauthn` library verifies, and
what depends on whose a passkey is, is here. A check that fails raises; nothing gives False. Does
not make challenges, nor know that they are answered once (`idp.sessions.ceremony`).

A passkey is enrolled only with its user verified, and signs in alone only so; beside a password its
presence will do. What counts is what the signature covers, never what a browser says it asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
)
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from idp import ids
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import FactorAdded, FactorRemoved, FactorRenamed, FactorSuspended
from idp.languages import Sentence
from idp.policy.assurance import Authentication
from idp.settings import Settings
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, queries
from idp.users.credentials import Passkey
from idp.users.labels import label
from idp.users.model import User
from idp.users.webauthn_checks import (
    ALGORITHMS,
    Expected,
    assertion,
    invalid,
    registration,
    verify_assertion,
    verify_registration,
)

MOST = 20
DEFAULT_NAME = "Passkey"
# How long a browser should wait, in milliseconds: a hint (section 15.1, "recommended range").
_TIMEOUT = 300_000


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose passkey it was, and what it proves."""

    user_id: str
    passkey: Passkey
    authentication: Authentication


@dataclass(frozen=True, slots=True)
class Suspended:
    """A right signature of a passkey that is not taken any more, because there may be a copy."""

    user_id: str
    passkey: Passkey


def rp_id(settings: Settings) -> str:
    """The domain that passkeys belong to."""
    return settings.passkeys.rp_id or urlsplit(settings.issuer).hostname or ""


def origins(settings: Settings) -> list[str]:
    """The origins whose pages may use our passkeys: ours first, then the further ones."""
    ours = urlsplit(settings.issuer)
    host = ours.hostname or ""
    standard = {"http": 80, "https": 443}.get(ours.scheme)
    port = "" if ours.port in (None, standard) else f":{ours.port}"
    # As browsers write it, who leave out what goes without saying.
    return [
        f"{ours.scheme}://{f'[{host}]' if ':' in host else host}{port}",
        *settings.passkeys.origins,
    ]


def registration_options(unit: UnitOfWork, user: User, *, challenge: bytes) -> str:
    """`PublicKeyCredentialCreationOptionsJSON` for one more passkey of this user."""
    options = generate_registration_options(
        rp_id=rp_id(unit.settings),
        rp_name=unit.settings.name,
        user_id=user.id.encode(),
        user_name=user.username,
        user_display_name=_full_name(unit, user),
        challenge=challenge,
        timeout=_TIMEOUT,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(of(unit, user.id)),
        supported_pub_key_algs=list(ALGORITHMS),
    )
    return options_to_json(options)


def register(
    unit: UnitOfWork, user: User, *, credential: str, challenge: bytes, name: str, actor: Actor
) -> Passkey:
    """Adds the passkey that answers `registration_options` (section 7.1).

    Raises `Refused`: `invalid_passkey`, `invalid_label`, and `too_many_passkeys` (409).
    """
    shown = label(name, default=DEFAULT_NAME)
    sent, transports = registration(credential)
    found = verify_registration(sent, _expected(unit, challenge))
    factors.hold(unit, user.id)
    if len(of(unit, user.id)) >= MOST:
        raise Refused(
            "too_many_passkeys",
            Sentence("You have %(most)s passkeys already. Please remove one first.", most=MOST),
            409,
        )
    passkey = Passkey(
        id=ids.new("psk"),
        credential_id=bytes_to_base64url(found.credential_id),
        user_id=user.id,
        name=shown,
        public_key=found.credential_public_key,
        sign_count=found.sign_count,
        transports=transports,
        backup_eligible=int(found.credential_device_type == CredentialDeviceType.MULTI_DEVICE),
        backed_up=int(found.credential_backed_up),
        user_verified=int(found.user_verified),
        aaguid=found.aaguid,
        created_at=unit.now,
    )
    unit.orm.add(passkey)
    try:
        unit.flush()
    except IntegrityError:
        # Anybody's: whoever shows a credential id that was seen before is no owner of it.
        raise invalid("the credential is registered already") from None
    _record(unit, FactorAdded, passkey, actor)
    return passkey


def request_options(unit: UnitOfWork, *, challenge: bytes, user_id: str | None) -> str:
    """`PublicKeyCredentialRequestOptionsJSON`: for any passkey, or for one of this user.

    A list only once a password said who it is: before, it would tell strangers who has passkeys.
    """
    if user_id is None:
        return options_for_anybody(unit.settings, challenge=challenge)
    options = generate_authentication_options(
        rp_id=rp_id(unit.settings),
        challenge=challenge,
        timeout=_TIMEOUT,
        allow_credentials=_descriptors(
            one for one in of(unit, user_id) if one.suspended_at is None
        ),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return options_to_json(options)


def options_for_anybody(settings: Settings, *, challenge: bytes) -> str:
    """The same for whoever comes: nothing is looked up, and the passkey must verify its user."""
    options = generate_authentication_options(
        rp_id=rp_id(settings),
        challenge=challenge,
        timeout=_TIMEOUT,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify(
    unit: UnitOfWork, *, credential: str, challenge: bytes, user_id: str | None
) -> Verified | Suspended:
    """The proof in an answer to `request_options` (section 7.2), which must be committed.

    With `user_id` None it is whoever the passkey names, and its user must have been verified.
    Raises `Refused` (`invalid_passkey`) before anything is written.
    """
    sent = assertion(credential)
    passkey = unit.orm.scalar(select(Passkey).where(Passkey.credential_id == sent.id))
    if passkey is None:
        raise invalid("unknown credential")
    if user_id is not None and passkey.user_id != user_id:
        raise invalid("a credential of somebody else")
    handle = sent.response.user_handle
    if handle is None and user_id is None:
        raise invalid("no userHandle")
    if handle is not None and handle != passkey.user_id.encode():
        raise invalid("userHandle of somebody else")
    found = verify_assertion(
        sent,
        _expected(unit, challenge),
        public_key=passkey.public_key,
        user_verification="required" if user_id is None else "preferred",
    )
    is_eligible = found.credential_device_type == CredentialDeviceType.MULTI_DEVICE
    if is_eligible != bool(passkey.backup_eligible):
        raise invalid("backup eligibility changed")
    # Whoever removes a passkey holds its user first; two orders are a deadlock on PostgreSQL.
    factors.hold(unit, passkey.user_id)
    if not _note_use(unit, passkey, found):
        return _suspended(unit, passkey)
    return Verified(passkey.user_id, passkey, _proof(passkey, found))


def of(unit: UnitOfWork, user_id: str) -> list[Passkey]:
    """Somebody's passkeys, the oldest first; suspended ones too."""
    mine = select(Passkey).where(Passkey.user_id == user_id)
    return list(unit.orm.scalars(mine.order_by(Passkey.created_at, Passkey.id)))


def one_of(unit: UnitOfWork, user_id: str, passkey_id: str) -> Passkey | None:
    """The passkey with this id, if it is theirs."""
    return unit.orm.scalar(
        select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user_id)
    )


def rename(unit: UnitOfWork, passkey: Passkey, name: str, actor: Actor) -> None:
    """Gives a passkey another name; raises `Refused` (`invalid_label`)."""
    shown = label(name, default=DEFAULT_NAME)
    if shown == passkey.name:
        return
    passkey.name = shown
    _record(unit, FactorRenamed, passkey, actor)


def remove(unit: UnitOfWork, passkey: Passkey, actor: Actor) -> None:
    """Takes this passkey no more.

    Raises `Refused` (`last_factor`, 409) when nothing would be left to sign in with.
    """
    factors.hold(unit, passkey.user_id)
    if passkey.suspended_at is None and not _can_sign_in_without(unit, passkey):
        raise Refused(
            "last_factor",
            "This passkey is all you can sign in with. Please add another way first.",
            409,
        )
    gone = unit.connection.execute(delete(Passkey).where(Passkey.id == passkey.id)).rowcount
    if not gone:  # removed in another tab meanwhile
        return
    _record(unit, FactorRemoved, passkey, actor)
    factors.tidy(unit, passkey.user_id, actor)


def _can_sign_in_without(unit: UnitOfWork, passkey: Passkey) -> bool:
    """Whether its owner has a password or another passkey that is taken."""
    password = select(User.id).where(User.id == passkey.user_id, User.password_hash.is_not(None))
    others = select(Passkey.id).where(
        Passkey.user_id == passkey.user_id,
        Passkey.id != passkey.id,
        Passkey.suspended_at.is_(None),
    )
    return unit.orm.execute(password.union_all(others).limit(1)).first() is not None


def _note_use(unit: UnitOfWork, passkey: Passkey, found: VerifiedAuthentication) -> bool:
    """Moves the counter on, or tells that it did not move (section 7.2 step 22).

    One conditional statement, so that of two that come at once only an order is taken that a single
    authenticator could have made. Synced passkeys do not count: theirs stays 0.
    """
    count = found.new_sign_count
    moved = (
        update(Passkey)
        .where(
            Passkey.id == passkey.id,
            Passkey.suspended_at.is_(None),
            Passkey.sign_count < count if count else Passkey.sign_count == 0,
        )
        .values(sign_count=count, backed_up=int(found.credential_backed_up), last_used_at=unit.now)
    )
    changed = unit.connection.execute(moved).rowcount
    if unit.orm.get(Passkey, passkey.id, populate_existing=True) is None:
        raise invalid("removed meanwhile")
    return bool(changed)


def _proof(passkey: Passkey, found: VerifiedAuthentication) -> Authentication:
    """A key that may be copied is one in software, whatever holds it now (RFC 8176)."""
    is_bound = not passkey.backup_eligible
    verified = "aal3" if is_bound else "aal2"
    return Authentication(
        "passkey",
        ("hwk" if is_bound else "swk", "user"),
        verified if found.user_verified else "aal1",
        passkey.id,
    )


def _suspended(unit: UnitOfWork, passkey: Passkey) -> Suspended:
    """Suspends a passkey whose counter did not move, if it is not suspended yet."""
    if passkey.suspended_at is None:
        passkey.suspended_at = unit.now
        _record(unit, FactorSuspended, passkey, SYSTEM)
    return Suspended(passkey.user_id, passkey)


def _record(
    unit: UnitOfWork,
    kind: type[FactorAdded | FactorRemoved | FactorRenamed | FactorSuspended],
    passkey: Passkey,
    actor: Actor,
) -> None:
    unit.record(
        kind(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=passkey.user_id,
            kind="passkey",
            name=passkey.name,
            credential=passkey.id,
        )
    )


def _expected(unit: UnitOfWork, challenge: bytes) -> Expected:
    return Expected(challenge, rp_id(unit.settings), origins(unit.settings))


def _descriptors(passkeys: Iterable[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(one.credential_id),
            transports=[AuthenticatorTransport(name) for name in one.transports] or None,
        )
        for one in passkeys
    ]


def _full_name(unit: UnitOfWork, user: User) -> str:
    name = queries.claims_of(unit, user).get("name")
    return name if isinstance(name, str) and name else user.username

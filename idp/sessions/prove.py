"""Proving who one is, by any method: the order of the steps, and the one answer to every failure.

Three steps, because work must neither hold a transaction open nor come before it is counted:

1. a transaction that counts the attempt (limits are reserved before the work);
2. the work that takes time, for passwords: one hash for every attempt, outside any transaction;
3. a transaction that looks at the user again, and hands the proof to `then`, or records why not.

Whom a password is of is looked up before the first, which refuses a flood by reading alone. Between
the steps a user may have been disabled or have a new password: the third decides. What
comes of a proof (a session, a higher level) is not decided here.
Specs: NIST SP 800-63B-4 sections 3.1.1.2, 3.1.2, 3.1.4 and 3.2.2; RFC 8176 (`amr`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from sqlalchemy import bindparam, select

from idp.errors import Refused, Unavailable
from idp.events import queries as events
from idp.events.catalogue import LoginFailed, LoginThrottled
from idp.languages import Sentence
from idp.policy.assurance import Authentication
from idp.sessions import ceremony as ceremonies
from idp.sessions import epoch, locks
from idp.sessions.ceremony import Ceremony
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.queries import left_in_peace
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import factors, names, passkeys, person, recovery_codes, throttle, totp
from idp.users.model import ACTIVE
from idp.users.passwords import PasswordHasher
from idp.users.person import Account
from idp.users.throttle import Refusal

Code = Literal["totp", "recovery_code"]
Result = TypeVar("Result")
# What becomes of a proof, in the transaction that accepted it.
Then = Callable[[UnitOfWork, Account, Authentication], Result]

PASSWORD = Authentication(method="password", amr=("pwd",), acr="aal1")
NOT_THEM = "The user name or password is wrong."
WRONG_CODE = "This code is wrong, or was used before. Please try the next one."
WRONG_PASSKEY = "This passkey could not be used to sign in. Please try again."
SUSPENDED = (
    "There may be a copy of this passkey, so it is not taken any more. "
    "Please use another way to sign in, and remove it."
)
TOO_MANY_PASSWORDS = (
    "There were too many wrong tries. Please use a device you signed in on before, "
    "a passkey, or choose a new password with “Forgot your password?”."
)
TOO_MANY_CODES = (
    "There were too many wrong codes. Please use a device you signed in on before, "
    "a passkey or a recovery code."
)
# Whoever does one of these means everybody who is on their way in as well.
_SECURING = ("user.signed_out_everywhere", "session.disowned", "device.forgotten")
NO_LONGER_CURRENT = "This page is no longer current. Please try again."


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was proved: what to show, the HTTP status, and the seconds to wait if any."""

    sentence: str
    status: int
    retry_after: int | None = None
    # Nothing goes on from the ceremony: it was spent, or its person may not come in by it any more.
    is_over: bool = False


def password(
    work: Work,
    hasher: PasswordHasher,
    *,
    name: str,
    password: str,
    visit: Visit,
    then: Then[Result],
    present: str | None = None,
) -> Result | Rejected:
    """Proof by password, by whoever `name` (user name or e-mail address) belongs to.

    Here and below `present` is the secret of the session that `then` may end, whosever it is.
    Raises `Unavailable` when too many passwords are waiting; the attempt is not counted then.
    """
    key = names.key(name)
    name_key = key if key is not None else name
    with work.read() as unit:
        user_id, stored = person.named(unit, key)
        known = _known_device(unit, user_id, visit)
        over = throttle.refused_already(
            unit, user_id=user_id, name_key=name_key, ip=visit.ip, device=known
        )
    if over is not None:
        return _in_words(over, TOO_MANY_PASSWORDS)
    # Before anything is written: a flood that finds no place must not cost a commit each.
    with hasher.place("known" if known is not None else "anybody"):
        with work.begin() as unit:
            counted = throttle.reserve(
                unit, user_id=user_id, name_key=name_key, ip=visit.ip, device=known
            )
            if isinstance(counted, Refusal):
                return _throttled(unit, counted, visit, user_id, sentence=TOO_MANY_PASSWORDS)
        matched = hasher.verify(stored, password)
    right = stored if matched else None
    rehashed = _rehashed(hasher, right, password)
    with work.begin() as unit:
        user = _locked(unit, user_id, present)
        reason = _why_not(user, right)
        if user is None or reason is not None:
            return _failed(unit, user, visit, reason or "unknown_name", NOT_THEM)
        throttle.succeeded(unit, counted)
        if rehashed is not None:
            person.rehash(unit, user, rehashed)
        return then(unit, user, PASSWORD)


def code(
    work: Work,
    *,
    ceremony: Ceremony,
    method: Code,
    code: str,
    visit: Visit,
    then: Then[Result],
    present: str | None = None,
) -> Result | Rejected:
    """Proof by a one-time or recovery code, by the user of the ceremony, which it spends."""
    if ceremony.user_id is None:
        raise RuntimeError("a code is asked for once it is known whose")
    with work.begin() as unit:
        counted = throttle.reserve_code(
            unit,
            user_id=ceremony.user_id,
            ip=visit.ip,
            device=_known_device(unit, ceremony.user_id, visit),
            kind=method,
        )
        if isinstance(counted, Refusal):
            return _throttled(unit, counted, visit, ceremony.user_id, sentence=TOO_MANY_CODES)
    with work.begin() as unit:
        user = _locked(unit, ceremony.user_id, present)
        reason = _why_not_on(ceremony, user)
        if user is None or reason is not None:
            failed = _failed(unit, user, visit, reason or "unknown_name", NO_LONGER_CURRENT)
            return replace(failed, is_over=True)
        # Spent before the code is looked at, so that a form sent twice costs no recovery code.
        if not ceremonies.spend(unit, ceremony):
            return Rejected(NO_LONGER_CURRENT, 403, is_over=True)
        if method == "totp":
            proof = totp.verify(unit, user.id, code)
        else:
            proof = recovery_codes.burn(unit, user.id, code, ip=visit.ip)
        if proof is None:
            ceremonies.take_back(unit, ceremony)
            return _failed(unit, user, visit, f"wrong_{method}", WRONG_CODE)
        throttle.succeeded(unit, counted)
        return then(unit, user, proof)


def passkey(
    work: Work,
    *,
    ceremony: Ceremony,
    credential: str,
    visit: Visit,
    then: Then[Result],
    present: str | None = None,
) -> Result | Rejected:
    """Proof by a passkey, of the ceremony's user or, if it names none, of whom the passkey names."""
    with work.begin() as unit:
        counted = throttle.reserve_address(unit, ip=visit.ip)
        if isinstance(counted, Refusal):
            return _throttled(unit, counted, visit, ceremony.user_id)
        # Right or wrong: a challenge is answered once.
        if not ceremonies.spend(unit, ceremony):
            return Rejected(NO_LONGER_CURRENT, 400, is_over=True)
    with work.begin() as unit:
        try:
            verified = passkeys.verify(
                unit,
                credential=credential,
                challenge=ceremonies.challenge(ceremony, unit.vault),
                user_id=ceremony.user_id,
            )
        except Refused as refused:
            reason = f"{refused.code}: {refused.detail}"
            return _failed(unit, None, visit, reason, WRONG_PASSKEY, status=400)
        user = _locked(unit, verified.user_id, present)
        if isinstance(verified, passkeys.Suspended):
            return _failed(unit, user, visit, "suspended_passkey", SUSPENDED)
        why = _why_not_on(ceremony, user)
        if user is None or why is not None:
            failed = _failed(unit, user, visit, why or "unknown_name", WRONG_PASSKEY)
            return replace(failed, is_over=ceremony.user_id is not None)
        throttle.succeeded(unit, counted)
        return then(unit, user, verified.authentication)


def proved(
    unit: UnitOfWork, ceremony: Ceremony, visit: Visit, *, present: str | None
) -> Account | Rejected:
    """Whose a ceremony is in which everything was proved, if that still counts; spends it."""
    user = _locked(unit, ceremony.user_id, present)
    reason = _why_not_on(ceremony, user) or _undone_since(unit, ceremony)
    if user is None or reason is not None:
        rejected = _failed(unit, user, visit, reason or "unknown_name", NO_LONGER_CURRENT)
        return replace(rejected, is_over=True)
    if not ceremonies.spend(unit, ceremony):
        return Rejected(NO_LONGER_CURRENT, 403, is_over=True)
    return user


def _undone_since(unit: UnitOfWork, ceremony: Ceremony) -> str | None:
    """What would have ended the session since, had it begun at once; None when nothing would."""
    user_id = ceremony.user_id or ""
    for one in ceremony.proved:
        if one.credential is not None and not factors.is_taken(unit, user_id, one.credential):
            return "factor_removed"
    # Held: the session that this leads to would be of the next one.
    epoch.hold(unit)
    if epoch.present(unit).number != ceremony.epoch:
        return "everybody_signed_out"
    for type_ in _SECURING:
        newest = events.newest_of(unit, type_, user_id=user_id)
        if newest and newest[0].at > ceremony.begun_at:
            return type_
    return None


_FROM_DEVICE = HotStatement(
    select(Session.id)
    .where(
        Session.device_hash == bindparam("device"),
        Session.user_id == bindparam("person"),
        left_in_peace(),
    )
    .limit(1)
)


def _known_device(unit: UnitOfWork, user_id: str | None, visit: Visit) -> str | None:
    """The digest of the visitor's device if this user has signed in with it before.

    Asked for nobody, too: a name that leads nowhere costs as much as one that does (BF-10).
    """
    if visit.device_hash is None:
        return None
    found = unit.run(_FROM_DEVICE, {"device": visit.device_hash, "person": user_id or ""})
    return visit.device_hash if found else None


def _throttled(
    unit: UnitOfWork,
    refusal: Refusal,
    visit: Visit,
    user_id: str | None,
    *,
    sentence: str = "",
) -> Rejected:
    """The refusal in words; `sentence` is said of a long count."""
    if refusal.is_noteworthy:
        unit.record(
            LoginThrottled(
                actor="user",
                user_id=user_id,
                ip=visit.ip,
                reason=f"attempt {refusal.attempts}",
                scope=refusal.scope,
            )
        )
    return _in_words(refusal, sentence)


def _in_words(refusal: Refusal, sentence: str) -> Rejected:
    if refusal.scope == "ever":
        return Rejected(sentence, 429, refusal.retry_after)
    sentence = Sentence(
        "Too many attempts. Please wait %(count)s minute and try again.",
        "Too many attempts. Please wait %(count)s minutes and try again.",
        count=-(-refusal.retry_after // 60),
    )
    return Rejected(sentence, 429, refusal.retry_after)


def _failed(
    unit: UnitOfWork,
    user: Account | None,
    visit: Visit,
    reason: str,
    sentence: str,
    *,
    status: int = 403,
) -> Rejected:
    unit.record(
        LoginFailed(
            actor="user", user_id=user.id if user else None, ip=visit.ip, reason=reason[:200]
        )
    )
    return Rejected(sentence, status)


def _locked(unit: UnitOfWork, user_id: str | None, present: str | None) -> Account | None:
    """The user, so that a disabling that commits meanwhile is seen or waits for us."""
    if present is not None and user_id is not None:
        locks.people_meeting(unit, [user_id], present)
    return person.locked(unit, user_id)


def _rehashed(hasher: PasswordHasher, right: str | None, password: str) -> str | None:
    """A hash of today's cost where the right one has another; not worth a refused sign-in."""
    if right is None or not hasher.needs_rehash(right):
        return None
    try:
        return hasher.hash(password)
    except Unavailable:
        return None


def _why_not(user: Account | None, right: str | None) -> str | None:
    """Why this user may not come in, for the audit log; None when they may.

    `right` is the stored hash that the password matched, None when it matched none.
    """
    if user is None:
        return "unknown_name"
    if user.status != ACTIVE:
        return user.status
    if user.password_hash is None:
        return "no_password"
    # A hash that was replaced while the password was being checked is no longer the right one.
    return None if user.password_hash == right else "wrong_password"


def _why_not_on(ceremony: Ceremony, user: Account | None) -> str | None:
    """Why a ceremony must not go on for this user, for the audit log; None when it may."""
    if user is None:
        return "unknown_name"
    if user.status != ACTIVE:
        return user.status
    rests_on_password = any(one.method == "password" for one in ceremony.proved)
    if rests_on_password and user.password_changed_at != ceremony.password_changed_at:
        return "password_changed"
    return None

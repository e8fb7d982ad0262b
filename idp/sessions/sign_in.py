"""Signing in with a user name and a password.

Owns the order of the steps and the one answer to every failure. Three steps, because a hash must
neither hold a transaction open nor come before the attempt is counted:

1. a transaction that finds the user and counts the attempt (limits are reserved before the work);
2. the hash, one for every attempt, outside any transaction;
3. a transaction that looks at the user again and starts the session, or records why not.

Between the steps a user may have been disabled or have a new password: the third decides.
Specs: NIST SP 800-63B-4 sections 3.1.1.2 and 3.2.2; RFC 8176 (`amr`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from idp.errors import Refused, Unavailable
from idp.events.actor import Actor
from idp.events.catalogue import LoginFailed, LoginThrottled
from idp.sessions import lifecycle
from idp.sessions.device import Visit
from idp.sessions.lifecycle import Authentication
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import names, throttle
from idp.users import queries as users
from idp.users.model import ACTIVE, User
from idp.users.passwords import PasswordHasher
from idp.users.throttle import Refusal, Reservation

PASSWORD = Authentication(method="password", amr=("pwd",), acr="aal1")
WRONG = "The user name or password is wrong."


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody is signed in; `secret` is for their browser's cookie and is not stored."""

    session_id: str
    user_id: str
    secret: str
    # False when the browser's own session went on, and only its person proved themselves again.
    is_new_session: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nobody is signed in: what to show, the HTTP status, and the seconds to wait if any."""

    sentence: str
    status: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What step 1 found; `user_id` is None for a name that leads nowhere."""

    user_id: str | None
    password_hash: str | None
    reservation: Reservation


def sign_in(
    work: Work,
    hasher: PasswordHasher,
    *,
    name: str,
    password: str,
    visit: Visit,
    current: str | None,
    then: Callable[[UnitOfWork, SignedIn], None] | None = None,
) -> SignedIn | Rejected:
    """Signs in whoever `name` (user name or e-mail address) and `password` belong to.

    `current` is the secret of the browser's present session: if it lives and is the same person's,
    it goes on under a new secret; another person's ends. `then` is done in the transaction that
    begins the session. Raises `Unavailable` when too many passwords are waiting; the attempt is not
    counted then.
    """
    with work.begin() as unit:
        counted = _count(unit, name, visit)
    if isinstance(counted, Refusal):
        return _too_many(counted)
    try:
        matched = hasher.verify(counted.password_hash, password)
    except Unavailable:
        with work.begin() as unit:
            throttle.take_back(unit, counted.reservation)
        raise
    right = counted.password_hash if matched else None
    rehashed = _rehashed(hasher, right, password)
    with work.begin() as unit:
        # Locked, so that a disabling that commits meanwhile is seen or waits for us.
        user = unit.orm.get(User, counted.user_id or "", with_for_update=True)
        reason = _why_not(user, right)
        if user is None or reason is not None:
            unit.record(
                LoginFailed(
                    actor="user", user_id=user.id if user else None, ip=visit.ip, reason=reason
                )
            )
            return Rejected(WRONG, 403)
        throttle.succeeded(unit, counted.reservation)
        if rehashed is not None:
            user.password_hash = rehashed
        signed_in = _admit(unit, user, visit, current)
        if then is not None:
            then(unit, signed_in)
        return signed_in


def _count(unit: UnitOfWork, name: str, visit: Visit) -> _Candidate | Refusal:
    user = users.by_identifier(unit, name)
    outcome = throttle.reserve(
        unit,
        user_id=user.id if user is not None else None,
        name_key=_name_key(name),
        ip=visit.ip,
        device=_known_device(unit, user, visit),
    )
    if isinstance(outcome, Refusal):
        if outcome.is_noteworthy:
            unit.record(
                LoginThrottled(
                    actor="user",
                    user_id=user.id if user is not None else None,
                    ip=visit.ip,
                    reason=f"attempt {outcome.attempts}",
                    scope=outcome.scope,
                )
            )
        return outcome
    if user is None:
        return _Candidate(None, None, outcome)
    return _Candidate(user.id, user.password_hash, outcome)


def _name_key(name: str) -> str:
    try:
        return names.canonical(name)
    except Refused:
        return name


_FROM_DEVICE = HotStatement(
    select(Session.id)
    .where(Session.device_hash == bindparam("device"), Session.user_id == bindparam("person"))
    .limit(1)
)


def _known_device(unit: UnitOfWork, user: User | None, visit: Visit) -> str | None:
    """The digest of the visitor's device if this user has signed in with it before."""
    if user is None or visit.device_hash is None:
        return None
    found = unit.run(_FROM_DEVICE, {"device": visit.device_hash, "person": user.id})
    return visit.device_hash if found else None


def _too_many(refusal: Refusal) -> Rejected:
    minutes = -(-refusal.retry_after // 60)
    unit = "minute" if minutes == 1 else "minutes"
    return Rejected(
        f"Too many attempts. Please wait {minutes} {unit} and try again.", 429, refusal.retry_after
    )


def _rehashed(hasher: PasswordHasher, right: str | None, password: str) -> str | None:
    """A hash of today's cost where the right one has another; not worth a refused sign-in."""
    if right is None or not hasher.needs_rehash(right):
        return None
    try:
        return hasher.hash(password)
    except Unavailable:
        return None


def _why_not(user: User | None, right: str | None) -> str | None:
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


def _admit(unit: UnitOfWork, user: User, visit: Visit, current: str | None) -> SignedIn:
    present = lifecycle.resume(unit, current)
    if present is not None and present.user_id == user.id:
        secret = lifecycle.reauthenticate(unit, present, PASSWORD)
        return SignedIn(present.id, user.id, secret, is_new_session=False)
    if present is not None:
        lifecycle.end(unit, [present.id], reason="replaced", actor=Actor("user", user.id))
    started = lifecycle.start(unit, user, PASSWORD, visit)
    return SignedIn(started.session.id, user.id, started.secret, is_new_session=True)

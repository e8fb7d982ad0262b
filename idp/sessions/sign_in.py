"""Signing in: what must be proved for a session to begin, and beginning it.

Somebody with a second factor is asked for it whichever way they come (MF-01), unless this browser
was trusted before; a passkey that verified its user is both in one. Until everything is proved there
is no session, only a `Ceremony`; and none where a limit says that others must end first. A browser
that stays signed in begins a session that proves nothing, so nothing is asked for it
(`idp.sessions.remember`); everything is, when more is wanted.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from idp import ids
from idp.clock import Instant
from idp.events.actor import Actor
from idp.events.catalogue import LoginFailed, SecondFactorAsked
from idp.policy import limits
from idp.policy.admission import Barred
from idp.policy.assurance import Authentication
from idp.policy.deadlines import Ownership
from idp.policy.selection import Book
from idp.policy.timeouts import is_in_last_minutes
from idp.sessions import (
    admission,
    beginning,
    endings,
    epoch,
    lifecycle,
    marks,
    movement,
    prove,
    remember,
    remembering,
)
from idp.sessions import ceremony as ceremonies
from idp.sessions.beginning import Started
from idp.sessions.ceremony import Ceremony
from idp.sessions.device import Visit, describe
from idp.sessions.model import Session
from idp.sessions.prove import Rejected as Rejected
from idp.sessions.remember import Keepsake
from idp.sessions.remembering import Wish
from idp.sessions.subject import visiting
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import factors, rules, trusted_devices
from idp.users.passwords import PasswordHasher
from idp.users.person import Account, Person


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody is signed in; `secret` is for their browser's cookie and is not stored."""

    session_id: str
    user_id: str
    secret: str
    # False when the browser's own session went on, and only its person proved themselves again.
    is_new_session: bool
    # For the cookie by which this browser is trusted from now on, if that was asked for.
    trust: str | None = None
    # For the cookie by which it stays signed in, likewise.
    keepsake: Keepsake | None = None


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A second factor must be shown: the ceremony so far, and the methods that would do."""

    ceremony: Ceremony
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AtLimit:
    """Everything is proved, and a limit of sessions keeps this one from beginning.

    `full` says which, and whether its person may choose who makes room; the ceremony holds what was
    proved until they have.
    """

    ceremony: Ceremony
    full: limits.Full


@dataclass(frozen=True, slots=True)
class Entry:
    """Where somebody comes in.

    `current` is the secret of the browser's present session: if it lives and is the same person's,
    it goes on under a new secret, unless these are its last minutes; another person's ends. `then`
    is done in the transaction that begins the session. `ownership` says whether others use this
    device too; `wish` whether its browser shall stay signed in, as `remembered`, its cookie for that,
    may have kept it until now.
    """

    visit: Visit
    current: str | None
    then: Callable[[UnitOfWork, SignedIn], None] | None = None
    ownership: Ownership = "own"
    remembered: str | None = None
    wish: Wish = "leave"


def with_password(
    work: Work, hasher: PasswordHasher, *, name: str, password: str, entry: Entry
) -> SignedIn | SecondFactor | AtLimit | Rejected:
    """Signs in whoever `name` and `password` belong to, or says what must follow.

    Raises `Unavailable` when too many passwords are waiting.
    """

    def then(
        unit: UnitOfWork, user: Account, proof: Authentication
    ) -> SignedIn | SecondFactor | AtLimit | Rejected:
        able = factors.enrolled(unit, user.id)
        if not factors.has_second(able):
            return _admit(unit, user, [proof], entry)
        if trusted_devices.recognises(unit, user.id, entry.visit.trust_hash):
            return _admit(unit, user, [proof], entry)
        unit.record(SecondFactorAsked(actor="user", user_id=user.id, ip=entry.visit.ip))
        begun = ceremonies.begin(
            unit.now,
            purpose="sign_in",
            browser_hash=entry.visit.device_hash or "",
            user_id=user.id,
        )
        proved = replace(begun, proved=(proof,), password_changed_at=user.password_changed_at)
        return SecondFactor(proved, methods_for(able))

    return prove.password(
        work,
        hasher,
        name=name,
        password=password,
        visit=entry.visit,
        then=then,
        present=entry.current,
    )


def with_code(
    work: Work,
    *,
    ceremony: Ceremony,
    method: prove.Code,
    code: str,
    entry: Entry,
    trust: str | None,
) -> SignedIn | AtLimit | Rejected:
    """Goes on with a one-time or recovery code; see `_complete` for `trust`."""
    return prove.code(
        work,
        ceremony=ceremony,
        method=method,
        code=code,
        visit=entry.visit,
        then=_complete(ceremony, entry, trust),
        present=entry.current,
    )


def with_passkey(
    work: Work, *, ceremony: Ceremony, credential: str, entry: Entry, trust: str | None
) -> SignedIn | AtLimit | Rejected:
    """Signs in with a passkey: alone, or after the password that the ceremony holds."""
    return prove.passkey(
        work,
        ceremony=ceremony,
        credential=credential,
        visit=entry.visit,
        then=_complete(ceremony, entry, trust),
        present=entry.current,
    )


def with_cookie(
    work: Work, *, cookie: str, visit: Visit
) -> SignedIn | limits.Full | Rejected | None:
    """Signs in whoever a browser stays signed in for, with nothing proved; None when it does not.

    For a browser without a living session, and only when somebody asked for it (ASVS 7.6.2). No app's
    request learns of a proof. At a limit a whole sign-in is due: whoever proved nothing is shown no
    sessions and ends none.
    """
    with work.begin() as unit:
        shown = remember.read(unit, cookie, visit)
        if shown is not None and shown.is_good:
            barred = _barred(rules.book(unit), shown.user, visit, unit.now)
            if barred is not None:
                return _kept_out(unit, shown.user, visit, barred)
        entered = remember.enter(unit, cookie, visit)
        if entered is None:
            return None
        if isinstance(entered, limits.MustChoose | limits.Blocked):
            return entered
        return SignedIn(
            entered.session.id,
            entered.session.user_id,
            entered.secret,
            is_new_session=True,
            keepsake=entered.keepsake,
        )


def with_choice(
    work: Work,
    *,
    ceremony: Ceremony,
    giving_way: Collection[str],
    entry: Entry,
    trust: str | None,
) -> SignedIn | AtLimit | Rejected:
    """Goes on with those sessions over that the person chose, as far as they still must go.

    Decided anew: ids that are not among the candidates of this moment count for nothing, and where
    there is room by now nobody goes. Where there is not enough the ceremony stays good as long as it
    was, so that what was proved does not live on by choosing wrongly.
    """
    with work.begin() as unit:
        user = prove.proved(unit, ceremony, entry.visit, present=entry.current)
        if isinstance(user, Rejected):
            return user
        admitted = _admit(
            unit,
            user,
            [replace(one, at=ceremony.begun_at) for one in ceremony.proved],
            entry,
            giving_way=giving_way,
        )
        if isinstance(admitted, AtLimit):
            ceremonies.take_back(unit, ceremony)
            return replace(admitted, ceremony=ceremony)
        if isinstance(admitted, Rejected):
            return admitted
        return _trusting(unit, user, admitted, ceremony.proved, entry, trust)


def methods_for(able: dict[str, str]) -> tuple[str, ...]:
    """The second factors somebody has, the best first."""
    return tuple(one for one in ("passkey", "totp", "recovery_code") if one in able)


def _complete(
    ceremony: Ceremony, entry: Entry, trust: str | None
) -> Callable[[UnitOfWork, Account, Authentication], SignedIn | AtLimit | Rejected]:
    """What a last proof leads to; `trust` is "device" where this browser shall be trusted."""

    def then(
        unit: UnitOfWork, user: Account, proof: Authentication
    ) -> SignedIn | AtLimit | Rejected:
        proved = (*ceremony.proved, proof)
        admitted = _admit(unit, user, proved, entry)
        if not isinstance(admitted, SignedIn):
            return admitted
        return _trusting(unit, user, admitted, proved, entry, trust)

    return then


def _trusting(
    unit: UnitOfWork,
    user: Account,
    signed_in: SignedIn,
    proved: Sequence[Authentication],
    entry: Entry,
    trust: str | None,
) -> SignedIn:
    """Trusts the browser where that was asked for, by somebody who just showed two factors."""
    if trust != "device" or len(proved) < 2 or entry.ownership != "own":
        return signed_in
    # A secret of its own, new at this moment: nobody can have planted it before.
    secret = ids.new_secret()
    device = trusted_devices.trust(
        unit,
        user,
        device_hash=ids.digest(secret),
        name=describe(entry.visit).label,
        actor=Actor("user", signed_in.session_id),
    )
    marks.note_trusted_device(unit, signed_in.session_id, device.id)
    return replace(signed_in, trust=secret)


def _admit(
    unit: UnitOfWork,
    user: Account,
    proved: Sequence[Authentication],
    entry: Entry,
    *,
    giving_way: Collection[str] = (),
) -> SignedIn | AtLimit | Rejected:
    book = rules.book(unit)
    present = _present(unit, user, entry, book)
    is_own = present is not None and present.user_id == user.id
    barred = _barred(book, user, entry.visit, unit.now)
    # After closing time nobody new comes in; who is in goes on until the grace is over.
    is_closed = barred is not None and is_own and barred.why == "outside_hours"
    if barred is not None and not is_closed:
        return _kept_out(unit, user, entry.visit, barred)
    is_ending = present is not None and is_in_last_minutes(present.expires_at, unit.now)
    if present is not None and is_own and (is_closed or not is_ending):
        session_id = present.id
        secret = lifecycle.reauthenticate(unit, present, proved, entry.visit)
        is_new = False
    else:
        started = beginning.start(
            unit,
            user,
            proved,
            entry.visit,
            ownership=entry.ownership,
            giving_way=giving_way,
            instead_of=present.id if present is not None else None,
        )
        if not isinstance(started, Started):
            return AtLimit(_proved_all(unit, user, proved, entry), started)
        if present is not None:
            why: endings.EndReason = "renewed" if is_own else "replaced"
            lifecycle.end(unit, [present.id], reason=why, actor=Actor("user", user.id))
        session_id, secret, is_new = started.session_id, started.secret, True
    keepsake = remembering.after_sign_in(
        unit,
        user,
        session_id,
        proved,
        visit=entry.visit,
        cookie=entry.remembered,
        # Whoever comes after would be signed in by it.
        wish=entry.wish if entry.ownership == "own" else "forget",
    )
    signed_in = SignedIn(session_id, user.id, secret, is_new_session=is_new, keepsake=keepsake)
    if entry.then is not None:
        entry.then(unit, signed_in)
    return signed_in


def _present(unit: UnitOfWork, user: Account, entry: Entry, book: Book) -> Session | None:
    """The session that this browser is in, if it still is after being used from here."""
    present = lifecycle.resume(unit, entry.current)
    if present is not None and present.user_id == user.id:
        found = movement.judge(present, tuple(user.roles), entry.visit, book, unit.now)
        if found.fate in ("challenged", "ended"):
            movement.carry_out(unit, present.id, found, entry.visit)
        if found.fate == "ended":
            return None
    return present


def _barred(book: Book, user: Person, visit: Visit, now: Instant) -> Barred | None:
    return admission.barred(book, visiting(visit, user.roles), now)


def _kept_out(unit: UnitOfWork, user: Person, visit: Visit, barred: Barred) -> Rejected:
    unit.record(LoginFailed(actor="user", user_id=user.id, ip=visit.ip, reason=barred.why))
    return Rejected(admission.sentence(barred), 403)


def _proved_all(
    unit: UnitOfWork, user: Account, proved: Sequence[Authentication], entry: Entry
) -> Ceremony:
    """A ceremony for the page on which somebody chooses who makes room."""
    begun = ceremonies.begin(
        unit.now, purpose="choose", browser_hash=entry.visit.device_hash or "", user_id=user.id
    )
    return replace(
        begun,
        proved=tuple(proved),
        password_changed_at=user.password_changed_at,
        epoch=epoch.present(unit).number,
    )

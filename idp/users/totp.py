"""Codes of an authenticator app: adding one, checking its codes, each of which counts once.

Owns the rows of `totps`. Does not count attempts (`throttle`) and does not decide who must show a
code. The time is the server's; a code is taken for `assurance.totp_window` steps before and after
its own, because phones' clocks differ, and never again once it was taken.
Specs: RFC 6238 (TOTP: SHA-1, six digits, 30 seconds, as every app knows it), RFC 4226, the
`otpauth` key URI format, NIST SP 800-63B-4 section 3.1.4, RFC 8176 (`otp`).
"""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field

import pyotp
from sqlalchemy import bindparam, delete, select, update

from idp import ids
from idp.clock import SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import FactorAdded, FactorRemoved, FactorRenamed
from idp.languages import Sentence
from idp.policy.assurance import Authentication
from idp.settings import Settings
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, qr
from idp.users.credentials import Totp
from idp.users.labels import label
from idp.users.model import User

PERIOD = 30 * SECOND
MAXIMUM = 10
DEFAULT_NAME = "Authenticator app"
_SECRET_BYTES = 20  # RFC 4226 section 4, R6: 160 bits
_SECRET = re.compile(r"[A-Z2-7]{32}")
_DIGITS = re.compile(r"[0-9]{6}")
_TYPED_MAXIMUM = 64
# An app shows little more of the account; a whole one of 255 characters fits into no QR code.
_ACCOUNT_MAXIMUM = 64
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Proposal:
    """A secret that nobody has yet, to be put into an app: as text, as a URI, as an SVG image."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    qr: str = field(repr=False)


def proposal(secret: str, uri: str) -> Proposal:
    """A secret with its picture."""
    return Proposal(secret, uri, qr.drawn(uri, title="QR code for your authenticator app"))


def propose(settings: Settings, user: User) -> Proposal:
    """A new secret for this person. Nothing is kept of it until `enrol` sees a code made with it."""
    secret = base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    generator = pyotp.TOTP(secret, name=user.username[:_ACCOUNT_MAXIMUM], issuer=settings.name)
    uri = generator.provisioning_uri()
    return proposal(secret, uri)


def enrol(unit: UnitOfWork, user: User, *, secret: str, code: str, name: str, actor: Actor) -> Totp:
    """Adds the app that holds a proposed secret, once it showed a right code.

    That code counts as used: it does not also sign in. Raises `Refused`: `wrong_code`,
    `invalid_secret`, `invalid_label`, and with 409 `too_many_factors` and `already_added`.
    """
    if not _SECRET.fullmatch(secret):
        raise Refused("invalid_secret", "This key was not made here. Please begin again.")
    shown = label(name, default=DEFAULT_NAME)
    factors.hold(unit, user.id)
    theirs = of(unit, user.id)
    # The same secret twice would make each of its codes count twice.
    if any(hmac.compare_digest(_opened(unit, one.id, one.secret), secret) for one in theirs):
        raise Refused("already_added", "This authenticator app was added already.", 409)
    if len(theirs) >= MAXIMUM:
        raise Refused(
            "too_many_factors",
            Sentence(
                "There are %(most)s authenticator apps already. Please remove one first.",
                most=MAXIMUM,
            ),
            409,
        )
    digits = _digits(code)
    step = _matched(unit, secret, digits) if digits is not None else None
    if step is None:
        raise Refused("wrong_code", "This code is wrong. Please type the one the app shows now.")
    totp_id = ids.new("otp")
    totp = Totp(
        id=totp_id,
        user_id=user.id,
        name=shown,
        secret=unit.vault.seal_text(secret, _context(totp_id)),
        last_step=step,
        created_at=unit.now,
    )
    unit.orm.add(totp)
    unit.record(
        FactorAdded(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=user.id,
            kind="totp",
            name=shown,
            credential=totp_id,
        )
    )
    return totp


_THEIRS = HotStatement(
    select(Totp.id, Totp.secret)
    .where(Totp.user_id == bindparam("person"))
    .order_by(Totp.created_at, Totp.id)
)
# The replay guard (RFC 6238 section 5.2): of all who bring one code, the first to commit.
_TAKE = HotStatement(
    update(Totp)
    .where(Totp.id == bindparam("generator"), Totp.last_step < bindparam("step"))
    .values(last_step=bindparam("step"), last_used_at=bindparam("now"))
    .returning(Totp.id)
)


def verify(unit: UnitOfWork, user_id: str, code: str) -> Authentication | None:
    """The proof that a code of any of somebody's apps is, used with it; None when it is none.

    Whoever also changes the user's own row locks that first.
    """
    digits = _digits(code)
    if digits is None:
        return None
    for totp_id, sealed in unit.run(_THEIRS, {"person": user_id}):
        step = _matched(unit, _opened(unit, totp_id, sealed), digits)
        if step is not None:
            taken = unit.run(_TAKE, {"generator": totp_id, "step": step, "now": unit.now})
            return Authentication("totp", ("otp",), "aal1", totp_id) if taken else None
    return None


def of(unit: UnitOfWork, user_id: str) -> list[Totp]:
    """Somebody's apps, the oldest first."""
    return list(
        unit.orm.scalars(
            select(Totp).where(Totp.user_id == user_id).order_by(Totp.created_at, Totp.id)
        )
    )


def one_of(unit: UnitOfWork, user_id: str, totp_id: str) -> Totp | None:
    """The app with this id, if it is theirs."""
    return unit.orm.scalar(select(Totp).where(Totp.id == totp_id, Totp.user_id == user_id))


def rename(unit: UnitOfWork, totp: Totp, name: str, actor: Actor) -> None:
    """Gives an app another name; raises `Refused` (`invalid_label`)."""
    shown = label(name, default=DEFAULT_NAME)
    if shown == totp.name:
        return
    totp.name = shown
    unit.record(
        FactorRenamed(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=totp.user_id,
            kind="totp",
            name=shown,
            credential=totp.id,
        )
    )


def remove(unit: UnitOfWork, totp: Totp, actor: Actor) -> None:
    """Takes no code of this app any more; the last second factor takes with it what hangs on it."""
    factors.hold(unit, totp.user_id)
    gone = unit.connection.execute(delete(Totp).where(Totp.id == totp.id)).rowcount
    if not gone:  # removed in another tab meanwhile
        return
    unit.record(
        FactorRemoved(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=totp.user_id,
            kind="totp",
            name=totp.name,
            credential=totp.id,
        )
    )
    factors.tidy(unit, totp.user_id, actor)


def reseal(unit: UnitOfWork, *, after: str) -> tuple[int, str | None]:
    """Seals one batch of secrets, behind the id `after`, with the newest secret key (row B8).

    Gives how many were changed, and the id to go on from, or None at the end.
    """
    rows = unit.connection.execute(
        select(Totp.id, Totp.secret).where(Totp.id > after).order_by(Totp.id).limit(_BATCH)
    ).all()
    changed = 0
    for row in rows:
        if unit.vault.is_current(row.secret):
            continue
        sealed = unit.vault.seal_text(_opened(unit, row.id, row.secret), _context(row.id))
        unit.connection.execute(update(Totp).where(Totp.id == row.id).values(secret=sealed))
        changed += 1
    return changed, rows[-1].id if len(rows) == _BATCH else None


def _digits(typed: str) -> str | None:
    """The six digits that were typed, with whatever spaces; None when it is something else."""
    digits = "".join(typed.split()) if len(typed) <= _TYPED_MAXIMUM else ""
    return digits if _DIGITS.fullmatch(digits) else None


def _matched(unit: UnitOfWork, secret: str, digits: str) -> int | None:
    """The latest step of the window that has this code.

    The latest, because now and then two steps have the same code: with the earlier one marked as
    used, it could come again as the other's.
    """
    present, window = unit.now // PERIOD, unit.settings.assurance.totp_window
    generator = pyotp.TOTP(secret)
    found = None
    for step in range(present - window, present + window + 1):
        if hmac.compare_digest(generator.generate_otp(step), digits):
            found = step
    return found


def _opened(unit: UnitOfWork, totp_id: str, sealed: str) -> str:
    return unit.vault.open_text(sealed, _context(totp_id))


def _context(totp_id: str) -> str:
    return f"totp.secret:{totp_id}"

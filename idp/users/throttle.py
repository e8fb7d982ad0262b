"""Counting attempts, before a password, a code or a passkey is checked (row B6).

Owns the counters. An attempt is reserved by one atomic upsert that adds one and gives the count, so
that attempts that run side by side cannot pass one limit together (BF-02); they live in SQL, so
that nothing that is flushed forgets them (BF-08).

Who is counted: an account under its user id, whichever of its names was typed (BF-04); a name that
leads nowhere under a keyed digest of itself, with the same limit, so that counting does not show
who exists (BF-10); a device that signed in to the account before under a count of its own, so that
an attacker who spends the account's attempts does not lock its owner out (BF-07); and every attempt
under its address.

Passwords are counted twice: for a quarter of an hour, and for a month, so that a patient guesser
does not go on for ever (NIST SP 800-63B-4 section 3.2.2: at most 100 in a row). Codes have a count
for each kind, and for each known device; who gets that far has shown a password or holds a session,
so that strangers cannot spend it. A passkey cannot be guessed: only its address is counted.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import bindparam, case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from idp.clock import DAY, SECOND
from idp.storage.database import HotStatement, Row
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import Throttle

# "ever" is an account's long count.
Scope = Literal["account", "device", "address", "ever", "everybody"]
EVER = 30 * DAY


@dataclass(frozen=True, slots=True)
class Reservation:
    """One attempt that was counted and may go on: under its address, and under an account."""

    address_key: str
    # In the order they were counted in; none when it is not known whose attempt it is.
    account_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt over a limit: which, how many there were, and the seconds until the next one."""

    scope: Scope
    attempts: int
    limit: int
    retry_after: int

    @property
    def is_noteworthy(self) -> bool:
        """Whether to record it: the first, then at every doubling, so that a flood of refused
        attempts does not fill the audit log."""
        over, remainder = divmod(self.attempts - 1, self.limit)
        return remainder == 0 and over & (over - 1) == 0


def reserve(
    unit: UnitOfWork, *, user_id: str | None, name_key: str, ip: str | None, device: str | None
) -> Reservation | Refusal:
    """Counts one try of a password; must be committed before the password is looked at.

    `user_id` is None for a name that leads nowhere, which is then counted by `name_key`; `device`
    is the digest of a device that signed in to this very account before, else None.
    """
    address = reserve_address(unit, ip=ip)
    if isinstance(address, Refusal):
        return address
    counts = _of_password(unit, user_id=user_id, name_key=name_key, device=device)
    for key, scope, limit in counts:
        refusal = _count(unit, key, scope=scope, limit=limit)
        if refusal is not None:
            return refusal
    return Reservation(address.address_key, tuple(key for key, _, _ in counts))


def refused_already(
    unit: UnitOfWork, *, user_id: str | None, name_key: str, ip: str | None, device: str | None
) -> Refusal | None:
    """The refusal of a try whose limit was passed before, and told of; it need not be counted.

    Reads only, so that a flood that is refused costs no commit each. Decides nothing for tries that
    may go on: those are counted by `reserve`.
    """
    counts = [
        _of_address(unit, ip),
        *_of_password(unit, user_id=user_id, name_key=name_key, device=device),
    ]
    for key, scope, limit in counts:
        rows = unit.run(_PRESENT, {"counted": key, "now": unit.now})
        if rows and rows[0][0] > limit:
            return _refusal(unit, rows[0], scope=scope, limit=limit)
    return None


def reserve_code(
    unit: UnitOfWork,
    *,
    user_id: str,
    ip: str | None,
    device: str | None,
    kind: Literal["totp", "recovery_code"],
) -> Reservation | Refusal:
    """Counts one try of a code; must be committed before the code is looked at.

    Each kind has a count of its own, and so has each known device (see `reserve`): whoever knows
    the password and tries digits for weeks must not keep the owner from a recovery code, nor from
    digits where they signed in before. Digits also have the long count (NIST SP 800-63B-4 section
    3.2.2), which a right recovery code forgets.
    """
    address = reserve_address(unit, ip=ip)
    if isinstance(address, Refusal):
        return address
    limits = unit.settings.throttle
    of_device = f":device:{device[:32]}" if device is not None else ""
    key = f"{kind}:{user_id}{of_device}"
    refusal = _count(unit, key, scope="account", limit=limits.per_account_codes)
    if kind == "recovery_code":
        return refusal or Reservation(address.address_key, (key, f"ever:totp:{user_id}"))
    ever = f"ever:{key}"
    refusal = refusal or _count(unit, ever, scope="ever", limit=limits.per_account_ever)
    return refusal or Reservation(address.address_key, (key, ever))


def reserve_pairing_code(
    unit: UnitOfWork, *, user_id: str | None, ip: str | None
) -> Reservation | Refusal:
    """Counts one try of another device's code; must be committed before it is looked for (XD-05).

    By address, and by person where somebody is signed in.
    """
    limits = unit.settings.throttle
    address_key = f"pairing:{network_of(ip)}"
    refusal = _count(unit, address_key, scope="address", limit=limits.per_address_pairing_codes)
    if refusal is not None or user_id is None:
        return refusal or Reservation(address_key)
    key = f"pairing:{user_id}"
    refusal = _count(unit, key, scope="account", limit=limits.per_account_pairing_codes)
    return refusal or Reservation(address_key, (key,))


def pairing_code_was_right(unit: UnitOfWork, reservation: Reservation) -> None:
    """Takes this one try back, and no other: anybody can have right codes of their own devices."""
    for key in (reservation.address_key, *reservation.account_keys):
        _take_back(unit, key)


def pairing_code_was_wrong(unit: UnitOfWork, *, alarm: int) -> Refusal | None:
    """Counts a wrong code of everybody's; gives how it stands once they are more than `alarm`.

    That stops nobody: who guesses is stopped by the counts of their own.
    """
    return _count(unit, "pairing", scope="everybody", limit=alarm)


def reserve_address(unit: UnitOfWork, *, ip: str | None) -> Reservation | Refusal:
    """Counts one attempt of which only the address is known, or matters."""
    # Always the address first: one that floods us must not spend the account's attempts as well.
    # Whoever changes several counts keeps to this order, because two orders are a deadlock on
    # PostgreSQL.
    key, scope, limit = _of_address(unit, ip)
    return _count(unit, key, scope=scope, limit=limit) or Reservation(key)


def succeeded(unit: UnitOfWork, reservation: Reservation) -> None:
    """Forgets the account's wrong attempts; of the address only this one, which was right.

    Were the address forgotten too, an attacker could clear it by signing in as themselves.
    """
    _take_back(unit, reservation.address_key)
    for key in reservation.account_keys:
        unit.run(_FORGET, {"counted": key})


def forgive(unit: UnitOfWork, *, user_id: str) -> None:
    """Forgets wrong passwords for an account: they were tries of one that has been reset.

    Not those of codes: whoever reads the mail gets no new tries of them.
    """
    for key in (f"account:{user_id}", f"ever:account:{user_id}"):
        unit.run(_FORGET, {"counted": key})
    for prefix in (f"account:{user_id}:device:", f"ever:account:{user_id}:device:"):
        of_devices = Throttle.key.startswith(prefix, autoescape=True)
        unit.connection.execute(delete(Throttle).where(of_devices))


def forget_past(unit: UnitOfWork) -> int:
    """Deletes counters whose window is over; gives how many. The worker calls it."""
    past = (
        select(Throttle.key)
        .where(Throttle.window_ends_at <= unit.now)
        .with_for_update(skip_locked=True)  # waiting for a sign-in here could be a deadlock
    )
    return unit.connection.execute(delete(Throttle).where(Throttle.key.in_(past))).rowcount


def _count(unit: UnitOfWork, key: str, *, scope: Scope, limit: int) -> Refusal | None:
    window = EVER if scope == "ever" else unit.settings.throttle.window * SECOND
    values = {"counted": key, "now": unit.now, "ends_at": unit.now + window}
    row = unit.run(_INCREMENT[unit.is_sqlite], values)[0]
    return _refusal(unit, row, scope=scope, limit=limit) if row[0] > limit else None


def _refusal(unit: UnitOfWork, row: Row, *, scope: Scope, limit: int) -> Refusal:
    """The refusal for a count that stands at `row` (attempts, end of the window)."""
    return Refusal(scope, row[0], limit, -(-(row[1] - unit.now) // SECOND))


def _of_address(unit: UnitOfWork, ip: str | None) -> tuple[str, Scope, int]:
    """The count of an address: its key, scope and limit."""
    return f"address:{network_of(ip)}", "address", unit.settings.throttle.per_address


def _of_password(
    unit: UnitOfWork, *, user_id: str | None, name_key: str, device: str | None
) -> list[tuple[str, Scope, int]]:
    """The counts that one try of a password adds to beside its address, in their order.

    The long one last: what the short one refuses is no guess, and an attacker could use up a month
    in a minute.
    """
    limits = unit.settings.throttle
    key = f"account:{user_id}" if user_id is not None else _name_key(unit, name_key)
    short: tuple[str, Scope, int] = (key, "account", limits.per_account)
    if user_id is not None and device is not None:
        short = (f"{key}:device:{device[:32]}", "device", limits.per_account_device)
    return [short, (f"ever:{short[0]}", "ever", limits.per_account_ever)]


def _upsert(dialect: Any) -> HotStatement:
    is_over = Throttle.window_ends_at <= bindparam("now")
    first = dialect.insert(Throttle).values(
        key=bindparam("counted"), window_ends_at=bindparam("ends_at"), count=1
    )
    return HotStatement(
        first.on_conflict_do_update(
            index_elements=[Throttle.key],
            set_={
                "count": case((is_over, 1), else_=Throttle.count + 1),
                "window_ends_at": case(
                    (is_over, bindparam("ends_at")), else_=Throttle.window_ends_at
                ),
            },
        ).returning(Throttle.count, Throttle.window_ends_at)
    )


# By whether the database is SQLite: "insert, or else" is not in the common language.
_INCREMENT = {True: _upsert(sqlite), False: _upsert(postgresql)}
_PRESENT = HotStatement(
    select(Throttle.count, Throttle.window_ends_at).where(
        Throttle.key == bindparam("counted"), Throttle.window_ends_at > bindparam("now")
    )
)
_FORGET = HotStatement(delete(Throttle).where(Throttle.key == bindparam("counted")))
_DECREMENT = HotStatement(
    update(Throttle)
    .where(
        Throttle.key == bindparam("counted"),
        Throttle.window_ends_at > bindparam("now"),
        Throttle.count > 0,
    )
    .values(count=Throttle.count - 1)
)


def _take_back(unit: UnitOfWork, key: str) -> None:
    unit.run(_DECREMENT, {"counted": key, "now": unit.now})


def _name_key(unit: UnitOfWork, name: str) -> str:
    # A digest, because people type passwords and other people's addresses into this field.
    tag = unit.vault.mac(name.encode("utf-8", "surrogatepass"), "throttle name")
    return f"name:{tag.hex()[:32]}"


def network_of(ip: str | None) -> str:
    """The address that is counted: IPv4 whole, IPv6 by /64, which is what one person is given."""
    if ip is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))

"""Room for one more session: the rows and rules that `idp.policy.limits` decides from.

Reads only, under the lock of the person that the caller holds, so that of sign-ins that run side by
side each sees the sessions of those before it (row L8). All of a person's sessions count, wherever
they came from.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import and_, bindparam, null, or_, select

from idp.clock import Instant
from idp.policy import limits
from idp.policy.assurance import LADDER
from idp.policy.limits import Running
from idp.policy.selection import Book, Subject
from idp.sessions import life
from idp.sessions.model import Session
from idp.sessions.subject import subject
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.credentials import TrustedDevice
from idp.users.person import Person

_RUNNING = HotStatement(
    select(
        Session.id,
        Session.device_type,
        Session.address,
        Session.asn,
        Session.country,
        Session.last_active_at,
        Session.created_at,
        or_(Session.kept == 1, TrustedDevice.id != null()),
        Session.acr,
    )
    .outerjoin(
        TrustedDevice,
        and_(
            TrustedDevice.id == Session.trusted_device_id,
            TrustedDevice.user_id == Session.user_id,
            TrustedDevice.expires_at > bindparam("now"),
        ),
    )
    .where(Session.user_id == bindparam("person"), life.alive(bindparam("now")))
)


class _Row(NamedTuple):
    """A row of it, by name."""

    id: str
    device_type: str
    address: str | None
    asn: int | None
    country: str | None
    last_active_at: Instant
    created_at: Instant
    is_kept: int
    acr: str


def running(unit: UnitOfWork, user_id: str, *, host: str | None = None) -> list[Running]:
    """Somebody's living sessions as limits see them, when `host` is the one that lets another in."""
    rows = unit.run(_RUNNING, {"person": user_id, "now": unit.now})
    return [
        Running(
            id=row.id,
            subject=subject(row, ()),
            last_active_at=row.last_active_at,
            created_at=row.created_at,
            is_kept=bool(row.is_kept),
            is_host=row.id == host,
            is_proved=row.acr != LADDER[0],
        )
        for row in map(_Row._make, rows)
    ]


def decide(
    unit: UnitOfWork,
    book: Book,
    user: Person,
    newcomer: Subject,
    *,
    proving: limits.Proving,
    host: str | None = None,
    without: Collection[str] = (),
) -> limits.Decision:
    """What the beginning of a session leads to, once those in `without` are over.

    `host` is the session that lets it in.
    """
    beside = [one for one in running(unit, user.id, host=host) if one.id not in without]
    possible = limits.possible(book["limits"], user.roles)
    return limits.decide(possible, beside, newcomer, proving=proving)

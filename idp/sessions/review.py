"""Rules that changed, applied to the sessions that run: their deadlines move nearer, never further.

A tightened rule holds for everybody it is for, also for whoever signed in before; a loosened one for
sessions that begin from now on. The change leaves a mark in its own transaction, and the worker goes
through the running sessions in batches, with the place it has reached in the transaction of each
batch: a crash repeats nothing and leaves nothing out, and another change begins anew. Doing it twice
changes nothing, because every write is conditional on being nearer.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, String, case, literal, select, tuple_, update

from idp.clock import Duration, Instant
from idp.events.catalogue import RuleChanged, RulesApplied, UserChanged
from idp.policy import deadlines, timeouts
from idp.policy.selection import Book
from idp.sessions import endings, epoch, life, locks
from idp.sessions.model import Review, Session
from idp.sessions.subject import subject
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules
from idp.users.model import User

# Sessions looked at in one transaction.
BATCH = 200
# Rules that say when sessions end; what the others say is asked whenever a session is used.
KINDS = frozenset({"timeouts", "hours"})
_DEADLINES = "deadlines"


def owe(unit: UnitOfWork, event: RuleChanged) -> None:
    """Subscriber: the sessions that run have to be looked at, from the first one on."""
    if event.kind not in KINDS:
        return
    due = unit.orm.get(Review, _DEADLINES, with_for_update=True)
    if due is None:
        due = Review(name=_DEADLINES)
        unit.orm.add(due)
    due.after_expires_at, due.after_id, due.nearer = 0, "", 0
    unit.flush()


def of_person(unit: UnitOfWork, event: UserChanged) -> None:
    """Subscriber: other roles, other rules, for this person's sessions at once."""
    if "roles" not in event.changed:
        return
    unit.flush()
    _apply(unit, unit.connection.execute(_running().where(Session.user_id == event.user_id)))


def go_on(unit: UnitOfWork, *, batch: int = BATCH) -> int:
    """Looks at the next sessions of a review that is due; gives how many. The worker calls it."""
    due = unit.orm.get(Review, _DEADLINES, with_for_update=True)
    if due is None:
        return 0
    reached = (due.after_expires_at, due.after_id)
    found = unit.connection.execute(
        _running()
        .where(tuple_(Session.expires_at, Session.id) > reached)
        .order_by(Session.expires_at, Session.id)
        .limit(batch)
    ).all()
    locks.people_of(unit, [row.id for row in found])
    due.nearer += _apply(unit, found)
    if len(found) < batch:
        unit.orm.delete(due)
        unit.record(RulesApplied(nearer=due.nearer))
    else:
        # As it was read: one that moved nearer is behind us now, and was looked at.
        due.after_expires_at, due.after_id = found[-1].expires_at, found[-1].id
    return len(found)


def nearer(
    book: Book, row: Any, now: Instant
) -> tuple[Duration | None, tuple[Instant, str | None] | None]:
    """By the rules in `book`, of a running session: a shorter idle timeout, and a nearer end with its
    reason; None for what stays."""
    found = deadlines.of(book, subject(row, row.roles), begun=row.created_at, now=now)
    idle = found.idle if found.idle < row.idle_timeout else None
    end = (found.expires_at, found.reason) if found.expires_at < row.expires_at else None
    return idle, end


def _running() -> Select[Any]:
    columns: tuple[Any, ...] = (
        Session.id,
        Session.created_at,
        Session.idle_at,
        Session.expires_at,
        Session.idle_timeout,
        Session.device_type,
        Session.address,
        Session.asn,
        Session.country,
        User.roles,
    )
    joined = select(*columns).join(User, User.id == Session.user_id)
    # Deadlines are looked at in `_apply`: SQLite would begin every batch at those of now, and not at
    # the place that was reached.
    return joined.where(life.unmarked(), epoch.is_current())


def _reason(reason: str | None) -> ColumnElement[str | None]:
    """Why it will end; what ends for a new password ends for that, and takes offline access along."""
    return case(
        (Session.expiry_reason == endings.ENDS_SOON, endings.ENDS_SOON),
        else_=literal(reason, String),
    )


def _apply(unit: UnitOfWork, rows: Iterable[Any]) -> int:
    """Moves deadlines nearer where the rules say so; gives of how many sessions."""
    book, count = rules.book(unit), 0
    for row in sorted(rows, key=lambda one: str(one.id)):  # one order for all: no deadlock
        if timeouts.ran_out(idle_at=row.idle_at, expires_at=row.expires_at, now=unit.now):
            continue
        idle, end = nearer(book, row, unit.now)
        if idle is not None:
            unit.connection.execute(
                update(Session)
                .where(Session.id == row.id, life.unmarked())
                .where(Session.idle_timeout > idle)
                .values(idle_timeout=idle, idle_at=Session.last_active_at + idle)
            )
        if end is not None:
            unit.connection.execute(
                update(Session)
                .where(Session.id == row.id, life.unmarked())
                .where(Session.expires_at > end[0])
                .values(expires_at=end[0], expiry_reason=_reason(end[1]))
            )
        count += idle is not None or end is not None
    return count

"""Everybody at once: a session of an older epoch is over, before anybody has come to mark it.

Marking a million sessions, each with its event and what is owed to its apps, takes minutes; nothing of
them may be good for so long. So there is one number. A session is begun in the present epoch, which is
read in the very statement that inserts it; beginning the next one ends all that were begun before, in
one update of one row. No clock is compared, and who signs in at that moment is in one epoch or in the
other. Every check of whether a session lives looks at it (`life`, the facts of the protocol
endpoints); `lifecycle.end`, whoever calls it, marks such a session with the end that it had.

A request that was decided just before may be answered just after; what it got dies at its next check.
What would not die (a session that rests on an older one, another password) is made only by whoever
holds the epoch (`hold`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    String,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from idp.clock import Instant
from idp.events.actor import Actor
from idp.sessions.endings import EXPIRY
from idp.sessions.model import RememberedBrowser, Session, SessionEpoch
from idp.storage.unit_of_work import UnitOfWork

REASON: Literal["admin"] = "admin"
# Written out, because PostgreSQL must know its type beside that of a parameter.
_REASON: ColumnElement[str] = literal_column(f"'{REASON}'", String)
# What this ends although time had ended its session: grants that outlive only that.
_OUTLIVED = tuple(sorted(EXPIRY))


def begin(unit: UnitOfWork, actor: Actor) -> int:
    """Ends everybody's sessions, effective with the commit; gives the number of the new epoch.

    Whoever asks sees to it that they are marked (`idp.admin.bulk`).
    """
    return unit.connection.execute(
        update(SessionEpoch)
        .values(
            number=SessionEpoch.number + 1,
            began_at=unit.now,
            actor=actor.kind,
            actor_id=actor.id,
        )
        .returning(SessionEpoch.number)
    ).scalar_one()


def hold(unit: UnitOfWork) -> None:
    """Keeps the present epoch until this transaction is over: for whoever finds that something is of
    it, and makes by that what will live in the epoch of its own commit."""
    # SQLite has one writer at a time.
    if not unit.is_sqlite:
        unit.flush()
        unit.connection.execute(select(SessionEpoch.number).with_for_update(read=True))


@dataclass(frozen=True, slots=True)
class Epoch:
    """The present one: since when, and who began it."""

    number: int
    began_at: Instant
    actor: str
    actor_id: str | None


def present(unit: UnitOfWork) -> Epoch:
    """The epoch of this moment, for judging rows that were read."""
    columns = (
        SessionEpoch.number,
        SessionEpoch.began_at,
        SessionEpoch.actor,
        SessionEpoch.actor_id,
    )
    return Epoch(*unit.connection.execute(select(*columns)).one())


def is_current(model: type[Session | RememberedBrowser] = Session) -> ColumnElement[bool]:
    """SQL for "begun in the present epoch"."""
    return model.epoch >= select(SessionEpoch.number).scalar_subquery()


def begun_until(
    at: Instant, model: type[Session | RememberedBrowser] = Session
) -> ColumnElement[bool]:
    """SQL for "begun by then, or in an older epoch": what is over when everybody's end was asked for
    at that instant, whatever the clock of the node said that began it."""
    return or_(model.created_at <= at, ~is_current(model))


def ended_at() -> ColumnElement[Any]:
    """SQL for when a session ended: as it was marked, or with its epoch."""
    return func.coalesce(Session.ended_at, _of_epoch(SessionEpoch.began_at))


def end_reason() -> ColumnElement[Any]:
    """SQL for why a session ended, where its epoch comes before time."""
    by_time = or_(Session.end_reason.is_(None), *(Session.end_reason == one for one in _OUTLIVED))
    return case((by_time & ~is_current(), _REASON), else_=Session.end_reason)


def marked(at: Any, reason: Any, by: Any, by_id: Any) -> dict[str, ColumnElement[Any]]:
    """The columns of an end, for who ends a session now: that of its epoch if it had one before."""
    return {
        "ended_at": func.coalesce(_of_epoch(SessionEpoch.began_at), at),
        "end_reason": case((~is_current(), _REASON), else_=reason),
        "ended_by": func.coalesce(_of_epoch(SessionEpoch.actor), by),
        "ended_by_id": case((~is_current(), _of_epoch(SessionEpoch.actor_id)), else_=by_id),
    }


def _of_epoch(column: Any) -> ScalarSelect[Any]:
    return select(column).where(SessionEpoch.number > Session.epoch).scalar_subquery()

"""Reading the audit log."""

from sqlalchemy import select

from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork


def at_position(unit: UnitOfWork, position: int) -> EventRow | None:
    """The event at a position of the chain."""
    return unit.orm.scalar(select(EventRow).where(EventRow.position == position))


def newest(
    unit: UnitOfWork,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    of_type: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[EventRow]:
    """Events, the newest first, of one user, session or type if given; written before the event at
    position `before`.
    """
    wanted = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
    if user_id is not None:
        wanted = wanted.where(EventRow.user_id == user_id)
    if session_id is not None:
        wanted = wanted.where(EventRow.session_id == session_id)
    if of_type is not None:
        wanted = wanted.where(EventRow.type == of_type)
    if before is not None:
        marked = select(EventRow.id).where(EventRow.position == before)
        wanted = wanted.where(EventRow.id < marked.scalar_subquery())
    return list(unit.orm.scalars(wanted))

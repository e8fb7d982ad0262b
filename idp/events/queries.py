"""Reading the audit log."""

from sqlalchemy import select

from idp.events.model import IS_SOUGHT, SOUGHT, EventRow
from idp.storage.unit_of_work import UnitOfWork


def at_position(unit: UnitOfWork, position: int) -> EventRow | None:
    """The event at a position of the chain."""
    return unit.orm.scalar(select(EventRow).where(EventRow.position == position))


def newest(unit: UnitOfWork, *, user_id: str, limit: int) -> list[EventRow]:
    """The latest about a person, the newest first."""
    about = select(EventRow).where(EventRow.user_id == user_id)
    return list(unit.orm.scalars(about.order_by(EventRow.id.desc()).limit(limit)))


def newest_of(
    unit: UnitOfWork, type_: str, *, user_id: str, session_id: str | None = None, limit: int = 1
) -> list[EventRow]:
    """The latest of one of the types in `SOUGHT` about a person, or one session of theirs, the newest
    first.

    By an index, however long their log is; of other types there is none.
    """
    if type_ not in SOUGHT:
        raise ValueError(f"there is no index of {type_}")
    about = select(EventRow).where(EventRow.user_id == user_id, EventRow.type == type_, IS_SOUGHT)
    if session_id is not None:
        about = about.where(EventRow.session_id == session_id)
    return list(unit.orm.scalars(about.order_by(EventRow.id.desc()).limit(limit)))

"""Reading the audit log."""

from sqlalchemy import select

from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork


def newest(
    unit: UnitOfWork,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    of_type: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[EventRow]:
    """Events, the newest first, of one user, session or type if given; behind row `before`."""
    wanted = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
    if user_id is not None:
        wanted = wanted.where(EventRow.user_id == user_id)
    if session_id is not None:
        wanted = wanted.where(EventRow.session_id == session_id)
    if of_type is not None:
        wanted = wanted.where(EventRow.type == of_type)
    if before is not None:
        wanted = wanted.where(EventRow.id < before)
    return list(unit.orm.scalars(wanted))

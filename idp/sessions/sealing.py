"""Sealing sessions again under the newest secret key (row B8); nothing about them changes."""

from sqlalchemy import select, update

from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

BATCH = 500


def reseal(unit: UnitOfWork, *, after: str) -> tuple[int, str | None]:
    """Re-seals one batch of sessions behind the id `after`.

    Gives how many were changed, and the id to go on from, or None at the end.
    """
    rows = unit.connection.execute(
        select(Session.id, Session.details)
        .where(Session.id > after)
        .order_by(Session.id)
        .limit(BATCH)
    ).all()
    changed = 0
    for row in rows:
        if unit.vault.is_current(row.details):
            continue
        context = f"session.details:{row.id}"
        sealed = unit.vault.seal_text(unit.vault.open_text(row.details, context), context)
        # Only if nobody renamed it meanwhile: their write is sealed with the newest key anyway.
        unit.connection.execute(
            update(Session)
            .where(Session.id == row.id, Session.details == row.details)
            .values(details=sealed)
        )
        changed += 1
    return changed, rows[-1].id if len(rows) == BATCH else None

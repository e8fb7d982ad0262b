"""The order in which a person and their sessions are locked: person, session, authorization or series.

Two orders are a deadlock on PostgreSQL. Whoever touches several sessions in one transaction holds
their people first: then nobody else has more than one of them, and two who come from different ends
cannot wait for each other. SQLite has one writer at a time.
"""

from collections.abc import Collection

from sqlalchemy import bindparam, select

from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User

_PERSON = HotStatement(
    select(User.status).where(User.id == bindparam("person")).with_for_update(key_share=True)
)


def person(unit: UnitOfWork, user_id: str) -> str | None:
    """Locks somebody until this transaction is over; gives their status, None of nobody.

    What keeps parallel sign-ins from exceeding a limit (row L8), and from being missed by whoever
    ends all sessions.
    """
    rows = unit.run(_PERSON, {"person": user_id})
    return str(rows[0][0]) if rows else None


def people_of(unit: UnitOfWork, session_ids: Collection[str]) -> None:
    """Locks the people of these sessions, before any of the sessions is touched."""
    if unit.is_sqlite:
        return
    unit.flush()
    whose = select(Session.user_id).where(Session.id.in_(session_ids))
    unit.connection.execute(
        select(User.id).where(User.id.in_(whose)).order_by(User.id).with_for_update(key_share=True)
    )

"""The order in which a person and their sessions are locked: person, session, authorization or series.

Two orders are a deadlock on PostgreSQL. Whoever touches several sessions in one transaction holds
their people first: then nobody else has more than one of them, and two who come from different ends
cannot wait for each other. SQLite has one writer at a time.
"""

from collections.abc import Collection

from sqlalchemy import bindparam, or_, select, union

from idp import ids
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


def people_meeting(unit: UnitOfWork, user_ids: Collection[str], present: str | None) -> None:
    """Locks these people, and whose session this secret is of: who comes into a browser may end it.

    All at once, in the order of their ids: in two browsers two people may take each other's place.
    """
    if unit.is_sqlite or present is None:
        return
    hashed = ids.digest(present)
    whose = select(Session.user_id).where(
        or_(Session.secret_hash == hashed, Session.previous_secret_hash == hashed)
    )
    them = union(select(User.id).where(User.id.in_(user_ids)), whose)
    unit.flush()
    unit.connection.execute(
        select(User.id).where(User.id.in_(them)).order_by(User.id).with_for_update(key_share=True)
    )


def people_of(unit: UnitOfWork, session_ids: Collection[str]) -> None:
    """Locks the people of these sessions, before any of the sessions is touched."""
    if unit.is_sqlite:
        return
    unit.flush()
    whose = select(Session.user_id).where(Session.id.in_(session_ids))
    unit.connection.execute(
        select(User.id).where(User.id.in_(whose)).order_by(User.id).with_for_update(key_share=True)
    )

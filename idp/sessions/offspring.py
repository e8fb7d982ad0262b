"""Sessions that end with another one: those it let in, where its person wished so.

Owns finding them. A session that ran out by time alone takes none along, as with offline grants:
what was allowed to go on goes on until somebody ends it.
"""

from collections.abc import Iterable

from sqlalchemy import bindparam, select

from idp.sessions import life
from idp.sessions.model import Session
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork

_CHILDREN = HotStatement(
    select(Session.id).where(Session.parent_id == bindparam("parent"), life.unmarked())
)


def of(unit: UnitOfWork, session_ids: Iterable[str]) -> set[str]:
    """The running sessions that end with one of these, over any number of generations."""
    known = set(session_ids)
    waiting, found = list(known), set[str]()
    while waiting:
        children = {row[0] for row in unit.run(_CHILDREN, {"parent": waiting.pop()})} - known
        known |= children
        found |= children
        waiting += children
    return found

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
    generation, found = known, set[str]()
    while generation:
        generation = _let_in_by(unit, generation) - known
        known = known | generation
        found |= generation
    return found


def _let_in_by(unit: UnitOfWork, parents: set[str]) -> set[str]:
    """The next generation. Of one session, as mostly, by a hot statement; of many in one trip."""
    if len(parents) == 1:
        return {row[0] for row in unit.run(_CHILDREN, {"parent": min(parents)})}
    unit.flush()
    wanted = select(Session.id).where(Session.parent_id.in_(parents), life.unmarked())
    return set(unit.connection.scalars(wanted))

"""What happened in a session, for its person to read: a short tail of the audit log.

To read the tails is most of what a page of many sessions costs, and they seldom change. So they are
kept in the Store, each under the version of what it was made from (`_VERSIONS`): one that is not the
newest is not found, whoever wrote it. The log only grows, and what was lost is read again. Nothing is
decided by a timeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Select, String, bindparam, cast, func, select, union_all

from idp.clock import HOUR, Duration, Instant
from idp.events.model import EventRow
from idp.sessions.model import Session
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork

SHOWN = 20
KEPT: Duration = HOUR
# Read more than is shown, because runs of refreshes are shown as one.
_READ = 80
# SQLite takes 500 parts in a compound statement.
_SESSIONS_AT_ONCE = 100
# Of events that come within a moment of another one: they say nothing new to people.
_UNTOLD = ("token.issued", "pairing.consumed", "remember.used")
# How a timeline is written down: nodes of two releases do not read each other's.
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline; `times` counts equal events in a row."""

    type: str
    at: Instant
    client_id: str | None
    reason: str | None
    data: dict[str, Any]
    times: int = 1
    # The app's name, while there is such an app; not kept, because apps are renamed (`with_names`).
    app: str | None = None


def kept(unit: UnitOfWork, session_ids: Sequence[str], store: Store) -> dict[str, list[Happening]]:
    """`of_sessions` for a page of many sessions: from the Store where it has the newest version."""
    keys = _keys(unit, session_ids)
    held = store.get_many(keys.values())
    found = {one: _read(held[key]) for one, key in keys.items() if key in held}
    made = of_sessions(unit, [one for one in keys if one not in found])
    store.set_many({keys[one]: orjson.dumps(happenings) for one, happenings in made.items()}, KEPT)
    return {one: found.get(one) or made.get(one, []) for one in session_ids}


def of_sessions(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, list[Happening]]:
    """The latest happenings of each session, the newest first, at most `SHOWN` each."""
    found: dict[str, list[Happening]] = {session_id: [] for session_id in session_ids}
    for start in range(0, len(session_ids), _SESSIONS_AT_ONCE):
        for row in _latest(unit, session_ids[start : start + _SESSIONS_AT_ONCE]):
            _add(found[row.session_id], row)
    return {session_id: happenings[:SHOWN] for session_id, happenings in found.items()}


def with_names(happenings: Sequence[Happening], names: Mapping[str, str]) -> list[Happening]:
    """The same with the names of the apps."""
    return [replace(one, app=names.get(one.client_id or "")) for one in happenings]


# The newest events of a session: how many of at most `_READ`, the first and the last. Not the last
# alone: PostgreSQL may show a later one before an earlier one, whose transaction took longer.
_NEWEST = (
    select(EventRow.id)
    .where(EventRow.session_id == Session.id)
    .order_by(EventRow.id.desc())
    .limit(_READ)
    .correlate(Session)
    .subquery()
)
_VERSION = select(
    cast(func.count(), String)
    + "."
    + cast(func.min(_NEWEST.c.id), String)
    + "."
    + cast(func.max(_NEWEST.c.id), String)
).select_from(_NEWEST)
_VERSIONS = select(Session.id, _VERSION.scalar_subquery())


def _keys(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, str]:
    """Where the Store has the timeline of each session in which anything happened."""
    rows = unit.connection.execute(_VERSIONS.where(Session.id.in_(session_ids)))
    return {
        session_id: f"timeline{_FORMAT}:{session_id}:{version}"
        for session_id, version in rows
        if version is not None
    }


def _read(written: bytes) -> list[Happening]:
    return [Happening(**one) for one in orjson.loads(written)]


def _latest(unit: UnitOfWork, session_ids: Sequence[str]) -> Sequence[Any]:
    named = {f"session_{number}": session_id for number, session_id in enumerate(session_ids)}
    return unit.connection.execute(_tails(len(session_ids)), named).all()


@cache
def _tails(sessions: int) -> Select[Any]:
    """The newest events of so many sessions, in one statement.

    One bounded index range for each: the cost does not grow with the length of the log.
    """
    columns = ("id", "session_id", "type", "at", "client_id", "reason", "data")
    tails = [
        select(EventRow)
        .where(EventRow.session_id == bindparam(f"session_{number}"))
        .order_by(EventRow.id.desc())
        .limit(_READ)
        .subquery()
        for number in range(sessions)
    ]
    rows = union_all(*(select(*(tail.c[name] for name in columns)) for tail in tails)).subquery()
    return select(rows).order_by(rows.c.id.desc())


def _add(happenings: list[Happening], row: Any) -> None:
    if row.type in _UNTOLD:
        return
    happening = Happening(row.type, row.at, row.client_id, row.reason, row.data)
    last = happenings[-1] if happenings else None
    if (
        last is not None
        and happening.type == "token.refreshed"
        and (last.type, last.client_id) == (happening.type, happening.client_id)
    ):
        happenings[-1] = replace(last, times=last.times + 1)
    else:
        happenings.append(happening)

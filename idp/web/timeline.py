"""What happened in a session, for its person to read: a short tail of the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select, union_all

from idp.clock import Instant
from idp.events.model import EventRow
from idp.oauth.model import Client
from idp.storage.unit_of_work import UnitOfWork

SHOWN = 20
# Read more than is shown, because runs of refreshes are shown as one.
_READ = 80
# SQLite takes 500 parts in a compound statement.
_SESSIONS_AT_ONCE = 100
# Of events that come within a moment of another one: they say nothing new to people.
_UNTOLD = ("token.issued", "pairing.consumed", "remember.used")


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline; `times` counts equal events in a row."""

    type: str
    at: Instant
    client_id: str | None
    # The app's name, while there is such an app.
    app: str | None
    reason: str | None
    data: dict[str, Any]
    times: int = 1


def of_sessions(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, list[Happening]]:
    """The latest happenings of each session, the newest first, at most `SHOWN` each."""
    found: dict[str, list[Happening]] = {session_id: [] for session_id in session_ids}
    for start in range(0, len(session_ids), _SESSIONS_AT_ONCE):
        for row in _latest(unit, session_ids[start : start + _SESSIONS_AT_ONCE]):
            _add(found[row.session_id], row)
    return {session_id: happenings[:SHOWN] for session_id, happenings in found.items()}


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
        .where(EventRow.session_id == bindparam(f"session_{number}"), EventRow.type.not_in(_UNTOLD))
        .order_by(EventRow.id.desc())
        .limit(_READ)
        .subquery()
        for number in range(sessions)
    ]
    rows = union_all(*(select(*(tail.c[name] for name in columns)) for tail in tails)).subquery()
    return (
        select(rows, Client.name.label("app"))
        .outerjoin(Client, Client.id == rows.c.client_id)
        .order_by(rows.c.id.desc())
    )


def _add(happenings: list[Happening], row: Any) -> None:
    happening = Happening(row.type, row.at, row.client_id, row.app, row.reason, row.data)
    last = happenings[-1] if happenings else None
    if (
        last is not None
        and happening.type == "token.refreshed"
        and (last.type, last.client_id) == (happening.type, happening.client_id)
    ):
        happenings[-1] = replace(last, times=last.times + 1)
    else:
        happenings.append(happening)

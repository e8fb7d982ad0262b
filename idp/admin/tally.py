"""Facts counted by the hour, so that a chart of a month costs what a chart of a day does (row D5).

Owns the table of counts and the job that fills it: it follows the sealed audit log, from where it
stopped, and moves its mark in the transaction that counts, so that a crash counts nothing twice and
nothing never. Sealed rows only, because they stand in an order that no late commit changes. Counts
outlive the events they were made from only as long as history does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from idp.admin import incidents
from idp.admin.model import LABEL_MAXIMUM, Tally
from idp.clock import DAY, HOUR, SECOND, Instant
from idp.events.model import EventRow
from idp.policy.histogram import LASTED, TOLD, bucket
from idp.sessions import life
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

BATCH = 1_000
# Events that administrators want to hear of as incidents, by their type: what their report lists one by
# one, and what would be too many for that.
INCIDENTS = (*incidents.OF_REPORT["incidents"], "login.throttled")
_MARK = "mark"


Key = tuple[Instant, str, str]


def count(unit: UnitOfWork) -> int:
    """Counts the next sealed events; gives how many. The worker calls it, on one node at a time."""
    mark = _mark(unit)
    rows = unit.connection.execute(
        select(
            EventRow.position,
            EventRow.type,
            EventRow.at,
            EventRow.session_id,
            EventRow.client_id,
            EventRow.reason,
            EventRow.data,
        )
        .where(EventRow.position > mark)
        .order_by(EventRow.position)
        .limit(BATCH)
    ).all()
    if not rows or not _move_mark(unit, mark, rows[-1].position):
        return 0
    counts: Counter[Key] = Counter()
    sessions = _sessions(unit, (row.session_id for row in rows))
    for row in rows:
        hour = row.at - row.at % HOUR
        for measure, label in measured(row, sessions.get(row.session_id)):
            counts[hour, measure, label[:LABEL_MAXIMUM]] += 1
    _add(unit, counts)
    return len(rows)


def measured(row: Any, session: Any) -> Iterator[tuple[str, str]]:
    """What one event counts as: pairs of measure and label."""
    if row.type in INCIDENTS:
        yield "incident", row.type
    match row.type:
        case "session.created":
            yield "signed_in", str(row.data.get("method", ""))
            if session is not None:
                yield "device", session.device_type
                yield "country", session.country or ""
        case "login.failed":
            yield "failed", row.reason or ""
        case "login.throttled":
            yield "throttled", ""
        case "session.ended":
            yield "ended", row.reason or ""
            if session is not None and life.is_marked(session):
                lasted = (session.ended_at - session.created_at) / SECOND
                yield "lasted", bucket(lasted, LASTED)
        case "logout.delivered":
            if session is not None and life.is_marked(session):
                yield "told", bucket((row.at - session.ended_at) / SECOND, TOLD)
        case "authorization.issued":
            yield "app", row.client_id or ""
        case "token.refreshed":
            yield "refreshed", ""


def totals(unit: UnitOfWork, measure: str, *, since: Instant, until: Instant) -> dict[str, int]:
    """How often each label of a measure was counted in the hours that begin in [since, until)."""
    rows = unit.connection.execute(_SUMMED, {"measure": measure, "since": since, "until": until})
    return {row.label: int(row.counted) for row in rows}


def by_hour(
    unit: UnitOfWork, measure: str, *, since: Instant, until: Instant
) -> dict[Instant, int]:
    """How often a measure was counted, whatever its label, by hour; hours with nothing are left out."""
    rows = unit.connection.execute(_HOURLY, {"measure": measure, "since": since, "until": until})
    return {int(row.hour): int(row.counted) for row in rows}


def forget_past(unit: UnitOfWork) -> int:
    """Deletes counts of hours that history does not reach; gives how many."""
    before = unit.now - unit.settings.history_days * DAY
    old = delete(Tally).where(Tally.hour < before, Tally.measure != _MARK)
    return unit.connection.execute(old).rowcount


_SUMMED = text(
    "SELECT label, SUM(count) AS counted FROM tallies "
    "WHERE measure = :measure AND hour >= :since AND hour < :until GROUP BY label ORDER BY label"
)
_HOURLY = text(
    "SELECT hour, SUM(count) AS counted FROM tallies "
    "WHERE measure = :measure AND hour >= :since AND hour < :until GROUP BY hour ORDER BY hour"
)


def _mark(unit: UnitOfWork) -> int:
    found = unit.connection.scalar(
        select(Tally.count).where(Tally.hour == 0, Tally.measure == _MARK, Tally.label == "")
    )
    if found is not None:
        return int(found)
    _add(unit, {(0, _MARK, ""): 0})
    return 0


def _move_mark(unit: UnitOfWork, before: int, after: int) -> bool:
    """Whether the mark was where this began; another node may have counted meanwhile."""
    moved = unit.connection.execute(
        update(Tally)
        .where(Tally.hour == 0, Tally.measure == _MARK, Tally.label == "", Tally.count == before)
        .values(count=after)
    )
    return moved.rowcount == 1


def _sessions(unit: UnitOfWork, ids: Iterable[str | None]) -> dict[str, Any]:
    wanted = sorted({one for one in ids if one is not None})
    rows = unit.connection.execute(
        select(
            Session.id, Session.device_type, Session.country, Session.created_at, Session.ended_at
        ).where(Session.id.in_(wanted))
    ).all()
    return {row.id: row for row in rows}


def _add(unit: UnitOfWork, counts: "Counter[Key] | dict[Key, int]") -> None:
    if not counts:
        return
    insert = sqlite.insert if unit.is_sqlite else postgresql.insert
    rows = [
        {"hour": hour, "measure": measure, "label": label, "count": number}
        for (hour, measure, label), number in sorted(counts.items())
    ]
    statement = insert(Tally)
    unit.connection.execute(
        statement.on_conflict_do_update(
            index_elements=[Tally.hour, Tally.measure, Tally.label],
            set_={"count": Tally.count + statement.excluded.count},
        ),
        rows,
    )

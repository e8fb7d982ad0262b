"""The audit log: append-only, and tamper-evident by a keyed hash chain (row C5).

Owns writing events and sealing them. A row is written in the transaction of its cause. The chain is
made a moment later, by the worker, in order of sealing: chaining inside the transaction would make
every writer wait for every other one's commit. The price: a row changed between its commit and its
seal (about a second) is not noticed; `idp events verify` finds any later change, removal or
insertion, because each seal is an HMAC over the row and the seal before it, keyed with the
deployment's secret. What the database alone cannot show is that the newest rows were cut off; for
that, keep `head` elsewhere.
"""

from typing import Any

import orjson
from sqlalchemy import Text, bindparam, func, insert, select, type_coerce, update

from idp.events.catalogue import Event
from idp.events.model import EventRow
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Vault

_SEALED = (
    "event_id", "type", "at", "actor", "actor_id", "user_id", "session_id", "client_id", "ip",
    "reason", "data",
)  # fmt: skip
LATE_ROWS = 5_000
_FIRST = "0" * 64
BATCH = 500

_APPEND = HotStatement(insert(EventRow).inline(), columns=_SEALED)
# Rows for sealing: `data` stays the text that is stored, so that nothing is parsed only to be
# written again, and a change of a single character is a change.
_ROWS = select(
    EventRow.id,
    EventRow.position,
    EventRow.seal,
    *(
        type_coerce(EventRow.data, Text).label(name) if name == "data" else getattr(EventRow, name)
        for name in _SEALED
    ),
)
_SET_SEAL = (
    update(EventRow)
    .where(EventRow.id == bindparam("row"), EventRow.position.is_(None))
    .values(position=bindparam("place"), seal=bindparam("value"))
)


def hot_write(event: Event, at: int) -> Write:
    """The event as a write of the hot path, which goes beside its changes by the bare driver."""
    row = values(event, at)
    row["data"] = orjson.dumps(row["data"]).decode()
    return Write(_APPEND, row)


def values(event: Event, at: int) -> dict[str, Any]:
    """The event as the columns of its row; `at` in microseconds."""
    return {
        "event_id": event.event_id,
        "type": event.type,
        "at": at,
        "actor": event.actor,
        "actor_id": event.actor_id,
        "user_id": event.user_id,
        "session_id": event.session_id,
        "client_id": event.client_id,
        "ip": event.ip,
        "reason": event.reason,
        "data": event.data(),
    }


def write(unit: UnitOfWork, event: Event) -> None:
    """Appends one event in the unit's transaction, with the reason that was given for all of it."""
    row = values(event, unit.now)
    if unit.because is not None:
        row["data"]["because"] = unit.because
    row["data"] = orjson.dumps(row["data"]).decode()
    unit.run(_APPEND, row)


def seal(work: Work) -> int:
    """Chains every row that is not sealed yet; gives how many. Run by one node at a time.

    In small transactions: each holds SQLite's one writer for a few milliseconds.
    """
    count = 0
    while True:
        with work.begin() as unit:
            sealed = seal_pending(unit)
        count += sealed
        if sealed < BATCH:
            return count


def seal_pending(unit: UnitOfWork, *, batch: int = BATCH) -> int:
    """Chains at most `batch` rows that are not sealed yet, oldest first; gives how many.

    Should a second node do the same at once, its positions collide and its transaction fails. For
    that the head must be read before the rows: read after them, it could be behind rows which the
    other node has just sealed, and leave a gap.
    """
    position, previous = head(unit)
    pending = unit.connection.execute(
        _ROWS.where(EventRow.position.is_(None), EventRow.id > _searched_from(unit, position))
        .order_by(EventRow.id)
        .limit(batch)
    ).all()
    if not pending:
        return 0
    seals: list[dict[str, Any]] = []
    for row in pending:
        position += 1
        previous = _seal(unit.vault, previous, position, row)
        seals.append({"row": row.id, "place": position, "value": previous})
    unit.connection.execute(_SET_SEAL, seals)
    return len(seals)


def verify(unit: UnitOfWork, *, newest: int | None = None) -> tuple[int, str | None]:
    """Walks the chain; gives how many sealed rows hold, and the first fault found or None.

    `newest` walks only so many rows from the end, trusting the seal they begin at.
    """
    previous, expected, count = _FIRST, 1, 0
    if newest is not None:
        start = head(unit)[0] - newest
        if start > 0:
            previous, expected = _seal_at(unit, start), start + 1
    vaults = unit.vault.each_key()
    # Closed even when a fault ends the walk: PostgreSQL keeps a cursor open on its side.
    with unit.connection.execute(
        _ROWS.where(EventRow.position >= expected).order_by(EventRow.position),
        execution_options={"yield_per": 1_000},
    ) as rows:
        for row in rows:
            if row.position != expected:
                return count, f"position {expected} of the chain is missing"
            if row.seal not in [_seal(vault, previous, expected, row) for vault in vaults]:
                return count, f"position {expected} of the chain ({row.event_id}) was altered"
            previous, expected, count = row.seal, expected + 1, count + 1
    return count, None


def head(unit: UnitOfWork) -> tuple[int, str]:
    """Position and seal of the newest sealed row: kept elsewhere, they show a chain cut short."""
    position = (
        unit.connection.scalar(
            select(func.max(EventRow.position)).where(EventRow.position.is_not(None))
        )
        or 0
    )
    if not position:
        return 0, _FIRST
    return position, _seal_at(unit, position)


def _searched_from(unit: UnitOfWork, position: int) -> int:
    """The row number behind which unsealed rows are looked for.

    An index of unsealed rows would cost every commit a page; looking a stretch behind the newest
    sealed row costs the sealer little. The stretch is for rows that took their number early and
    were committed late (PostgreSQL); one later than that is reported by `verify`.
    """
    newest = unit.connection.scalar(select(EventRow.id).where(EventRow.position == position))
    return (newest or 0) - LATE_ROWS


def _seal_at(unit: UnitOfWork, position: int) -> str:
    return str(unit.connection.scalar(select(EventRow.seal).where(EventRow.position == position)))


def _seal(vault: Vault, previous: str, position: int, row: Any) -> str:
    """HMAC over the row as it is stored (`data` as its text), its position, and the seal before."""
    body = [previous, position, *(getattr(row, name) for name in _SEALED)]
    return vault.mac(orjson.dumps(body), "event seal").hex()

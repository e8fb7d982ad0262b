"""The audit log: append-only, and tamper-evident by a keyed hash chain (row C5).

Owns writing events and sealing them. A row is written in the transaction of its cause. The chain is
made a moment later, by the worker, in order of sealing: chaining inside the transaction would make
every writer wait for every other one's commit. The price: a row changed between its commit and its
seal (about a second) is not noticed; `idp events verify` finds any later change, removal or insertion, because
each seal is an HMAC over the row and the seal before it, keyed with the deployment's secret.
"""

from typing import Any

import orjson
from sqlalchemy import func, insert, select, update

from idp.events.catalogue import Event
from idp.events.model import EventRow
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault

_SEALED = (
    "event_id", "type", "at", "actor", "actor_id", "user_id", "session_id", "client_id", "ip",
    "reason", "data",
)  # fmt: skip
_FIRST = "0" * 64

_APPEND = HotStatement(insert(EventRow).inline(), columns=_SEALED)


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
    """Appends one event in the unit's transaction."""
    unit.connection.execute(insert(EventRow), values(event, unit.now))


def seal_pending(unit: UnitOfWork, *, batch: int = 1_000) -> int:
    """Chains rows that are not sealed yet, oldest first; gives how many. Run by one node at a time."""
    position, previous = _head(unit)
    rows = unit.connection.execute(
        select(EventRow).where(EventRow.position.is_(None)).order_by(EventRow.id).limit(batch)
    ).mappings()
    count = 0
    for row in rows.all():
        position += 1
        previous = _seal(unit.vault, previous, position, row)
        unit.connection.execute(
            update(EventRow)
            .where(EventRow.id == row["id"], EventRow.position.is_(None))
            .values(position=position, seal=previous)
        )
        count += 1
    return count


def verify(unit: UnitOfWork) -> tuple[int, str | None]:
    """Walks the chain; gives how many sealed rows hold, and the first fault found or None."""
    previous, expected, count = _FIRST, 1, 0
    vaults = unit.vault.each_key()
    rows = unit.connection.execution_options(yield_per=1_000).execute(
        select(EventRow).where(EventRow.position.is_not(None)).order_by(EventRow.position)
    )
    for row in rows.mappings():
        if row["position"] != expected:
            return count, f"row {expected} of the chain is missing"
        seals = [_seal(vault, previous, expected, row) for vault in vaults]
        if row["seal"] not in seals:
            return count, f"row {expected} of the chain ({row['event_id']}) was altered"
        previous, expected, count = row["seal"], expected + 1, count + 1
    return count, None


def _head(unit: UnitOfWork) -> tuple[int, str]:
    position = unit.connection.scalar(select(func.max(EventRow.position))) or 0
    if not position:
        return 0, _FIRST
    seal = unit.connection.scalar(select(EventRow.seal).where(EventRow.position == position))
    return position, str(seal)


def _seal(vault: Vault, previous: str, position: int, row: Any) -> str:
    body = {name: row[name] for name in _SEALED} | {"position": position, "previous": previous}
    return vault.mac(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), "event seal").hex()

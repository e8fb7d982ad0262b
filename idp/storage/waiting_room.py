"""Whether there is room for one more that waits: rows that anybody may leave are bounded (DS-08).

The worker counts them now and then and says so in the Store, so that whoever asks counts nothing. At
the limit new ones are turned away until old ones are gone. A Store that is lost knows of no limit until
the next count.
"""

from sqlalchemy import func, select

from idp.clock import MINUTE
from idp.storage.columns import Base
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork


def watch(unit: UnitOfWork, store: Store, rows: type[Base], *, full: str, maximum: int) -> int:
    """Says under the key `full` whether as many rows as may be are there; gives how many are."""
    waiting = unit.connection.scalar(select(func.count()).select_from(rows)) or 0
    if waiting >= maximum:
        store.set(full, b"1", MINUTE)
    else:
        store.delete(full)
    return waiting


def has_room(store: Store, *, full: str) -> bool:
    """Whether there was room when it was counted last."""
    return store.get(full) is None

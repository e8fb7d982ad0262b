"""Room for codes that wait: anybody may ask for one, so what they leave behind is bounded (DS-08).

How often somebody may ask is asked where they do (`web.handoff`, `oauth.device_authorization`).
"""

from sqlalchemy import and_, delete, or_, select

from idp.clock import HOUR, Duration
from idp.sessions.model import Pairing
from idp.sessions.pairing import BLOCKED
from idp.storage import waiting_room
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork

# Kept after it ran out, so that whoever still asks is told "expired" and not "unknown".
KEPT: Duration = HOUR
WAITING_MAXIMUM = 50_000
BATCH = 1_000
_FULL = "pairings:full"


def watch_room(unit: UnitOfWork, store: Store) -> int:
    """Says in the Store whether too many codes are waiting; gives how many. Run now and then."""
    return waiting_room.watch(unit, store, Pairing, full=_FULL, maximum=WAITING_MAXIMUM)


def has_room(store: Store) -> bool:
    """Whether another device may ask."""
    return waiting_room.has_room(store, full=_FULL)


def delete_expired(unit: UnitOfWork) -> int:
    """Removes pairings nobody asks for any more; gives how many. Reports stay while they block."""
    past = (
        select(Pairing.id)
        .where(
            or_(
                and_(Pairing.state != "reported", Pairing.expires_at <= unit.now - KEPT),
                Pairing.expires_at <= unit.now - BLOCKED,
            )
        )
        .limit(BATCH)
    )
    return unit.connection.execute(delete(Pairing).where(Pairing.id.in_(past))).rowcount

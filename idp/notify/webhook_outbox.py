"""What webhooks are owed: how far each is in the sealed chain, and what it has not taken yet.

A webhook stands at a position of the chain. The worker takes what is behind it, owes the events that
are meant to the webhook, and moves it on, in one transaction: so each event is owed once, however many
nodes there are, and none is left out. A receiver that is away is owed so many at most, and its
position waits. What is owed is sent by `webhook_channel`, not in order; events carry their `position`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, literal_column, select

from idp import ids
from idp.clock import DAY, Duration
from idp.events.model import DELIVERED, OWED, Delivery, EventRow
from idp.notify.model import Webhook
from idp.storage.unit_of_work import UnitOfWork, Work

CHANNEL = "webhook"
# An event that was not taken for so long is given up, and the webhook disabled.
HORIZON: Duration = 5 * DAY
# What one webhook is owed at a time, and rows looked at for it in one go.
OWED_MAXIMUM = 200
WALKED = 1_000
# Receipts are kept for so long: unlike those of logouts they are nobody's history.
RECEIPTS: Duration = 7 * DAY
BATCH = 1_000
# Written out, because the partial index is found by it.
_OF_WEBHOOKS: ColumnElement[bool] = Delivery.channel == literal_column(f"'{CHANNEL}'")


def owe(work: Work) -> bool:
    """Owes to every webhook what is behind its position; True when more could be owed at once."""
    with work.read() as unit:
        enabled = unit.orm.scalars(
            select(Webhook).where(Webhook.disabled_at.is_(None)).order_by(Webhook.id)
        ).all()
        newest = head(unit) if enabled else 0
        wanted = [
            one.id
            for one in enabled
            if one.position < newest and _owed(unit, one.id) < OWED_MAXIMUM
        ]
    is_unfinished = False
    for webhook_id in wanted:
        with work.begin() as unit:
            is_unfinished |= _owe(unit, webhook_id)
    return is_unfinished


def sent(unit: UnitOfWork, webhook_id: str, *, limit: int = 50) -> list[Delivery]:
    """What a webhook was sent or is owed, the newest first."""
    rows = unit.orm.scalars(
        select(Delivery)
        .where(_OF_WEBHOOKS, Delivery.receiver == webhook_id)
        .order_by(Delivery.created_at.desc(), Delivery.id.desc())
        .limit(limit)
    )
    return list(rows)


def waiting(unit: UnitOfWork, webhook: Webhook) -> int:
    """How many sealed events are behind its position, of whatever kind."""
    return max(0, head(unit) - webhook.position)


def forget_past(unit: UnitOfWork) -> int:
    """Deletes old receipts of webhooks; gives how many."""
    oldest = (
        select(Delivery.id)
        .where(
            _OF_WEBHOOKS,
            Delivery.state != OWED,
            Delivery.finished_at < unit.now - RECEIPTS,
        )
        .limit(BATCH)
    )
    return unit.connection.execute(delete(Delivery).where(Delivery.id.in_(oldest))).rowcount


def has_taken_since(unit: UnitOfWork, webhook_id: str, event_id: str) -> bool:
    """Whether a webhook took anything after an event was owed to it that it is given up just now."""
    of_webhook = (_OF_WEBHOOKS, Delivery.receiver == webhook_id)
    since = unit.connection.scalar(
        select(func.min(Delivery.created_at)).where(
            *of_webhook, Delivery.event_id == event_id, Delivery.finished_at == unit.now
        )
    )
    taken = select(Delivery.id).where(
        *of_webhook, Delivery.state == DELIVERED, Delivery.finished_at > (since or 0)
    )
    return unit.connection.scalar(taken.limit(1)) is not None


def take_back(unit: UnitOfWork, webhook: Webhook) -> int:
    """Deletes what a webhook is owed; gives the position before the first that it has not taken."""
    owed = (_OF_WEBHOOKS, Delivery.receiver == webhook.id)
    given_up_now = Delivery.finished_at == unit.now
    payloads = unit.connection.execute(
        select(Delivery.payload).where(*owed, (Delivery.state == OWED) | given_up_now)
    ).scalars()
    positions = [one["position"] for one in payloads if "position" in one]
    unit.connection.execute(delete(Delivery).where(*owed, Delivery.state == OWED))
    return min([webhook.position, *(int(one) - 1 for one in positions)])


def head(unit: UnitOfWork) -> int:
    """The position of the newest sealed event."""
    return (
        unit.connection.scalar(
            select(func.max(EventRow.position)).where(EventRow.position.is_not(None))
        )
        or 0
    )


def _owe(unit: UnitOfWork, webhook_id: str) -> bool:
    webhook = unit.orm.get(Webhook, webhook_id, with_for_update=True)
    if webhook is None or webhook.disabled_at is not None:
        return False
    room = OWED_MAXIMUM - _owed(unit, webhook.id)
    rows = unit.connection.execute(
        select(EventRow.position, EventRow.event_id, EventRow.type)
        .where(EventRow.position > webhook.position)
        .order_by(EventRow.position)
        .limit(WALKED)
    ).all()
    owed: list[dict[str, Any]] = []
    for row in rows:
        if len(owed) >= room:
            break
        webhook.position = row.position
        if is_meant(webhook.types, row.type):
            owed.append(_row(unit, webhook.id, row.event_id, row.position))
    if owed:
        unit.connection.execute(insert(Delivery), owed)
    return len(rows) == WALKED and len(owed) < room


def is_meant(types: Sequence[str], kind: str) -> bool:
    """Whether a webhook with these kinds takes events of this one."""
    return not types or kind in types or kind.partition(".")[0] + ".*" in types


def _row(unit: UnitOfWork, webhook_id: str, event_id: str, position: int) -> dict[str, Any]:
    return {
        "id": ids.new("dlv"),
        "event_id": event_id,
        "channel": CHANNEL,
        "receiver": webhook_id,
        # None: people are shown what apps were told of their session, and this is none of it.
        "session_id": None,
        "payload": {"position": position},
        "created_at": unit.now,
        "next_attempt_at": unit.now,
        "give_up_at": unit.now + HORIZON,
    }


def _owed(unit: UnitOfWork, webhook_id: str) -> int:
    return (
        unit.connection.scalar(
            select(func.count())
            .select_from(Delivery)
            .where(
                _OF_WEBHOOKS,
                Delivery.receiver == webhook_id,
                Delivery.state == OWED,
            )
        )
        or 0
    )

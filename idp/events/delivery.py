"""What is owed to receivers: written with its cause, claimed, sent, and receipted.

Owns the rows of `deliveries`. A delivery is owed in the transaction of the event behind it, so
that neither can exist without the other (invariant 7). It is then sent at least once: a claim is a
lease, and when its holder dies the lease runs out and somebody sends again, with the same id. Who
is called first is decided in `idp.work.turns`; how, by a `Channel`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlalchemy import ColumnElement, and_, delete, false, func, insert, select, update

from idp import ids
from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from idp.events.catalogue import Event
from idp.events.model import DELIVERED, GIVEN_UP, OWED, Delivery
from idp.storage.unit_of_work import UnitOfWork

# Nobody is told of an event that is a day old; the receipt then says so.
HORIZON: Duration = DAY
FIRST_WAIT: Duration = SECOND
# In its first hour a delivery is tried often enough that a receiver which comes back is told within
# a minute; later an attempt every ten minutes is all a dead receiver is worth.
EARLY: Duration = HOUR
LONGEST_WAIT_EARLY: Duration = 30 * SECOND
LONGEST_WAIT: Duration = 10 * MINUTE
ERROR_MAXIMUM = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours to send until `claimed_until`; `attempts` counts this one too."""

    id: str
    event_id: str
    channel: str
    receiver: str
    session_id: str | None
    payload: dict[str, Any]
    attempts: int
    created_at: Instant
    give_up_at: Instant
    claimed_until: Instant


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went: accepted, to be tried again, or never to be tried again."""

    verdict: Literal["accepted", "failed", "hopeless"]
    status: int | None = None
    error: str | None = None


Report = Callable[[Claimed, Outcome], None]


class Channel(Protocol):
    """A way to reach receivers, such as back-channel logout."""

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        """Begins to send; calls `report` once for each delivery, from any thread."""

    def delivered(self, claimed: Claimed) -> Event | None:
        """The fact that it was accepted, for the audit log; None where its receipt is enough."""

    def given_up(self, claimed: Claimed, reason: str) -> Event | None:
        """The fact that it will never be, for the audit log."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one delivery: state is owed, delivered or given_up."""

    receiver: str
    channel: str
    state: str
    attempts: int
    finished_at: Instant | None
    last_status: int | None
    last_error: str | None


def owe(
    unit: UnitOfWork,
    receivers: Iterable[str],
    *,
    event_id: str,
    channel: str,
    session_id: str | None,
    payload: dict[str, Any],
    horizon: Duration = HORIZON,
) -> int:
    """Owes one event to each of `receivers`, in the unit's transaction; gives how many.

    What is not accepted within the horizon is given up.
    """
    rows = [
        {
            "id": ids.new("dlv"),
            "event_id": event_id,
            "channel": channel,
            "receiver": receiver,
            "session_id": session_id,
            "payload": payload,
            "created_at": unit.now,
            "next_attempt_at": unit.now,
            "give_up_at": unit.now + horizon,
        }
        for receiver in receivers
    ]
    if rows:
        unit.connection.execute(insert(Delivery), rows)
    return len(rows)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which deliveries are looked at: these channels, not the `barred` receivers, `only` these."""

    channels: Sequence[str]
    barred: Sequence[str] = ()
    only: Sequence[str] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [Delivery.channel.in_(self.channels)]
        if self.barred:
            conditions.append(Delivery.receiver.not_in(self.barred))
        if self.only is not None:
            conditions.append(Delivery.receiver.in_(self.only) if self.only else false())
        return conditions


def due(unit: UnitOfWork, reach: Reach, *, limit: int) -> list[tuple[str, str]]:
    """Ids and receivers of what should be sent now, longest due first."""
    rows = unit.connection.execute(
        select(Delivery.id, Delivery.receiver)
        .where(_is_due(unit.now), *reach.conditions())
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
    )
    return [(row.id, row.receiver) for row in rows]


def next_due(unit: UnitOfWork, reach: Reach) -> Instant | None:
    """When the next delivery becomes due, or a lease runs out."""
    return unit.connection.scalar(
        select(func.min(Delivery.next_attempt_at)).where(
            Delivery.state == OWED, *reach.conditions()
        )
    )


def claim(unit: UnitOfWork, delivery_ids: Sequence[str], *, lease: Duration) -> list[Claimed]:
    """Makes deliveries ours for `lease`; those another node was quicker with are left out.

    Must be committed before anything is sent. The attempt is counted here, so that one which kills
    its process is counted too.
    """
    if not delivery_ids:
        return []
    # Those that nobody else is changing at this moment; the update decides which of them are due.
    free = (
        select(Delivery.id)
        .where(Delivery.id.in_(delivery_ids))
        .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer
    )
    until = unit.now + lease
    rows = unit.connection.execute(
        update(Delivery)
        .where(Delivery.id.in_(free), _is_due(unit.now))
        .values(claimed_until=until, next_attempt_at=until, attempts=Delivery.attempts + 1)
        .returning(
            Delivery.id,
            Delivery.event_id,
            Delivery.channel,
            Delivery.receiver,
            Delivery.session_id,
            Delivery.payload,
            Delivery.attempts,
            Delivery.created_at,
            Delivery.give_up_at,
            Delivery.claimed_until,
        )
    )
    return [Claimed(*row) for row in rows]


def release(unit: UnitOfWork, claimed: Sequence[Claimed]) -> None:
    """Gives back what was claimed and not answered, so that the next process need not wait."""
    for one in claimed:
        unit.connection.execute(
            update(Delivery)
            .where(_is_still_ours(one))
            .values(claimed_until=0, next_attempt_at=unit.now)
        )


def finish(unit: UnitOfWork, claimed: Sequence[Claimed], status: int | None) -> list[Claimed]:
    """Notes that receivers accepted; gives those that were not finished before.

    A lease that ran out meanwhile does not matter: what was accepted was accepted.
    """
    if not claimed:
        return []
    done = unit.connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([one.id for one in claimed]), Delivery.state == OWED)
        .values(state=DELIVERED, finished_at=unit.now, last_status=status, last_error=None)
        .returning(Delivery.id)
    ).scalars()
    newly = set(done)
    return [one for one in claimed if one.id in newly]


def postpone(
    unit: UnitOfWork, claimed: Claimed, *, error: str, status: int | None
) -> Literal["postponed", "given_up", "not_ours"]:
    """Notes a failed attempt and when to try again; past the horizon it is given up."""
    again = next_attempt(claimed, unit.now)
    if again >= claimed.give_up_at:
        return give_up(unit, claimed, error=error, status=status)
    changed = unit.connection.execute(
        update(Delivery)
        .where(_is_still_ours(claimed))
        .values(
            claimed_until=0,
            next_attempt_at=again,
            last_status=status,
            last_error=error[:ERROR_MAXIMUM],
        )
    ).rowcount
    return "postponed" if changed else "not_ours"


def give_up(
    unit: UnitOfWork, claimed: Claimed, *, error: str, status: int | None = None
) -> Literal["given_up", "not_ours"]:
    """Notes that a delivery will not be tried again, and why."""
    changed = unit.connection.execute(
        update(Delivery)
        .where(_is_still_ours(claimed))
        .values(
            state=GIVEN_UP,
            finished_at=unit.now,
            last_status=status,
            last_error=error[:ERROR_MAXIMUM],
        )
    ).rowcount
    return "given_up" if changed else "not_ours"


def hurry(unit: UnitOfWork, receivers: Sequence[str]) -> None:
    """Makes due at once what had been put off: these receivers answer again."""
    if receivers:
        unit.connection.execute(
            update(Delivery)
            .where(
                Delivery.state == OWED,
                Delivery.next_attempt_at > unit.now,
                Delivery.claimed_until <= unit.now,
                Delivery.receiver.in_(receivers),
            )
            .values(next_attempt_at=unit.now)
        )


def next_attempt(claimed: Claimed, now: Instant) -> Instant:
    """When to try again: 1 s, 2 s, 4 s … less up to a quarter, so that many do not come together.

    The quarter is drawn from the delivery's own id and attempt: random enough to spread, and the
    schedule stays a function of what is known.
    """
    longest = LONGEST_WAIT_EARLY if now - claimed.created_at < EARLY else LONGEST_WAIT
    wait = min(FIRST_WAIT << min(claimed.attempts - 1, 20), longest)
    drawn = hashlib.sha256(f"{claimed.id} {claimed.attempts}".encode()).digest()
    return now + wait - wait * int.from_bytes(drawn[:2]) // (4 * 65_536)


def receipts_for(unit: UnitOfWork, session_ids: Sequence[str]) -> dict[str, list[Receipt]]:
    """What the receivers of each session's end were told, by session, in order of receiver."""
    found: dict[str, list[Receipt]] = {session_id: [] for session_id in session_ids}
    if not found:
        return found
    rows = unit.connection.execute(
        select(
            Delivery.session_id,
            Delivery.receiver,
            Delivery.channel,
            Delivery.state,
            Delivery.attempts,
            Delivery.finished_at,
            Delivery.last_status,
            Delivery.last_error,
        )
        .where(Delivery.session_id.in_(list(found)))
        .order_by(Delivery.receiver, Delivery.created_at)
    )
    for row in rows:
        found[str(row.session_id)].append(
            Receipt(
                receiver=row.receiver,
                channel=row.channel,
                state=row.state,
                attempts=row.attempts,
                finished_at=row.finished_at,
                last_status=row.last_status,
                last_error=row.last_error,
            )
        )
    return found


def forget_finished(unit: UnitOfWork, *, before: Instant, batch: int = 1_000) -> int:
    """Deletes receipts of what was finished before an instant; gives how many."""
    oldest = (
        select(Delivery.id)
        .where(Delivery.state.in_((DELIVERED, GIVEN_UP)), Delivery.finished_at < before)
        .limit(batch)
    )
    return unit.connection.execute(delete(Delivery).where(Delivery.id.in_(oldest))).rowcount


def _is_due(now: Instant) -> ColumnElement[bool]:
    return and_(
        Delivery.state == OWED, Delivery.next_attempt_at <= now, Delivery.claimed_until <= now
    )


def _is_still_ours(claimed: Claimed) -> ColumnElement[bool]:
    """Nobody else has claimed or finished it since: the lease is the fencing token."""
    return and_(
        Delivery.id == claimed.id,
        Delivery.state == OWED,
        Delivery.claimed_until == claimed.claimed_until,
    )

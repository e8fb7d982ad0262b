"""Finding the events that a filter means, in bounded steps however long the log is (AD-07).

The log has an index of people and of sessions only, because every index is a page more that each
commit writes. So a step looks at a stretch of rows and takes those that match: a page may be short
although more follow. Moments become rows by halving: rows are numbered nearly in order of time, and
what is looked up is widened by more than clocks and slow transactions can differ. Those numbers of
rows stay in here, and in the sealed cursors of lists: what an event is called outside is its position
in the chain.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.exc import IntegrityError

from idp.admin.event_filter import EventFilter
from idp.clock import MINUTE, Duration, Instant
from idp.errors import Refused
from idp.events import log
from idp.events.model import EventRow
from idp.policy import network
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import queries as users

# Rows looked at for one page, or for one step of an export or of looking for a place.
WALKED = 5_000
STEP = 1_000
# How far the order of numbers may be from that of time: clocks of nodes, transactions that last.
SKEW: Duration = 5 * MINUTE
# As written for whoever looks, so that the newest is there at once; by position in the chain for
# whoever goes on from there another time.
Order = Literal["newest_first", "as_sealed"]


@dataclass(frozen=True, slots=True)
class Found:
    """Some events, and the row, or the position, behind which the next begin; None at the end."""

    rows: list[EventRow]
    next_mark: int | None


def resolved(unit: UnitOfWork, meant: EventFilter) -> EventFilter:
    """The filter with the ids of those who were named; raises `Refused` (`unknown_user`).

    An id needs nobody behind it: who was deleted is in the log.
    """
    user, by = meant.user, meant.by
    if user is not None and not user.startswith("usr_"):
        found = users.by_identifier(unit, user)
        if found is None:
            raise Refused("unknown_user", "There is no such user.", 400)
        user = found.id
    if by is not None and (person := users.by_identifier(unit, by)) is not None:
        by = person.id
    return replace(meant, user=user, by=by)


def page(unit: UnitOfWork, meant: EventFilter, *, before: int | None, limit: int) -> Found:
    """At most `limit` events of a resolved filter, the newest first, behind row `before`."""
    return _step(unit, meant, beyond=before, limit=limit, order="newest_first")


def every(work: Work, meant: EventFilter, *, after: int = 0) -> Iterator[list[EventRow]]:
    """All events of a resolved filter that there are now behind a position of the chain, in its
    order, some at a time.

    Not in the order of rows: of two transactions the one with the earlier row may commit later
    (PostgreSQL), and whoever went on behind the other would never learn of it. What is not sealed yet
    is sealed now. Each step reads in a transaction of its own, so that a reader who is slow holds
    nothing. A step may be empty. What is written meanwhile is not among them.
    """
    with suppress(IntegrityError):  # the worker was at it, and will be done with it
        log.seal(work)
    with work.read() as unit:
        newest = unit.connection.scalar(select(func.max(EventRow.position))) or 0
    beyond: int | None = after
    while beyond is not None:
        with work.read() as unit:
            found = _step(unit, meant, beyond=beyond, limit=STEP, order="as_sealed", until=newest)
            unit.orm.expunge_all()
        yield found.rows
        beyond = found.next_mark


def _step(
    unit: UnitOfWork,
    meant: EventFilter,
    *,
    beyond: int | None,
    limit: int,
    order: Order,
    until: int | None = None,
) -> Found:
    is_falling = order == "newest_first"
    mark = EventRow.id if is_falling else EventRow.position
    sorting = mark.desc() if is_falling else mark.asc()
    stretch = select(EventRow.id, mark.label("mark"))
    stretch = stretch.where(*_by_index(unit, meant)).order_by(sorting)
    if beyond is not None:
        stretch = stretch.where(mark < beyond if is_falling else mark > beyond)
    if until is not None:
        stretch = stretch.where(mark <= until)
    narrowing = _by_looking(meant)
    is_plain = not narrowing and meant.ip is None
    looked = stretch.limit(limit + 1 if is_plain else WALKED).subquery()
    matching = (
        select(EventRow.id, EventRow.ip)
        .join(looked, looked.c.id == EventRow.id)
        .where(*narrowing)
        .order_by(sorting)
    )
    found = _within(unit, matching, meant, limit + 1)
    rows = unit.orm.scalars(
        select(EventRow).where(EventRow.id.in_(found[:limit])).order_by(sorting)
    )
    shown = list(rows)
    if len(found) > limit:
        return Found(shown, shown[-1].id if is_falling else shown[-1].position)
    edge = unit.connection.scalar(
        select(func.min(looked.c.mark) if is_falling else func.max(looked.c.mark))
    )
    if edge is None:
        return Found(shown, None)
    behind = stretch.where(mark < edge if is_falling else mark > edge).limit(1)
    return Found(shown, edge if unit.connection.scalar(behind) is not None else None)


def _within(
    unit: UnitOfWork, matching: Select[int, str | None], meant: EventFilter, limit: int
) -> list[int]:
    """The rows that match, by number; whether an address lies in a network is decided here."""
    if meant.ip is None:
        return [row.id for row in unit.connection.execute(matching.limit(limit))]
    found: list[int] = []
    for row in unit.connection.execute(matching.where(EventRow.ip.is_not(None))):
        if network.contains(meant.ip, network.key(row.ip)):
            found.append(row.id)
            if len(found) == limit:
                break
    return found


def _by_index(unit: UnitOfWork, meant: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if meant.user is not None:
        conditions.append(EventRow.user_id == meant.user)
    if meant.session is not None:
        conditions.append(EventRow.session_id == meant.session)
    if meant.at.since is not None:
        conditions.append(EventRow.id >= _row_at(unit, meant.at.since - SKEW))
    if meant.at.before is not None:
        conditions.append(EventRow.id < _row_at(unit, meant.at.before + SKEW))
    return conditions


def _by_looking(meant: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if meant.type is not None:
        area = meant.type.removesuffix("*")
        is_area = area != meant.type
        conditions.append(
            EventRow.type.startswith(area, autoescape=True)
            if is_area
            else EventRow.type == meant.type
        )
    if meant.at.since is not None:
        conditions.append(EventRow.at >= meant.at.since)
    if meant.at.before is not None:
        conditions.append(EventRow.at < meant.at.before)
    equal = {
        EventRow.client_id: meant.client,
        EventRow.actor: meant.actor,
        EventRow.actor_id: meant.by,
        EventRow.reason: meant.reason,
    }
    conditions += [column == value for column, value in equal.items() if value is not None]
    return conditions


def position_before(unit: UnitOfWork, at: Instant) -> int:
    """The position behind which every event stands that was written at a moment or later; some that
    were written before stand there, too.

    A transaction that commits late has a position behind those of later rows: what is sent again
    begins before the first of all that were asked for. It is among the next `STEP` rows, however
    many follow.
    """
    first_row = _row_at(unit, at - SKEW)
    following = (
        select(EventRow.position)
        .where(EventRow.id >= first_row, EventRow.position.is_not(None))
        .order_by(EventRow.id)
        .limit(STEP)
        .subquery()
    )
    first = unit.connection.scalar(select(func.min(following.c.position)))
    if first is not None:
        return int(first) - 1
    return unit.connection.scalar(select(func.max(EventRow.position))) or 0


def _row_at(unit: UnitOfWork, at: Instant) -> int:
    """The first row that was written at a moment or later, found by halving."""
    low, high = unit.connection.execute(select(func.min(EventRow.id), func.max(EventRow.id))).one()
    if low is None:
        return 0
    high += 1
    while low < high:
        middle = (low + high) // 2
        row = unit.connection.execute(
            select(EventRow.id, EventRow.at)
            .where(EventRow.id >= middle)
            .order_by(EventRow.id)
            .limit(1)
        ).one()
        if row.at < at:
            low = row.id + 1
        else:
            high = middle
    return int(low)

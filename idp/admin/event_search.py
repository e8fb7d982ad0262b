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
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.exc import IntegrityError

from idp.admin.event_filter import EventFilter
from idp.clock import MINUTE, Duration, Instant
from idp.errors import Refused
from idp.events import log
from idp.events.described import COLUMNS
from idp.events.model import EventRow
from idp.policy import network
from idp.policy.network import Network
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users import queries as users

# Rows looked at for one page, and read for one step of an export or of looking for a position.
WALKED = 5_000
STEP = 1_000
# How far the order of numbers may be from that of time: clocks of nodes, transactions that last.
SKEW: Duration = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class Found:
    """Some events, and the row behind which the next begin; None at the end."""

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
    stretch = select(EventRow.id).where(*_by_index(unit, meant)).order_by(EventRow.id.desc())
    if before is not None:
        stretch = stretch.where(EventRow.id < before)
    narrowing = _by_looking(meant)
    is_plain = not narrowing and meant.ip is None
    looked = stretch.limit(limit + 1 if is_plain else WALKED).subquery()
    matching = (
        select(EventRow.id, EventRow.ip)
        .join(looked, looked.c.id == EventRow.id)
        .where(*narrowing)
        .order_by(EventRow.id.desc())
    )
    found = _within(unit, matching, meant, limit + 1)
    newest_first = select(EventRow).where(EventRow.id.in_(found[:limit]))
    shown = list(unit.orm.scalars(newest_first.order_by(EventRow.id.desc())))
    if len(found) > limit:
        return Found(shown, shown[-1].id)
    edge = unit.connection.scalar(select(func.min(looked.c.id)))
    if edge is None:
        return Found(shown, None)
    behind = stretch.where(EventRow.id < edge).limit(1)
    return Found(shown, edge if unit.connection.scalar(behind) is not None else None)


def every(work: Work, meant: EventFilter, *, after: int = 0) -> Iterator[list[Any]]:
    """All events of a resolved filter that there are now behind a position of the chain, in its
    order, as rows of `described.COLUMNS`, some at a time.

    Not in the order of rows: of two transactions the one with the earlier row may commit later
    (PostgreSQL), and whoever went on behind the other would never learn of it. What is not sealed yet
    is sealed now. Each step reads so many positions in a transaction of its own, so that a reader who
    is slow holds nothing. A step may be empty. What is written meanwhile is not among them.
    """
    with suppress(IntegrityError):  # the worker was at it, and will be done with it
        log.seal(work)
    with work.read() as unit:
        until = unit.connection.scalar(select(func.max(EventRow.position))) or 0
        if meant.at.since is not None:
            after = max(after, position_before(unit, meant.at.since))
        if meant.at.before is not None:
            # Whoever wrote until then has committed before anybody wrote what stands behind this.
            until = min(until, position_before(unit, meant.at.before + 3 * SKEW))
    wanted = select(*COLUMNS).where(*_by_looking(meant)).order_by(EventRow.position)
    for positions in _stretches(work, meant, after, until):
        if positions is None:
            yield []
            continue
        with work.read() as unit:
            rows = unit.connection.execute(wanted.where(positions)).all()
        yield [row for row in rows if meant.ip is None or _is_in(meant.ip, row.ip)]


def _stretches(
    work: Work, meant: EventFilter, after: int, until: int
) -> Iterator[ColumnElement[bool] | None]:
    """Positions that are read in one step each: of one person or session, or all there are. None is a
    step that only looked for them.
    """
    owners = _owners(meant)
    if not owners:
        for start in range(after + 1, until + 1, STEP):
            yield EventRow.position.between(start, min(start + STEP - 1, until))
        return
    # What is somebody's is found by row, and goes out by position: some 40 bytes for each of theirs.
    theirs: list[int] = []
    walked: int | None = 0
    while walked is not None:
        with work.read() as unit:
            rows = unit.connection.execute(
                select(EventRow.id, EventRow.position)
                .where(*owners, EventRow.id > walked)
                .order_by(EventRow.id)
                .limit(WALKED)
            ).all()
        theirs.extend(row.position for row in rows if after < (row.position or 0) <= until)
        walked = rows[-1].id if len(rows) == WALKED else None
        yield None
    theirs.sort()
    for start in range(0, len(theirs), STEP):
        yield EventRow.position.in_(theirs[start : start + STEP])


def _within(
    unit: UnitOfWork, matching: Select[int, str | None], meant: EventFilter, limit: int
) -> list[int]:
    """The rows that match, by number; whether an address lies in a network is decided here."""
    if meant.ip is None:
        return [row.id for row in unit.connection.execute(matching.limit(limit))]
    found: list[int] = []
    for row in unit.connection.execute(matching.where(EventRow.ip.is_not(None))):
        if _is_in(meant.ip, row.ip):
            found.append(row.id)
            if len(found) == limit:
                break
    return found


def _is_in(wanted: Network, ip: str | None) -> bool:
    return ip is not None and network.contains(wanted, network.key(ip))


def _owners(meant: EventFilter) -> list[ColumnElement[bool]]:
    """Conditions of which each has an index."""
    owners = {EventRow.user_id: meant.user, EventRow.session_id: meant.session}
    return [column == value for column, value in owners.items() if value is not None]


def _by_index(unit: UnitOfWork, meant: EventFilter) -> list[ColumnElement[bool]]:
    conditions = _owners(meant)
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

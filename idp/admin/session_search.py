"""Finding the sessions that a filter means: pages of them, how many there are, the next to be ended.

Every answer looks at a bounded number of rows, however many sessions there are (AD-07):

- somebody's sessions, those of a narrow network and those that an app few have is in are found by an
  index of their own, and sorted;
- all others are walked in the order in which they are shown, so many rows at a time. A page may
  therefore be short although more follow; it then says where to go on.

They are walked in an index that holds what filters look at, so that the table itself is read only for
those that are shown. SQLite must be told which index to take: it believes that any with equality is
better. Counting looks at every session that runs once, or, by app, at each that the app is in: to ask
of every session whether the app is in it takes several times as long.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    Text,
    Tuple,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy import type_coerce as as_type
from sqlalchemy.sql import visitors

from idp.admin.grammar import Range
from idp.admin.session_filter import SessionFilter
from idp.clock import Instant
from idp.errors import Refused
from idp.oauth.model import Authorization
from idp.policy import management, network
from idp.policy.network import Network
from idp.sessions import life
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries as users
from idp.users.model import User

# Rows looked at for one page: at most where the index holds what is looked at, and where the table must
# be read for each, or another index for its apps.
WALKED_IN_INDEX = 30_000
WALKED = 2_000
# A network with at most so many sessions is narrow, and an app with so many grants is one few have.
NARROW = 2_000

Sort = Literal[
    "last_active_at", "-last_active_at", "created_at", "-created_at", "ended_at", "-ended_at"
]
# The order of each kind of list if none is asked for.
_USUAL: dict[str, Sort] = {
    "active": "-last_active_at",
    "ended": "-ended_at",
    "all": "-created_at",
}
# The index that each kind of list is walked in, by what it is sorted by.
_WALKS: dict[str, dict[str, str]] = {
    "active": {"last_active_at": "ix_sessions_running", "created_at": "ix_sessions_created"},
    "ended": {"ended_at": "ix_sessions_ended_at", "created_at": "ix_sessions_created"},
    "all": {"created_at": "ix_sessions_created"},
}
Key = tuple[int, str]
# As a table, because SQLAlchemy passes hints on for those only.
_SESSIONS = cast(Table, Session.__table__)
_S = _SESSIONS.c
_AUTHORIZATIONS = cast(Table, Authorization.__table__)
# What each index holds.
_HELD = {str(one.name): {column.name for column in one.columns} for one in _SESSIONS.indexes}


@dataclass(frozen=True, slots=True)
class Found:
    """A page of sessions, and the sort key behind which the next begins; None at the end."""

    sessions: list[Session]
    next_key: Key | None


@dataclass(frozen=True, slots=True)
class _Way:
    """How rows are come by: an index (for SQLite), and what chooses its part of it.

    None is the table itself, in which SQLite looks up the ids that were chosen.
    """

    index: str | None
    chosen: tuple[ColumnElement[bool], ...] = ()


def resolved(unit: UnitOfWork, meant: SessionFilter) -> SessionFilter:
    """The filter with the user's id for their name; raises `Refused` (`unknown_user`)."""
    if meant.user is None or meant.user.startswith("usr_"):
        return meant
    user = users.by_identifier(unit, meant.user)
    if user is None:
        raise Refused("unknown_user", "There is no such user.", 400)
    return replace(meant, user=user.id)


def page(
    unit: UnitOfWork,
    meant: SessionFilter,
    *,
    sort: Sort | None = None,
    after: Sequence[Any] | None = None,
    limit: int = 50,
) -> Found:
    """At most `limit` sessions behind the key `after`; `meant` names its user by id.

    Raises `Refused` (`invalid_sort`) for an order that sessions of this state have not.
    """
    order = sort or _USUAL[meant.state]
    name = order.removeprefix("-")
    if name not in _WALKS[meant.state]:
        allowed = ", ".join(_WALKS[meant.state])
        raise Refused(
            "invalid_sort", f"Sessions with state:{meant.state} are sorted by: {allowed}.", 400
        )
    column: Column[Any] = _S[name]
    ordered = _Order(column, is_descending=order.startswith("-"))
    way = _narrow_way(unit, meant)
    edges: Iterator[Key | None] = iter((None,))
    if way is None:
        way = _Way(_WALKS[meant.state][name])
        edges = _edges(unit, meant, _WALKS[meant.state][name], ordered, after)
    wanted = _from(way).where(*way.chosen, *_conditions(unit, meant))
    for edge in edges:
        part = ordered.cut(wanted, after=after, until=edge)
        rows = unit.connection.execute(part.limit(limit + 1)).all()
        if len(rows) > limit:
            last = rows[limit - 1]
            return Found(_read(unit, [row.id for row in rows[:limit]]), (last.key, last.id))
    return Found(_read(unit, [row.id for row in rows]), edge)


def count(unit: UnitOfWork, meant: SessionFilter, rights: frozenset[str]) -> int:
    """How many running sessions are meant that a caller with `rights` may end."""
    way = _narrow_way(unit, meant)
    if way is None:
        way = _way_of_app(meant.client) if meant.client else _Way("ix_sessions_running")
        # Chosen by the way there; it would be looked up again for each.
        meant = replace(meant, client=None)
    wanted = _from(way, func.count()).where(
        *way.chosen, *_conditions(unit, meant), *_endable(rights)
    )
    return int(unit.connection.scalar(wanted) or 0)


def next_to_end(
    unit: UnitOfWork,
    meant: SessionFilter,
    rights: frozenset[str],
    *,
    after: str,
    begun_until: Instant,
    limit: int,
    epoch: int | None = None,
) -> tuple[list[str], str | None]:
    """Ids of running sessions that are meant, behind the id `after`, and where to go on.

    In order of their ids, which nothing changes meanwhile. None as the second when there are no more.
    With an `epoch`, those that it ended and that nobody has marked yet, whenever they were begun.
    """
    conditions = (
        [_S.id > after, life.unmarked(), _S.epoch < epoch]
        if epoch is not None
        else [
            _S.id > after,
            _S.created_at <= begun_until,
            *_conditions(unit, meant),
            *_endable(rights),
        ]
    )
    way = _narrow_way(unit, meant)
    if way is not None:
        wanted = select(_S.id).where(*way.chosen, *conditions)
        edge = None
    else:
        walked = select(_S.id).where(_S.id > after).order_by(_S.id)
        # Of an epoch's nearly all are meant: there is no need to look far ahead.
        ahead = WALKED if epoch is None else 10 * limit
        edge = unit.connection.scalar(walked.offset(ahead).limit(1))
        # The table itself is in this order: SQLite must not go by an index.
        wanted = select(_S.id).with_hint(_SESSIONS, "NOT INDEXED", "sqlite").where(*conditions)
        if edge is not None:
            wanted = wanted.where(_S.id <= edge)
    found = list(unit.connection.scalars(wanted.order_by(_S.id).limit(limit)))
    return found, found[-1] if len(found) == limit else edge


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of sessions: by a column, and among equals by id."""

    column: Column[Any]
    is_descending: bool

    def cut(
        self, wanted: Select[Any], *, after: Sequence[Any] | None, until: Key | None = None
    ) -> Select[Any]:
        """The rows of `wanted` in this order, behind one key and up to another."""
        row = tuple_(self.column, _S.id)
        if after is not None:
            edge = self._values(after)
            wanted = wanted.where(row < edge if self.is_descending else row > edge)
        if until is not None:
            edge = self._values(until)
            wanted = wanted.where(row >= edge if self.is_descending else row <= edge)
        by = (self.column, _S.id)
        wanted = wanted.add_columns(self.column.label("key"))
        return wanted.order_by(*(one.desc() if self.is_descending else one.asc() for one in by))

    def _values(self, key: Sequence[Any]) -> Tuple:
        # With their types: PostgreSQL would take a moment for a small number.
        return tuple_(literal(key[0], self.column.type), literal(key[1], _S.id.type))


def _edges(
    unit: UnitOfWork, meant: SessionFilter, index: str, order: _Order, after: Sequence[Any] | None
) -> Iterator[Key | None]:
    """The key of the last row that is looked at for this page; None when all the rest are.

    First a near one, which is enough for what is common, and then, if it is not, the farthest:
    finding an edge costs as much as looking at every row before it.
    """
    if replace(meant, state="active") == SessionFilter():
        yield None  # whatever is walked is shown
        return
    is_held = _looked_at(_conditions(unit, meant)) <= _HELD[index] and meant.client is None
    wanted = order.cut(_from(_Way(index)).where(_state(meant.state)), after=after)
    for walked in (WALKED, WALKED_IN_INDEX) if is_held else (WALKED,):
        row = unit.connection.execute(wanted.offset(walked).limit(1)).one_or_none()
        yield (row.key, row.id) if row is not None else None
        if row is None:
            return


def _looked_at(conditions: Sequence[ColumnElement[bool]]) -> set[str]:
    """The columns of a session that these look at."""
    return {
        one.name
        for condition in conditions
        for one in visitors.iterate(condition)
        if isinstance(one, Column) and one.table is _SESSIONS
    }


def _from(way: _Way, *columns: ColumnElement[Any]) -> Select[Any]:
    hint = f"INDEXED BY {way.index}" if way.index is not None else "NOT INDEXED"
    return (
        select(*(columns or (_S.id,))).select_from(_SESSIONS).with_hint(_SESSIONS, hint, "sqlite")
    )


def _narrow_way(unit: UnitOfWork, meant: SessionFilter) -> _Way | None:
    """The index that leads to few rows, if the filter has something for one."""
    if meant.user is not None:
        return _Way("ix_sessions_user_active", (_S.user_id == meant.user,))
    if meant.ip is not None:
        within = _within(meant.ip)
        way = _Way("ix_sessions_address", (within,))
        if _is_few(unit, _from(way).where(within)):
            return way
    if meant.client is not None and _is_few(unit, _of_app(meant.client)):
        return _way_of_app(meant.client)
    return None


def _is_few(unit: UnitOfWork, rows: Select[Any]) -> bool:
    some = rows.limit(NARROW + 1).subquery()
    return (unit.connection.scalar(select(func.count()).select_from(some)) or 0) <= NARROW


def _of_app(client_id: str) -> Select[Any]:
    """The sessions that an app is in, whether they run or not, in the index that has them by app."""
    return (
        select(_AUTHORIZATIONS.c.session_id)
        .with_hint(_AUTHORIZATIONS, "INDEXED BY ix_authorizations_client", "sqlite")
        .where(_AUTHORIZATIONS.c.client_id == client_id)
    )


def _way_of_app(client_id: str) -> _Way:
    return _Way(None, (_S.id.in_(_of_app(client_id)),))


def _state(state: str) -> ColumnElement[bool]:
    if state == "all":
        return true()
    return life.unmarked() if state == "active" else life.marked()


def _conditions(unit: UnitOfWork, meant: SessionFilter) -> list[ColumnElement[bool]]:
    """The filter as SQL. Whose deadline passed a moment ago runs no more, and has not ended yet."""
    found = [life.alive(unit.now) if meant.state == "active" else _state(meant.state)]
    equal: dict[Column[Any], object] = {
        _S.user_id: meant.user,
        _S.asn: meant.asn,
        _S.country: meant.country,
        _S.device_type: meant.device,
        _S.origin: meant.origin,
        _S.end_reason: meant.reason,
    }
    found += [column == value for column, value in equal.items() if value is not None]
    if meant.ip is not None:
        found.append(_within(meant.ip))
    if meant.acr is not None:
        found.append(_S.acr.in_(meant.acr))
    if meant.client is not None:
        of_session = _AUTHORIZATIONS.c.session_id == _S.id
        found.append(_of_app(meant.client).where(of_session).exists())
    for column, stretch in (
        (_S.created_at, meant.created),
        (_S.last_active_at, meant.active),
        (_S.ended_at, meant.ended),
    ):
        found += _during(column, stretch)
    return found


def _within(block: Network) -> ColumnElement[bool]:
    return or_(*(_S.address.between(first, last) for first, last in network.spans(block)))


def _during(column: Column[Any], stretch: Range) -> list[ColumnElement[bool]]:
    found = []
    if stretch.since is not None:
        found.append(column >= stretch.since)
    if stretch.before is not None:
        found.append(column < stretch.before)
    return found


def _endable(rights: frozenset[str]) -> list[ColumnElement[bool]]:
    """Not the sessions of people who stand above the caller (AD-04)."""
    missing = sorted(management.POWER - rights)
    if not missing:
        return []
    # As text, because the column's own type would make the pattern a JSON string.
    held = as_type(User.permissions, Text)
    above = select(User.id).where(or_(*(held.contains(f'"{one}"') for one in missing)))
    return [_S.user_id.not_in(above)]


def _read(unit: UnitOfWork, session_ids: Sequence[str]) -> list[Session]:
    rows = unit.orm.scalars(select(Session).where(Session.id.in_(session_ids)))
    by_id = {row.id: row for row in rows}
    return [by_id[one] for one in session_ids if one in by_id]

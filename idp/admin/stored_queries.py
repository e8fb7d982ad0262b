"""Searches and reports that administrators keep under a name: kind, name, and the text of the query.

One concept for all of them. The text is in the grammar of its kind (`session_filter`, `event_filter`,
`report_span`), read when it is kept and again when it is opened, and it is nothing but a question:
whoever opens one sees what they may see, and who may not ask such questions does not see that it is
there. They are everybody's who may. Bounded in number and size.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args
from urllib.parse import urlencode

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from idp import ids
from idp.admin import event_filter, report_span, session_filter
from idp.admin.model import QUERY_NAME_MAXIMUM, QueryKind, StoredQuery
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import QueryChanged, QueryRemoved, QuerySaved
from idp.policy.management import Scope
from idp.storage.exclusive import one_at_a_time
from idp.storage.unit_of_work import UnitOfWork

# As many as can be read through.
MOST = 200
Report = Literal["usage", "incidents", "compliance"]
REPORTS: tuple[Report, ...] = get_args(Report)
# What one must be allowed to read to ask a question of that kind.
RIGHTS: Mapping[QueryKind, Scope] = {
    "sessions": "sessions:read",
    **dict.fromkeys(("events", *REPORTS), "events:read"),
}
KINDS: tuple[QueryKind, ...] = get_args(QueryKind)


def page(query: StoredQuery) -> str:
    """The address of the page that answers it, which reads its text again."""
    where = f"/admin/reports/{query.kind}" if query.kind in REPORTS else f"/admin/{query.kind}"
    return f"{where}?{urlencode({'q': query.text})}" if query.text else where


def all_of(unit: UnitOfWork, rights: frozenset[str]) -> list[StoredQuery]:
    """Those that somebody with these rights may open, by name."""
    kinds = [kind for kind, right in RIGHTS.items() if right in rights]
    wanted = select(StoredQuery).where(StoredQuery.kind.in_(kinds))
    return list(unit.orm.scalars(wanted.order_by(StoredQuery.name, StoredQuery.id)))


def save(unit: UnitOfWork, *, name: str, kind: QueryKind, text: str, actor: Actor) -> StoredQuery:
    """Keeps a query under a name.

    Raises `Refused`: `invalid_filter`, `invalid_span`, `invalid_name` (400), `name_taken`,
    `too_many_queries` (409).
    """
    one_at_a_time(unit.connection, "queries")
    if (unit.connection.scalar(select(func.count()).select_from(StoredQuery)) or 0) >= MOST:
        raise Refused("too_many_queries", f"At most {MOST} queries are kept.", 409)
    query = StoredQuery(
        id=ids.new("qry"),
        name=_name(name),
        kind=kind,
        text=_readable(kind, text),
        changed_at=unit.now,
        changed_by=_who(actor),
    )
    unit.orm.add(query)
    _flush(unit)
    unit.record(QuerySaved(actor=actor.kind, actor_id=actor.id, query=query.id, after=_said(query)))
    return query


def change(unit: UnitOfWork, query: StoredQuery, *, name: str, text: str, actor: Actor) -> None:
    """Gives it another name or text; raises `Refused` like `save`."""
    before = _said(query)
    query.name, query.text = _name(name), _readable(query.kind, text)
    after = _said(query)
    if after == before:
        return
    query.changed_at, query.changed_by = unit.now, _who(actor)
    _flush(unit)
    unit.record(
        QueryChanged(
            actor=actor.kind, actor_id=actor.id, query=query.id, before=before, after=after
        )
    )


def remove(unit: UnitOfWork, query: StoredQuery, actor: Actor) -> None:
    """Forgets it."""
    unit.orm.delete(query)
    unit.record(
        QueryRemoved(actor=actor.kind, actor_id=actor.id, query=query.id, before=_said(query))
    )


def held(unit: UnitOfWork, query_id: str) -> StoredQuery:
    """The query of this id, held until the end of the transaction; raises `Refused` (404)."""
    query = unit.orm.get(StoredQuery, query_id, with_for_update=True)
    if query is None:
        raise not_found()
    return query


def not_found() -> Refused:
    return Refused("query_not_found", "There is no such query.", 404)


_READERS: Mapping[QueryKind, Callable[[str], object]] = {
    "sessions": session_filter.parse,
    "events": lambda text: event_filter.of_values({}, text),
    **dict.fromkeys(REPORTS, lambda text: report_span.of_values({}, text)),
}


def _readable(kind: QueryKind, text: str) -> str:
    """The text as it was typed, after it was read; raises `Refused`."""
    _READERS[kind](text)
    return " ".join(text.split())


def _name(name: str) -> str:
    found = " ".join(name.split())
    if not 1 <= len(found) <= QUERY_NAME_MAXIMUM or not found.isprintable():
        raise Refused(
            "invalid_name", f"A name has 1 to {QUERY_NAME_MAXIMUM} visible characters.", 400
        )
    return found


def _flush(unit: UnitOfWork) -> None:
    """The database decides what has a name, also between two who ask at the same moment."""
    try:
        unit.flush()
    except IntegrityError:
        raise Refused("name_taken", "Another of this kind is kept under this name.", 409) from None


def _who(actor: Actor) -> str:
    return actor.id or actor.kind


def _said(query: StoredQuery) -> dict[str, str]:
    return {"name": query.name, "kind": query.kind, "query": query.text}

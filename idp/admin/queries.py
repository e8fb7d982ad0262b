"""Stored queries over the management API: searches and reports under a name.

Who may read them sees those that they may ask (`stored_queries.RIGHTS`), and is told of no other.
"""

from typing import Annotated

from pydantic import Field

from idp.admin import grammar, stored_queries
from idp.admin.answering import require_match
from idp.admin.model import QUERY_NAME_MAXIMUM, QueryKind, StoredQuery
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Because, Line, Model, Moment, changes, moment
from idp.errors import Refused

Name = Annotated[Line, Field(max_length=QUERY_NAME_MAXIMUM)]
Text = Annotated[
    str,
    Field(
        max_length=grammar.TEXT_MAXIMUM,
        description="In the grammar of its kind: `country:FR device:phone` for sessions, "
        "`type:session.* by:alice` for events, `days:7` or `from:2026-11-01 to:2026-11-30` for "
        "a report.",
    ),
]


class Query(Model):
    """A search or report that is kept; `page` shows its answer to people."""

    id: str
    name: str
    kind: QueryKind
    query: str
    page: str
    changed_at: Moment
    changed_by: str


class Queries(Model):
    """The queries that the caller may ask, by name."""

    items: list[Query]


class NewQuery(Model):
    """A query to be kept; without a text all sessions that run, all events, the last 30 days."""

    name: Name
    kind: QueryKind
    query: Text = ""


class QueryChange(Model):
    """What is to be different; what is left out stays."""

    name: Name = ""
    query: Text = ""


def list_queries(call: Call, _: None) -> Queries:
    """List the searches and reports that are kept."""
    return Queries(items=[_described(one) for one in stored_queries.all_of(call.unit, call.rights)])


def save_query(call: Call, new: NewQuery) -> Query:
    """Keep a search or report under a name."""
    if stored_queries.RIGHTS[new.kind] not in call.rights:
        raise Refused("above_you", "You may not ask this yourself.", 403)
    made = stored_queries.save(
        call.unit, name=new.name, kind=new.kind, text=new.query, actor=call.actor
    )
    return _described(made)


def get_query(call: Call, _: None) -> Query:
    """Show one of them."""
    return _described(_found(call))


def change_query(call: Call, change: QueryChange) -> Query:
    """Give one another name, or another text."""
    query = _held(call)
    given = changes(change)
    stored_queries.change(
        call.unit,
        query,
        name=given.get("name", query.name),
        text=given.get("query", query.text),
        actor=call.actor,
    )
    return _described(query)


def remove_query(call: Call, _: Because) -> Query:
    """Forget one."""
    query = _held(call)
    gone = _described(query)
    stored_queries.remove(call.unit, query, call.actor)
    return gone


def _found(call: Call) -> StoredQuery:
    query = call.unit.orm.get(StoredQuery, call.params["id"])
    if query is None:
        raise stored_queries.not_found()
    return _seen(call, query)


def _held(call: Call) -> StoredQuery:
    """The query, if the change is meant for what it says now."""
    query = _seen(call, stored_queries.held(call.unit, call.params["id"]))
    require_match(call, _described(query))
    return query


def _seen(call: Call, query: StoredQuery) -> StoredQuery:
    """The query, if the caller may ask it; otherwise it is as unknown as none."""
    if stored_queries.RIGHTS[query.kind] not in call.rights:
        raise stored_queries.not_found()
    return query


def _described(query: StoredQuery) -> Query:
    return Query(
        id=query.id,
        name=query.name,
        kind=query.kind,
        query=query.text,
        page=stored_queries.page(query),
        changed_at=moment(query.changed_at),
        changed_by=query.changed_by,
    )


OPERATIONS = (
    Operation(
        method="GET", path="/queries", scope="queries:read", carry_out=list_queries, gives=Queries,
    ),
    Operation(
        method="POST", path="/queries", scope="queries:write", carry_out=save_query,
        takes=NewQuery, gives=Query, status=201, repeat="keyed", tag="shown",
    ),
    Operation(
        method="GET", path="/queries/{id}", scope="queries:read", carry_out=get_query,
        gives=Query, tag="shown",
    ),
    Operation(
        method="PATCH", path="/queries/{id}", scope="queries:write", carry_out=change_query,
        takes=QueryChange, gives=Query, tag="required",
    ),
    Operation(
        method="DELETE", path="/queries/{id}", scope="queries:write", carry_out=remove_query,
        takes=Because, gives=Query, tag="required",
    ),
)  # fmt: skip

"""`idp queries`: searches and reports that are kept under a name."""

from typing import Annotated, Any

import typer

from idp.admin import stored_queries
from idp.admin.model import StoredQuery
from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.errors import Refused
from idp.policy import management

app = typer.Typer(no_args_is_help=True, help="Searches and reports that are kept under a name.")

Id = Annotated[str, typer.Argument(help="The query's id (qry_…).")]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List them, by name."""
    with look() as unit:
        data = [_described(one) for one in stored_queries.all_of(unit, management.ALL)]
    rows = [[one[name] for name in ("id", "name", "kind", "query", "page")] for one in data]
    answer(data, table(("ID", "NAME", "KIND", "QUERY", "PAGE"), rows), as_json=as_json)


@app.command()
def save(
    name: Annotated[str, typer.Argument(help="The name it is kept under.")],
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(stored_queries.KINDS)}.")],
    terms: Annotated[
        list[str] | None,
        typer.Argument(
            help="What is asked: terms of `idp sessions search` or `idp events export`, or of a "
            "report days:30, from:2026-11-01 to:2026-11-30."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a search or report under a name."""
    known = {one: one for one in stored_queries.KINDS}
    if kind not in known:
        raise Refused("invalid_kind", f"A kind is one of: {', '.join(known)}.", 400)
    with change() as unit:
        made = stored_queries.save(
            unit, name=name, kind=known[kind], text=" ".join(terms or ()), actor=ADMIN
        )
        data = _described(made)
    answer(data, fields(data), as_json=as_json)


@app.command(name="change")
def change_(
    query_id: Id,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    query: Annotated[str | None, typer.Option(help="Other terms, as one text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give one another name, or other terms."""
    with change() as unit:
        kept = stored_queries.held(unit, query_id)
        stored_queries.change(
            unit,
            kept,
            name=kept.name if name is None else name,
            text=kept.text if query is None else query,
            actor=ADMIN,
        )
        data = _described(kept)
    answer(data, fields(data), as_json=as_json)


@app.command()
def remove(query_id: Id, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Forget one."""
    confirm(f"Forget {query_id}?", confirmed=yes)
    with change() as unit:
        kept = stored_queries.held(unit, query_id)
        data = _described(kept)
        stored_queries.remove(unit, kept, ADMIN)
    answer(data, fields(data), as_json=as_json)


def _described(query: StoredQuery) -> dict[str, Any]:
    return {
        "id": query.id,
        "name": query.name,
        "kind": query.kind,
        "query": query.text,
        "page": stored_queries.page(query),
        "changed_at": moment(query.changed_at),
        "changed_by": query.changed_by,
    }

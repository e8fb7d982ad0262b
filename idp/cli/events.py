"""`idp events`: the audit log."""

import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from idp.admin import event_filter, event_search
from idp.admin import events as exported
from idp.admin.event_filter import EventFilter
from idp.cli.opened import look, product
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.cli.user import found
from idp.errors import Refused
from idp.events import log, queries
from idp.events.model import EventRow
from idp.storage.unit_of_work import UnitOfWork

app = typer.Typer(no_args_is_help=True, help="The audit log: list, export, verify its chain.")


@app.command(name="list")
def list_(
    user: Annotated[str | None, typer.Option(help="Only what concerns this user.")] = None,
    session: Annotated[str | None, typer.Option(help="Only what concerns this session.")] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only this type, such as session.ended.")
    ] = None,
    before: Annotated[int | None, typer.Option(help="Only before this position.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List events, the newest first."""
    with look() as unit:
        # A deleted user is no longer found by name, but their events are by id.
        if user is not None and not user.startswith("usr_"):
            user = found(unit, user).id
        meant = event_filter.of_values({"type": type_} if type_ is not None else {})
        rows = _newest(unit, replace(meant, user=user, session=session), before=before, limit=limit)
    data = [_described(row) for row in rows]
    shown = ("position", "at", "type", "actor", "user_id", "session_id", "client_id", "reason")
    answer(
        data,
        table(
            ("POSITION", "AT", "TYPE", "ACTOR", "USER", "SESSION", "CLIENT", "REASON"),
            [[one[column] for column in shown] for one in data],
        ),
        as_json=as_json,
    )


@app.command()
def export(
    terms: Annotated[
        list[str] | None, typer.Argument(help="What they must be like; all must hold.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only behind this `position`.")] = 0,
) -> None:
    """Print events as JSON lines, the oldest first: `type:session.* by:alice at>2026-11-01`.

    The terms are those of the management API: type, user, session, client, actor, by, ip, reason; and
    at compared with a moment. The last line's `position` is where the next export goes on (`--after`).
    """
    meant = event_filter.of_values({}, " ".join(terms or ()))
    with product() as work:
        with work.read() as unit:
            meant = event_search.resolved(unit, meant)
        for batch in exported.batches(work, meant, after=after):
            sys.stdout.buffer.write(batch)
        sys.stdout.buffer.flush()


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Walk the whole chain of seals; ends with 1 when a row was changed, removed or put in."""
    with look() as unit:
        count, fault = log.verify(unit)
    if fault is not None:
        raise Refused("chain_broken", f"The audit log was tampered with: {fault}.")
    data = {"ok": True, "rows": count}
    answer(data, fields(data), as_json=as_json)


def _newest(
    unit: UnitOfWork, meant: EventFilter, *, before: int | None, limit: int
) -> list[EventRow]:
    """Looks through the log step by step until there are enough."""
    marked = queries.at_position(unit, before) if before is not None else None
    if before is not None and marked is None:
        raise Refused("event_not_found", f"There is no event at position {before}.")
    mark = marked.id if marked is not None else None
    rows: list[EventRow] = []
    while len(rows) < limit:
        found = event_search.page(unit, meant, before=mark, limit=limit - len(rows))
        rows += found.rows
        mark = found.next_mark
        if mark is None:
            break
    return rows


def _described(row: EventRow) -> dict[str, Any]:
    return {
        "position": row.position,
        "event_id": row.event_id,
        "type": row.type,
        "at": moment(row.at),
        "actor": row.actor,
        "actor_id": row.actor_id,
        "user_id": row.user_id,
        "session_id": row.session_id,
        "client_id": row.client_id,
        "ip": row.ip,
        "reason": row.reason,
        "data": row.data,
    }

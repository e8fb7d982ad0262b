"""/admin/events: the audit log, by terms and by fields; one event with what it changed; as JSON lines.

Whatever is asked for stands in the address, so a search can be kept and sent. Which events are meant
and how they are found is the API's (`idp.admin.events`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from idp.admin import events
from idp.admin.event_filter import AREAS
from idp.admin.events import Event, EventExport, EventQuery
from idp.console import names, rooms
from idp.console.people import query
from idp.errors import Refused
from idp.events import catalogue
from idp.web.http import PageRequest, WebContext
from idp.web.lines import LinesResponse, Reader
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/events"
_FIELDS = ("q", "type", "user", "at_after", "at_before", "page_token")
_MEANING = {one.type: " ".join((one.__doc__ or "").split()) for one in catalogue.ALL}


@dataclass(frozen=True, slots=True)
class Change:
    """One member of what was changed; None where there was nothing, or is nothing now."""

    name: str
    before: str | None
    after: str | None


def routes(context: WebContext) -> list[Route]:
    """/admin/events, /admin/events/{position}"""
    return [
        rooms.room(context, PATH, "events:read", {"GET": show_all}),
        rooms.room(context, f"{PATH}/{{position}}", "events:read", {"GET": show}),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/events?q=type:session.* by:alice at>2026-11-01&format=jsonl"""
    given = {name: said for name in _FIELDS if (said := query(request, name))}
    found, problem, meant = None, None, ""
    try:
        if request.query.get("format") == "jsonl":
            return _file(context, visitor, given)
        asked = rooms.taken(EventQuery, given)
        meant = asked.meant.text
        found = rooms.carry_out(context, visitor, events.list_events, asked).found
    except Refused as refused:
        problem = refused
    shown, rights = found.items if found is not None else [], rooms.rights(visitor)
    with context.work.read() as unit:
        people = names.of_people(
            unit, rights, [one for row in shown for one in (row.user_id, row.actor_id)]
        )
        apps = names.of_apps(unit, [one for row in shown for one in (row.client_id, row.actor_id)])
    return rooms.page(
        context,
        request,
        visitor,
        "events.html",
        status=problem.status if problem is not None else 200,
        given=given,
        meant=meant,
        key=rooms.new_key(),
        found=found,
        people=people,
        apps=apps,
        areas=AREAS,
        kinds=_MEANING,
        problem=problem.sentence if problem is not None else None,
    )


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/events/{position}"""
    position = request.params["position"]
    event: Event = rooms.carry_out(context, visitor, events.get_event, position=position).found
    with context.work.read() as unit:
        people = names.of_people(unit, rooms.rights(visitor), [event.user_id, event.actor_id])
        apps = names.of_apps(unit, [event.client_id, event.actor_id])
    changes = _changes(event.data)
    told = {
        name: _said(value)
        for name, value in event.data.items()
        if name != "because" and value is not None
    }
    if changes is not None:
        told = {name: said for name, said in told.items() if name not in ("before", "after")}
    return rooms.page(
        context,
        request,
        visitor,
        "event.html",
        event=event,
        meaning=_MEANING.get(event.type, ""),
        changes=changes,
        told=told,
        because=event.data.get("because"),
        people=people,
        apps=apps,
    )


def _file(context: WebContext, visitor: Visitor, given: Mapping[str, str]) -> Response:
    asked = rooms.taken(
        EventExport, {name: said for name, said in given.items() if name != "page_token"}
    )
    lines = rooms.carry_out(context, visitor, events.export_events, asked).found
    reader = Reader(visitor.user.id, partial(_may_read, context, visitor.session.id))
    return LinesResponse(lines, reader, name="events.jsonl")


def _may_read(context: WebContext, session_id: str) -> bool:
    return "events:read" in rooms.rights_now(context, session_id)


def _changes(data: Mapping[str, Any]) -> list[Change] | None:
    """What stood before and what stands after, member by member; None where neither was written."""
    if "before" not in data and "after" not in data:
        return None
    before, after = data.get("before") or {}, data.get("after") or {}
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [Change("value", _said(data.get("before")), _said(data.get("after")))]
    return [
        Change(
            name,
            _said(before[name]) if name in before else None,
            _said(after[name]) if name in after else None,
        )
        for name in sorted({*before, *after})
    ]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()

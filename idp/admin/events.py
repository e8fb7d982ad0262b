"""The audit log over the management API: searched, read one by one, and exported as JSON lines.

Which events are meant is `event_filter`; how they are found in bounded steps, `event_search`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from idp.admin import event_filter, event_search, grammar, paging
from idp.admin.event_filter import EventFilter
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model, Moment, Nothing, Page, PageQuery, When
from idp.errors import Refused
from idp.events import queries
from idp.events.described import described, line
from idp.storage.unit_of_work import Work
from idp.web.lines import Lines

Value = Annotated[str, Field(min_length=1, max_length=grammar.VALUE_MAXIMUM)]
# As much of a position as both databases hold.
DIGITS_MAXIMUM = 15


class Event(Model):
    """A fact that happened; `data` has what is particular to its type. `position` is its place in the
    sealed chain, and null in its first second.
    """

    id: str
    position: int | None
    type: str
    at: Moment
    actor: str
    actor_id: str | None
    user_id: str | None
    session_id: str | None
    client_id: str | None
    ip: str | None
    reason: str | None
    data: dict[str, Any]


class EventPage(Page):
    """Events, the newest first. A page may be short, or empty, although more follow."""

    items: list[Event]


class EventTerms(Model):
    """Which events are meant; every term must hold. `q` takes them in the grammar of searches."""

    q: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=grammar.TEXT_MAXIMUM,
                description="Terms as one text: `type:session.* by:alice at>2026-11-01`.",
            ),
        ]
        | Nothing
    ) = None
    type: Value | Nothing = Field(None, description="Such as session.ended, or session.*")
    user: Value | Nothing = Field(
        None, description="Id (also of somebody who was deleted), user name or e-mail address."
    )
    session: Value | Nothing = None
    client: Value | Nothing = None
    actor: Literal["user", "admin", "client", "system"] | Nothing = None
    by: Value | Nothing = Field(None, description="Who did it: an id or user name.")
    ip: Value | Nothing = Field(None, description="An address, or a network such as 10.0.0.0/8.")
    reason: Value | Nothing = None
    at_after: When | Nothing = None
    at_before: When | Nothing = None

    @property
    def meant(self) -> EventFilter:
        """The filter; raises `Refused` (`invalid_filter`)."""
        given = {name: value for name in _TERMS if (value := getattr(self, name)) is not None}
        return event_filter.of_values(given, self.q)


_TERMS = tuple(name for name in EventTerms.model_fields if name != "q")


class EventQuery(PageQuery, EventTerms):
    """Which events are wanted, and which part of them."""


class EventExport(EventTerms):
    """Which events are exported."""

    after: int = Field(0, ge=0, lt=10**DIGITS_MAXIMUM, description="Only behind this `position`.")


def list_events(call: Call, query: EventQuery) -> EventPage:
    """Search the audit log, the newest first."""
    after = paging.after(call, query)
    meant = query.meant
    try:
        meant = event_search.resolved(call.unit, meant)
    except Refused:
        return EventPage(items=[], next_page_token=None)  # nobody has such a name
    before = after[0] if after is not None else None
    found = event_search.page(call.unit, meant, before=before, limit=query.page_size)
    last = found.next_mark
    return EventPage(
        items=[Event(**described(row)) for row in found.rows],
        next_page_token=paging.next_token(call, query, None if last is None else [last]),
    )


def position_of(text: str) -> int | None:
    """The position that a text names, if it is one."""
    is_one = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAXIMUM
    return int(text) if is_one else None


def get_event(call: Call, _: None) -> Event:
    """Show one event, by its `position`."""
    position = position_of(call.params["position"])
    row = queries.at_position(call.unit, position) if position is not None else None
    if row is None:
        raise Refused("event_not_found", "There is no such event.", 404)
    return Event(**described(row))


def export_events(call: Call, query: EventExport) -> Lines:
    """Export events as JSON lines, in the order of `position`: all that match and are there now."""
    meant = event_search.resolved(call.unit, query.meant)
    return Lines(batches(call.provider.work, meant, after=query.after))


def batches(work: Work, meant: EventFilter, *, after: int = 0) -> Iterator[bytes]:
    """The events of a resolved filter as JSON lines, some at a time; a batch may be empty."""
    for rows in event_search.every(work, meant, after=after):
        yield b"".join(map(line, rows))


OPERATIONS = (
    Operation(
        method="GET", path="/events", scope="events:read", carry_out=list_events,
        takes=EventQuery, gives=EventPage,
    ),
    Operation(
        method="GET", path="/events/export", scope="events:read", carry_out=export_events,
        takes=EventExport, gives=Event, sends="lines",
    ),
    Operation(
        method="GET", path="/events/{position}", scope="events:read", carry_out=get_event,
        gives=Event,
    ),
)  # fmt: skip

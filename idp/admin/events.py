"""The audit log and the signing keys over the management API: read, and keys rotated."""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import func, select

from idp.admin import paging
from idp.admin.operation import Call, Operation
from idp.admin.schemas import (
    Because,
    Model,
    Moment,
    Nothing,
    Page,
    PageQuery,
    moment,
    moment_or_none,
)
from idp.events.model import EventRow
from idp.oauth import keys
from idp.oauth.model import SigningKey

# Rows looked at for one page of a type.
WALKED = 5_000
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9._~-]+$")]


class Event(Model):
    """A fact that happened; `data` has what is particular to its type."""

    id: str
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
    """Events, the newest first."""

    items: list[Event]


class EventQuery(PageQuery):
    """Which events are wanted: of one person, or of one session, or all; of one type or of any."""

    type: Word | Nothing = None
    user: Word | Nothing = Field(None, description="usr_…; also of somebody who was deleted.")
    session: Word | Nothing = None


class Key(Model):
    """A signing key: next (published), active (signs), or retired."""

    kid: str
    alg: str
    state: str
    created_at: Moment
    activated_at: Moment | None
    retired_at: Moment | None


class Keys(Model):
    """Every signing key, the oldest first."""

    items: list[Key]


def list_events(call: Call, query: EventQuery) -> EventPage:
    """Read the audit log, the newest first. A page may be short although more follow."""
    after = paging.after(call, query)
    wanted = select(EventRow).order_by(EventRow.id.desc())
    if query.user is not None:
        wanted = wanted.where(EventRow.user_id == query.user)
    if query.session is not None:
        wanted = wanted.where(EventRow.session_id == query.session)
    if after is not None:
        wanted = wanted.where(EventRow.id < after[0])
    # The type has no index, which every commit would have to keep: so many rows are looked at.
    looked = wanted.limit(WALKED if query.type is not None else query.page_size + 1).subquery()
    of_type = select(EventRow).join(looked, looked.c.id == EventRow.id).order_by(EventRow.id.desc())
    if query.type is not None:
        of_type = of_type.where(EventRow.type == query.type)
    found = list(call.unit.orm.scalars(of_type.limit(query.page_size + 1)))
    shown = found[: query.page_size]
    last = shown[-1].id if len(found) > len(shown) else None
    if last is None and query.type is not None:
        # All that were looked at: is there anything behind the last of them?
        edge = call.unit.connection.scalar(select(func.min(looked.c.id)))
        behind = wanted.where(EventRow.id < (edge or 0)).limit(1)
        last = edge if call.unit.orm.scalar(behind) is not None else None
    return EventPage(
        items=[_event(row) for row in shown],
        next_page_token=paging.next_token(call, query, [last] if last else None),
    )


def list_keys(call: Call, _: None) -> Keys:
    """List the signing keys; never a private one."""
    return _keys(call)


def rotate_keys(call: Call, _: Because) -> Keys:
    """Sign with the next keys from now on; tokens signed by the old ones stay valid."""
    keys.rotate(call.unit, actor=call.actor.kind, actor_id=call.actor.id)
    call.unit.flush()
    call.unit.after_commit(call.provider.keyring.reload)
    return _keys(call)


def _keys(call: Call) -> Keys:
    rows = call.unit.orm.scalars(select(SigningKey).order_by(SigningKey.created_at, SigningKey.kid))
    return Keys(
        items=[
            Key(
                kid=row.kid,
                alg=row.alg,
                state=row.state,
                created_at=moment(row.created_at),
                activated_at=moment_or_none(row.activated_at),
                retired_at=moment_or_none(row.retired_at),
            )
            for row in rows
        ]
    )


def _event(row: EventRow) -> Event:
    return Event(
        id=row.event_id,
        type=row.type,
        at=moment(row.at),
        actor=row.actor,
        actor_id=row.actor_id,
        user_id=row.user_id,
        session_id=row.session_id,
        client_id=row.client_id,
        ip=row.ip,
        reason=row.reason,
        data=row.data,
    )


OPERATIONS = (
    Operation(
        method="GET", path="/events", scope="events:read", carry_out=list_events,
        takes=EventQuery, gives=EventPage,
    ),
    Operation(method="GET", path="/keys", scope="keys:read", carry_out=list_keys, gives=Keys),
    Operation(
        method="POST", path="/keys/rotate", scope="keys:rotate", carry_out=rotate_keys,
        takes=Because, gives=Keys, proof="fresh", repeat="keyed",
    ),
)  # fmt: skip

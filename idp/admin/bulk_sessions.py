"""Ending many sessions over the management API: a dry run, the order, and how far it is."""

from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import select

from idp.admin import bulk, paging, session_search
from idp.admin.model import DONE, BulkSignOut
from idp.admin.operation import Call, Operation
from idp.admin.schemas import (
    Model,
    Moment,
    Nothing,
    Page,
    PageQuery,
    Reason,
    moment,
    moment_or_none,
)
from idp.admin.session_filter import SessionFilter
from idp.admin.session_schemas import Session, Terms, described
from idp.errors import Refused
from idp.sessions.model import Session as SessionRow

SAMPLE = 5


class Meant(Terms):
    """Which running sessions are meant: terms, or everybody, said so."""

    all: Literal[True] | Nothing = Field(None, description="Everybody; stands alone.")


class Revocation(Model):
    """Sessions to be ended, and why."""

    filter: Meant
    reason: Reason
    dry_run: bool = Field(default=False, description="Only say how many there are.")


class AppResult(Model):
    """An app of sessions that ended: in how many it was, and for how many it was told.

    The rest of them is without an address: it stops when it next asks.
    """

    client_id: str
    name: str
    sessions: int
    told: int
    telling: int
    not_told: int


class OperationState(Model):
    """A bulk sign-out; `apps` is what became of each app so far."""

    id: str
    state: Literal["running", "done"]
    filter: str
    reason: str
    asked_by: str | None
    matched: int
    ended: int
    created_at: Moment
    effective_at: Annotated[
        Moment | None,
        Field(description="Since when all of them are over; null: each since it was ended."),
    ]
    finished_at: Moment | None


class OperationDetail(OperationState):
    """A bulk sign-out with what became of each app so far."""

    apps: list[AppResult]


class OperationPage(Page):
    """Bulk sign-outs, the newest first."""

    items: list[OperationState]


class Revoked(Model):
    """How many sessions are meant, some of them for whoever may read sessions, and what carries it
    out; null for a dry run.
    """

    matched: int
    sample: list[Session]
    operation: OperationState | None


def revoke_sessions(call: Call, wanted: Revocation) -> Revoked:
    """End every running session that a filter means; a dry run says how many there are."""
    meant = _meant(call, wanted.filter)
    sample = _sample(call, meant)
    if wanted.dry_run:
        count = session_search.count(call.unit, meant, call.rights)
        return Revoked(matched=count, sample=sample, operation=None)
    if "idempotency-key" not in call.headers:
        raise Refused(
            "idempotency_key_required",
            "Send an Idempotency-Key, so that a request which is sent again ends nobody twice.",
            400,
        )
    order = bulk.begin(call.unit, meant, reason=wanted.reason, actor=call.actor, rights=call.rights)
    return Revoked(matched=order.matched, sample=sample, operation=_state(order))


def list_operations(call: Call, query: PageQuery) -> OperationPage:
    """List the bulk sign-outs, the newest first."""
    after = paging.after(call, query)
    wanted = select(BulkSignOut).order_by(BulkSignOut.created_at.desc(), BulkSignOut.id.desc())
    if after is not None:
        wanted = wanted.where(paging.below((BulkSignOut.created_at, BulkSignOut.id), after))
    found = list(call.unit.orm.scalars(wanted.limit(query.page_size + 1)))
    shown = found[: query.page_size]
    last = (shown[-1].created_at, shown[-1].id) if len(found) > len(shown) else None
    return OperationPage(
        items=[_state(one) for one in shown],
        next_page_token=paging.next_token(call, query, last),
    )


def get_operation(call: Call, _: None) -> OperationDetail:
    """Show how far a bulk sign-out is, and what became of each app."""
    order = call.unit.orm.get(BulkSignOut, call.params["id"])
    if order is None:
        raise Refused("operation_not_found", "There is no such operation.", 404)
    apps = [
        AppResult(
            client_id=one.client_id,
            name=one.name,
            sessions=one.sessions,
            told=one.told,
            telling=one.telling,
            not_told=one.not_told,
        )
        for one in bulk.results(call.unit, order.id)
    ]
    return OperationDetail(**dict(_state(order)), apps=apps)


def _meant(call: Call, given: Meant) -> SessionFilter:
    meant = given.meant
    if given.all:
        if meant != SessionFilter():
            raise Refused("invalid_filter", "“all” stands alone.", 400)
        return meant
    return bulk.matching(session_search.resolved(call.unit, meant))


def _sample(call: Call, meant: SessionFilter) -> list[Session]:
    """Some of what is meant; by filters of one's own, everything about anybody could be read so."""
    if "sessions:read" not in call.rights:
        return []
    found, _ = session_search.next_to_end(
        call.unit, meant, call.rights, after="", begun_until=call.unit.now, limit=SAMPLE
    )
    rows = call.unit.orm.scalars(select(SessionRow).where(SessionRow.id.in_(found)))
    return described(call.unit, list(rows))


def _state(order: BulkSignOut) -> OperationState:
    return OperationState(
        id=order.id,
        state="done" if order.state == DONE else "running",
        filter=order.filter,
        reason=order.reason,
        asked_by=order.actor_id,
        matched=order.matched,
        ended=order.ended,
        created_at=moment(order.created_at),
        effective_at=moment(order.created_at) if order.epoch is not None else None,
        finished_at=moment_or_none(order.finished_at),
    )


OPERATIONS = (
    Operation(
        method="POST", path="/sessions/revoke", scope="sessions:revoke", carry_out=revoke_sessions,
        takes=Revocation, gives=Revoked, proof="fresh", repeat="keyed",
    ),
    Operation(
        method="GET", path="/operations", scope="sessions:read", carry_out=list_operations,
        takes=PageQuery, gives=OperationPage,
    ),
    Operation(
        method="GET", path="/operations/{id}", scope="sessions:read", carry_out=get_operation,
        gives=OperationDetail,
    ),
)  # fmt: skip

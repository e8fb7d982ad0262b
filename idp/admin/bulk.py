"""Ending every session that a filter means: counted first, carried out in batches, safe to repeat.

A request writes what is to be done and does the first batch; the worker does the rest, a batch in
each transaction, and notes how far it came in the same one. So a process that dies loses the batch
under way and nothing else, and whoever goes on goes on from there. Sessions are taken in the order of
their ids; those begun after the request are left alone. Each ends by `lifecycle.end`, so that each has
its event, with who asked and why, and its apps are told.

"Everybody" also means what has outlived its session: offline grants, and browsers that stay signed in.
From whoever has every power it is effective with the answer, however many there are: a new epoch begins
(`idp.sessions.epoch`), and the worker then only marks what is over, and tells the apps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, literal_column, select

from idp import ids
from idp.admin import session_filter, session_search
from idp.admin.model import DONE, ENDING, OUTLIVED, BulkSession, BulkSignOut
from idp.admin.session_filter import SessionFilter
from idp.clock import DAY
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import BulkSignOutAsked, BulkSignOutDone, SignedOutEverywhere
from idp.events.model import DELIVERED, GIVEN_UP, OWED, Delivery
from idp.oauth.model import Authorization, Client
from idp.policy import management
from idp.sessions import epoch, lifecycle, locks
from idp.sessions.model import RememberedBrowser, Session
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import User

# Sessions ended in one transaction: on SQLite it keeps every other writer waiting.
BATCH = 100
# Batches between two looks at the clock of the other jobs.
BATCHES_AT_ONCE = 10
EVERYBODY = "everybody"
# Written out, because the partial index is found by it.
_YES: ColumnElement[int] = literal_column("1")


@dataclass(frozen=True, slots=True)
class AppResult:
    """Of the sessions that ended, how many an app was in, and for how many it was told."""

    client_id: str
    name: str
    sessions: int
    told: int
    telling: int
    not_told: int


def matching(meant: SessionFilter) -> SessionFilter:
    """A filter that may be used for ending; raises `Refused` (`empty_filter`, `invalid_filter`).

    Nothing means nothing: whoever means everybody says so.
    """
    if meant.state != "active":
        raise Refused("invalid_filter", "Only sessions that run can be ended.", 400)
    if meant.is_empty:
        raise Refused(
            "empty_filter", "An empty filter ends nothing. Whoever means everybody says 'all'.", 400
        )
    return meant


def begin(
    unit: UnitOfWork,
    meant: SessionFilter,
    *,
    reason: str,
    actor: Actor,
    rights: frozenset[str],
) -> BulkSignOut:
    """Asks for the end of what `meant` means now, and ends the first of it; everybody's all at once.

    `meant` went through `matching`, or is empty for everybody; it names its user by id.
    """
    order = BulkSignOut(
        id=ids.new("blk"),
        filter=meant.text or EVERYBODY,
        reason=reason,
        actor=actor.kind,
        actor_id=actor.id,
        rights=sorted(rights),
        state=ENDING,
        matched=session_search.count(unit, meant, rights),
        ended=0,
        position="",
        created_at=unit.now,
        worked_at=unit.now,
    )
    unit.orm.add(order)
    unit.flush()
    unit.because = reason
    unit.record(
        BulkSignOutAsked(
            actor=actor.kind,
            actor_id=actor.id,
            operation=order.id,
            filter=order.filter,
            matched=order.matched,
        )
    )
    if _is_everybody(meant, rights):
        # Last, and with nobody locked: sign-ins share this row while they hold their person.
        order.epoch = epoch.begin(unit, actor)
    else:
        step(unit, order)
    return order


def _is_everybody(meant: SessionFilter, rights: frozenset[str]) -> bool:
    """Whether nobody at all is left out: whoever lacks a power spares the people who have it."""
    return not meant.text and rights >= management.POWER


def step(unit: UnitOfWork, order: BulkSignOut) -> None:
    """Ends the next batch; the caller holds the row of `order`."""
    unit.because = order.reason
    if order.state == ENDING:
        _end_next(unit, order)
    elif order.state == OUTLIVED:
        _end_outlived(unit, order)
    order.worked_at = unit.now
    if order.state == DONE:
        order.finished_at = unit.now
        unit.record(
            BulkSignOutDone(
                actor=order.actor, actor_id=order.actor_id, operation=order.id, ended=order.ended
            )
        )


def carry_on(work: Work) -> bool:
    """Goes on with what was asked for first; gives whether there is more. The worker calls it."""
    unfinished = (
        select(BulkSignOut.id)
        .where(BulkSignOut.finished_at.is_(None))
        .order_by(BulkSignOut.created_at)
        .limit(1)
    )
    with work.read() as unit:
        found = unit.connection.scalar(unfinished)
    if found is None:
        return False
    for _ in range(BATCHES_AT_ONCE):
        if next_step(work, found).state == DONE:
            break
    return True


def next_step(work: Work, order_id: str) -> BulkSignOut:
    """One batch of an order in a transaction of its own; gives the order as it stands then."""
    with work.begin() as unit:
        order = unit.orm.get_one(BulkSignOut, order_id, with_for_update=True)
        if order.state != DONE:
            step(unit, order)
    return order


def results(unit: UnitOfWork, order_id: str) -> list[AppResult]:
    """What became of each app of the sessions that were ended, by name."""
    of_order = select(BulkSession.session_id).where(BulkSession.order_id == order_id)
    inside = {
        row.client_id: row
        for row in unit.connection.execute(
            select(
                Authorization.client_id,
                Client.name,
                func.count(Authorization.session_id.distinct()).label("sessions"),
            )
            .join(Client, Client.id == Authorization.client_id)
            .where(Authorization.session_id.in_(of_order))
            .group_by(Authorization.client_id, Client.name)
        )
    }
    told: dict[tuple[str, str], int] = {
        (row.receiver, row.state): row.times
        for row in unit.connection.execute(
            select(Delivery.receiver, Delivery.state, func.count().label("times"))
            .where(Delivery.session_id.in_(of_order))
            .group_by(Delivery.receiver, Delivery.state)
        )
    }
    found = [
        AppResult(
            client_id=client_id,
            name=row.name,
            sessions=row.sessions,
            told=told.get((client_id, DELIVERED), 0),
            telling=told.get((client_id, OWED), 0),
            not_told=told.get((client_id, GIVEN_UP), 0),
        )
        for client_id, row in inside.items()
    ]
    return sorted(found, key=lambda app: (app.name, app.client_id))


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what was finished before the history period; gives how many. The worker calls it."""
    before = unit.now - unit.settings.history_days * DAY
    old = unit.orm.scalars(
        select(BulkSignOut).where(BulkSignOut.finished_at < before).limit(BATCH)
    ).all()
    for order in old:
        unit.orm.delete(order)
    return len(old)


def _end_next(unit: UnitOfWork, order: BulkSignOut) -> None:
    is_everybody = order.filter == EVERYBODY
    meant = SessionFilter() if is_everybody else session_filter.parse(order.filter)
    found, position = session_search.next_to_end(
        unit,
        meant,
        frozenset(order.rights),
        after=order.position,
        begun_until=order.created_at,
        limit=BATCH,
        epoch=order.epoch,
    )
    ended = lifecycle.end(unit, found, reason="admin", actor=Actor(order.actor, order.actor_id))
    unit.orm.add_all(BulkSession(order_id=order.id, session_id=one) for one in ended)
    order.ended += len(ended)
    order.position = position or ""
    if position is None:
        order.state = OUTLIVED if is_everybody else DONE


def _end_outlived(unit: UnitOfWork, order: BulkSignOut) -> None:
    """Of the next people who have something that needs no session: takes it away.

    What subscribers do for somebody who signs out everywhere is what is meant.
    """
    people = _with_something_left(unit, order)
    for user_id in people:
        user = unit.orm.get_one(User, user_id)
        # An epoch left nobody out, whatever rights there are since.
        if order.epoch is None and management.is_above(user.permissions, frozenset(order.rights)):
            continue
        locks.person(unit, user_id)
        unit.record(
            SignedOutEverywhere(
                actor=order.actor,
                actor_id=order.actor_id,
                user_id=user_id,
                reason="admin",
                kept=None,
                # Whoever came back while this goes on has done so after it was asked for.
                begun_until=order.created_at,
            )
        )
    if people:
        order.position = people[-1]
    else:
        order.state = DONE


def _with_something_left(unit: UnitOfWork, order: BulkSignOut) -> Sequence[str]:
    """The next people who have something of before the order."""
    offline = (
        select(Authorization.user_id)
        .join(Session, Session.id == Authorization.session_id)
        .where(
            Authorization.user_id > order.position,
            Authorization.offline == _YES,
            Authorization.ended_at.is_(None),
            epoch.begun_until(order.created_at),
        )
        .order_by(Authorization.user_id)
    )
    staying = (
        select(RememberedBrowser.user_id)
        .where(
            RememberedBrowser.user_id > order.position,
            RememberedBrowser.revoked_at.is_(None),
            epoch.begun_until(order.created_at, RememberedBrowser),
        )
        .order_by(RememberedBrowser.user_id)
    )
    found: set[str] = set()
    for people in (offline, staying):
        found.update(unit.connection.scalars(people.distinct().limit(BATCH)))
    return sorted(found)[:BATCH]

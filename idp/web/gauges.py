"""What is looked up for operators when they look: sessions, what is owed, queues, caches."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from idp.clock import SECOND
from idp.errors import Unavailable
from idp.events.catalogue import (
    LoginFailed,
    LoginThrottled,
    LogoutDelivered,
    LogoutGivenUp,
    MailDelivered,
    MailGivenUp,
    ReuseDetected,
    SessionEnded,
    SessionStarted,
)
from idp.events.model import OWED, Delivery, Lease
from idp.sessions.life import alive
from idp.sessions.model import Session
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.passwords import PasswordHasher
from idp.web.http import WebContext
from idp.web.measures import Gauge, Measures

Numbers = Mapping[tuple[str, ...], float]


def count_events(work: Work, measures: Measures) -> None:
    """Counts facts as they become durable."""

    def counting(kind: type, count: Any) -> None:
        def heard(unit: UnitOfWork, event: Any) -> None:
            unit.after_commit(lambda: count(event))

        work.subscribers[kind].append(heard)

    counting(SessionStarted, lambda e: measures.logins.labels("ok", e.method).inc())
    counting(LoginFailed, lambda _: measures.logins.labels("failed", "any").inc())
    counting(LoginThrottled, lambda _: measures.logins.labels("throttled", "any").inc())
    counting(SessionEnded, lambda e: measures.ended.labels(e.reason or "none").inc())
    counting(ReuseDetected, lambda _: measures.reuse.inc())
    for kind, what, result in (
        (LogoutDelivered, "logout", "delivered"),
        (LogoutGivenUp, "logout", "given_up"),
        (MailDelivered, "mail", "delivered"),
        (MailGivenUp, "mail", "given_up"),
    ):
        label = measures.deliveries.labels(what, result)
        counting(kind, lambda _, label=label: label.inc())


def gauges(work: Work, store: Store, hasher: PasswordHasher, context: WebContext) -> list[Gauge]:
    """What can be asked of a running node."""

    def asked(ask: Any) -> Any:
        def answer() -> Numbers:
            try:
                with work.read() as unit:
                    found: Numbers = ask(unit)
                    return found
            except Unavailable:
                return {}  # no figure is better than a made-up one

        return answer

    def threads() -> Numbers:
        limiters = {"strangers": context.entrance, "pages": context.limiter}
        return {(name,): one.statistics().tasks_waiting for name, one in limiters.items()}

    def live_streams() -> Numbers:
        return {(): context.live.count}

    return [
        ("idp_sessions_active", "Sessions that live", ("auth_level",), asked(_active)),
        ("idp_deliveries_owed", "Deliveries not accepted yet", ("channel",), asked(_owed)),
        ("idp_delivery_oldest_seconds", "Age of the oldest of them", (), asked(_oldest)),
        ("idp_jobs_lag_seconds", "How late each job is", ("job",), asked(_late)),
        ("idp_password_queue", "Hashes waiting or computed", (), lambda: {(): hasher.waiting}),
        ("idp_requests_waiting", "Requests that wait for a thread", ("door",), threads),
        ("idp_live_streams", "Open pages that watch their session", (), live_streams),
        ("idp_cache_lookups", "Look-ups in the shared store", ("result",), store.figures),
    ]


def _active(unit: UnitOfWork) -> Numbers:
    rows = unit.connection.execute(
        select(Session.acr, func.count()).where(alive(unit.now)).group_by(Session.acr)
    )
    return {(acr,): count for acr, count in rows}


def _owed(unit: UnitOfWork) -> Numbers:
    rows = unit.connection.execute(
        select(Delivery.channel, func.count())
        .where(Delivery.state == OWED)
        .group_by(Delivery.channel)
    )
    return {(channel,): count for channel, count in rows}


def _oldest(unit: UnitOfWork) -> Numbers:
    oldest = unit.connection.scalar(
        select(func.min(Delivery.created_at)).where(Delivery.state == OWED)
    )
    return {(): (unit.now - oldest) / SECOND if oldest is not None else 0.0}


def _late(unit: UnitOfWork) -> Numbers:
    rows = unit.connection.execute(select(Lease.name, Lease.until))
    return {(name,): max(0, unit.now - until) / SECOND for name, until in rows}

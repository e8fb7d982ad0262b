"""The wiring, and only that: which parts there are and who hears which event.

`assemble` makes the parts for any process (server, command line, tests); `create_app` makes the
server around them.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from idp.admin import bulk, openapi, repeats, tally
from idp.admin import routes as admin
from idp.clock import DAY, HOUR, MINUTE, SECOND, Clock, SystemClock
from idp.console import pages as console
from idp.errors import Refused
from idp.events import delivery
from idp.events import log as event_log
from idp.events.catalogue import (
    AuthorizationEnded,
    EmailChanged,
    FactorRemoved,
    FactorSuspended,
    LinkSent,
    PasswordChanged,
    RememberCopied,
    RuleChanged,
    SessionDisowned,
    SessionEnded,
    SessionExtended,
    SessionsEndSoon,
    SessionStarted,
    SignedOutEverywhere,
    UserChanged,
)
from idp.events.delivery import Channel
from idp.events.export import WebhookGivenUp, WebhookTested
from idp.languages import Sentence
from idp.logout import backchannel
from idp.notify import notices, recovery, webhook_outbox, webhooks
from idp.notify.channel import MailWorker
from idp.notify.syslog import SyslogWorker
from idp.notify.webhook_channel import WebhookChannel
from idp.oauth import authorizations, cleanup, devices, keys, pushed
from idp.oauth.authorization_request import PageError
from idp.oauth.keys import Keyring
from idp.oauth.provider import Answer, Provider
from idp.sessions import aftermath, expiry, forgetting, pairing_room, review
from idp.sessions.atlas import Atlas
from idp.settings import Settings, SettingsError, load
from idp.storage import migrations
from idp.storage.database import Database
from idp.storage.embedded import EmbeddedStore
from idp.storage.exclusive import one_at_a_time
from idp.storage.redis_address import parse
from idp.storage.store import Store
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.storage.vault import Vault
from idp.users import links, roles, spent, throttle, trusted_devices
from idp.users.passwords import PasswordHasher
from idp.users.rules import RulesInForce
from idp.web import errors, gauges, pages, request_id
from idp.web.headers import PageHeaders, of_pages
from idp.web.http import WebContext, web_context
from idp.web.language import choose
from idp.web.live import Live, announce
from idp.web.management import Readiness, management
from idp.web.measures import Measures
from idp.web.protocol import ProtocolEndpoints
from idp.work.outbound import Outbound
from idp.work.schedule import Job
from idp.work.worker import Worker

if TYPE_CHECKING:
    from idp.web.tracing import Traces

_log = logging.getLogger(__name__)


class NotReady(SettingsError):  # noqa: N818
    """The server cannot start; the message says what to do."""


def assemble(settings: Settings, *, clock: Clock | None = None) -> Work:
    """Database, vault, clock and subscribers: what any process of ours works with."""
    work = Work(
        settings=settings,
        database=Database(settings.database_url),
        vault=Vault(
            settings.secret_key.get_secret_value(),
            tuple(key.get_secret_value() for key in settings.previous_secret_keys),
        ),
        clock=clock or SystemClock(),
        write_event=event_log.write,
    )
    work.subscribers[SessionEnded].append(authorizations.end_offline)
    work.subscribers[SessionEnded].append(backchannel.owe)
    work.subscribers[AuthorizationEnded].append(devices.end_with_grant)
    work.subscribers[SignedOutEverywhere].append(authorizations.end_outlived)
    work.subscribers[SessionsEndSoon].append(authorizations.end_outlived)
    work.subscribers[UserChanged] += [aftermath.rotate_soon, review.of_person]
    work.subscribers[RuleChanged].append(review.owe)
    for secured in (
        PasswordChanged,
        EmailChanged,
        SignedOutEverywhere,
        SessionDisowned,
        UserChanged,
    ):
        work.subscribers[secured].append(links.void_after)
    work.subscribers[PasswordChanged].append(trusted_devices.forget_after_password)
    for removed in (FactorRemoved, FactorSuspended):
        work.subscribers[removed] += [aftermath.void_proofs, authorizations.lower]
        work.subscribers[removed].append(forgetting.with_factor)
    for ended in (SessionEnded, SessionDisowned):
        work.subscribers[ended].append(forgetting.with_session)
    work.subscribers[SignedOutEverywhere].append(forgetting.with_everything)
    work.subscribers[PasswordChanged].append(forgetting.with_password)
    work.subscribers[UserChanged].append(forgetting.with_person)
    work.subscribers[RememberCopied].append(authorizations.end_begun_by)
    for kind in notices.TOLD:
        work.subscribers[kind].append(notices.tell)
    work.subscribers[WebhookGivenUp].append(webhooks.give_up)
    return work


def store_of(work: Work) -> Store:
    """The Store of this deployment; raises `NotReady` when the address of Redis is none."""
    url = work.settings.redis_url.get_secret_value()
    if not url:
        return EmbeddedStore(work.clock)
    try:
        from idp.storage.redis import RedisStore
    except ImportError:
        raise NotReady("IDP_REDIS_URL needs redis-py. Run: pip install 'idp[redis]'") from None
    try:
        return RedisStore(parse(url), work.vault, work.clock)
    except ValueError as error:
        raise NotReady(f"IDP_REDIS_URL {error}") from None


def traces_of(work: Work) -> "Traces | None":
    """What sends traces, where the settings say where to; raises `NotReady` without the extra."""
    if not work.settings.tracing.endpoint:
        return None
    try:
        from idp.web.tracing import Traces
    except ImportError:
        raise NotReady(
            "IDP_TRACING__ENDPOINT needs OpenTelemetry. Run: pip install 'idp[otel]'"
        ) from None
    made = Traces(work.settings.tracing)
    made.watch(work.database)
    return made


def prepare(work: Work) -> Keyring:
    """Checks the schema, makes the first keys and roles; raises `NotReady` with a sentence."""
    if not migrations.is_current(work.database):
        raise NotReady("The database schema is not current. Run: idp db upgrade")
    if (risk := work.database.failover_risk()) is not None:
        _log.warning("%s", risk)
    with work.begin() as unit:
        # Of nodes that start together on a new database one makes the keys, and all sign with them.
        one_at_a_time(unit.connection, "schema")
        keys.ensure(unit)
        roles.ensure(unit)
    return Keyring(work)


@dataclass(slots=True)
class App:
    """The server: hot protocol endpoints first, pages and APIs behind them."""

    work: Work
    provider: Provider
    worker: Worker
    protocol: ProtocolEndpoints
    pages: ASGIApp
    measures: Measures
    readiness: Readiness
    # Served on a port of its own.
    management: ASGIApp
    live: Live
    # Only where the settings say where traces go.
    traces: "Traces | None"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.pages(scope, receive, send)
            return
        path = scope["path"]
        endpoint = self.protocol.by_path.get(path)
        timed = self.measures.timing(path if endpoint is not None else "pages", send)
        told = request_id.telling(request_id.begin(), timed)
        answering = endpoint or self.pages
        if self.traces is not None:
            answering = self.traces.of_request(answering, is_page=endpoint is None)
        await answering(scope, receive, told)


def create_app(settings: Settings | None = None, *, clock: Clock | None = None) -> App:
    """The server around the parts; the schema must be current (`idp db upgrade`)."""
    work = assemble(settings or load(), clock=clock)
    keyring = prepare(work)
    provider = Provider(
        work=work,
        keyring=keyring,
        store=store_of(work),
        outbound=Outbound(work.settings.outbound),
        atlas=Atlas(work.settings.geo, work.clock),
        rules=RulesInForce(work),
    )
    work.subscribers[RuleChanged].append(lambda unit, _: unit.after_commit(provider.rules.forget))
    measures = Measures()
    gauges.count_events(work, measures)
    logouts = backchannel.BackchannelLogout(
        work, keyring, provider.outbound, took=measures.logouts.observe
    )
    channels: dict[str, Channel] = {
        backchannel.CHANNEL: logouts,
        webhook_outbox.CHANNEL: WebhookChannel(work, provider.outbound),
    }
    traces = traces_of(work)
    if traces is not None:
        channels = {name: traces.of_channel(name, one) for name, one in channels.items()}
    worker = Worker(
        work,
        channels=channels,
        jobs=_jobs(work, provider.store),
    )
    sent_at_once: tuple[type, ...] = (SessionEnded, WebhookTested)
    for owing in sent_at_once:
        work.subscribers[owing].append(lambda unit, _: unit.after_commit(worker.wake))
    announced: tuple[type, ...] = (SessionStarted, SessionEnded, SessionExtended, SessionsEndSoon)
    for kind in announced:
        work.subscribers[kind].append(partial(announce, provider.store))
    mail = MailWorker(work)
    mailed: tuple[type, ...] = (LinkSent, *notices.TOLD)
    for kind in mailed:
        work.subscribers[kind].append(lambda unit, _: unit.after_commit(mail.wake))
    hasher = PasswordHasher(work.settings.password, took=measures.hashes.observe)
    context = web_context(provider, hasher)
    measures.gauges(gauges.gauges(work, provider.store, hasher, context))
    readiness = Readiness(work, provider.store)
    return App(
        work=work,
        provider=provider,
        worker=worker,
        protocol=ProtocolEndpoints(
            provider, error_page=partial(_error_page, context), counted=measures.token
        ),
        pages=_pages(context, (worker, mail, SyslogWorker(work)), traces),
        measures=measures,
        readiness=readiness,
        management=management(
            readiness, measures, work.settings.management.token.get_secret_value()
        ),
        live=context.live,
        traces=traces,
    )


def _error_page(context: WebContext, error: PageError, headers: dict[str, str]) -> Answer:
    """The page for an authorization request that must not be redirected."""
    refused = Refused(error.code, error.sentence, 400)
    language = choose(headers.get("accept-language"))
    title = Sentence("This sign-in cannot go on")
    response = errors.page(context, refused, language=language, title=title)
    completed = of_pages(context.settings) | dict(response.headers)
    # These two are added where the answer is sent.
    for name in ("content-length", "strict-transport-security"):
        completed.pop(name, None)
    return Answer(400, bytes(response.body), tuple(completed.items()))


def _pages(context: WebContext, workers: Sequence[Worker], traces: "Traces | None") -> ASGIApp:
    def health(_: Request) -> Response:
        """Whether the server can do its work now."""
        context.work.database.ping()
        return PlainTextResponse("ok")

    def described(_: Request) -> Response:
        """The OpenAPI document of our JSON APIs; it says nothing that is not public."""
        made = orjson.dumps(openapi.document(context.settings.issuer))
        return Response(made, media_type="application/json")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.provider.atlas.open()
        for one in workers:
            one.start()
        context.live.start()
        yield
        context.live.stop()
        for one in workers:
            one.stop()
        context.provider.store.close()
        context.provider.outbound.close()
        context.provider.atlas.close()
        context.work.database.close()
        if traces is not None:
            traces.close()

    # The documents page loads from elsewhere, which the content security policy forbids.
    app = FastAPI(
        title="idp",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers=errors.handlers(context),  # type: ignore[arg-type]
        redirect_slashes=False,
    )
    app.router.routes.extend(pages.routes(context))
    app.router.routes.extend(admin.routes(context))
    app.router.routes.append(Route("/api/v1/openapi.json", described, methods=["GET"]))
    app.router.routes.extend(console.routes(context))
    app.router.routes.append(context.renderer.assets.route())
    app.router.routes.append(Route("/healthz", health, methods=["GET"]))
    return PageHeaders(app, settings=context.settings)


def _forget_deliveries(unit: UnitOfWork) -> int:
    before = unit.now - unit.settings.history_days * DAY
    return delivery.forget_finished(unit, before=before)


def _jobs(work: Work, store: Store) -> list[Job]:
    """What runs from time to time, each on one node."""

    def in_unit(job: Callable[[UnitOfWork], int], batch: int = 0) -> Callable[[], bool]:
        def run() -> bool:
            with work.begin() as unit:
                count = job(unit)
            # A full batch means there is more to do at once.
            return 0 < batch <= count

        return run

    return [
        Job(
            "end expired sessions",
            5 * SECOND,
            in_unit(expiry.end_expired, expiry.BATCH),
        ),
        Job("apply changed rules", 2 * SECOND, in_unit(review.go_on, review.BATCH)),
        Job("count events", 5 * SECOND, in_unit(tally.count, tally.BATCH)),
        Job("forget old counts", HOUR, in_unit(tally.forget_past)),
        Job("seal events", SECOND, partial(event_log.seal, work)),
        Job("owe webhooks", SECOND, partial(webhook_outbox.owe, work)),
        Job(
            "delete old receipts of webhooks",
            HOUR,
            in_unit(webhook_outbox.forget_past, webhook_outbox.BATCH),
        ),
        Job("delete expired requests", 10 * SECOND, in_unit(pushed.delete_expired, pushed.BATCH)),
        Job("watch room", 5 * SECOND, in_unit(lambda unit: pushed.watch_room(unit, store))),
        Job("watch codes", 5 * SECOND, in_unit(lambda unit: pairing_room.watch_room(unit, store))),
        Job("delete old codes", MINUTE, in_unit(pairing_room.delete_expired, pairing_room.BATCH)),
        Job("delete what is spent", MINUTE, in_unit(cleanup.delete_spent, cleanup.BATCH)),
        Job("delete unused grants", HOUR, partial(cleanup.delete_unused_grants, work)),
        Job("delete old history", HOUR, in_unit(cleanup.delete_history, cleanup.BATCH)),
        Job("delete throttles", MINUTE, in_unit(throttle.forget_past)),
        Job("answer recovery requests", SECOND, partial(recovery.answer, work)),
        Job("delete old links", MINUTE, in_unit(links.forget_past, links.BATCH)),
        Job("end sessions in bulk", SECOND, partial(bulk.carry_on, work)),
        Job("delete old bulk sign-outs", HOUR, in_unit(bulk.forget_past, bulk.BATCH)),
        Job("delete kept answers", MINUTE, in_unit(repeats.forget_past, repeats.BATCH)),
        Job("delete what was spent", MINUTE, in_unit(spent.forget_past, spent.BATCH)),
        Job(
            "delete old trusted devices",
            HOUR,
            in_unit(trusted_devices.forget_past, trusted_devices.BATCH),
        ),
        Job(
            "delete old remembered browsers",
            HOUR,
            in_unit(forgetting.forget_past, forgetting.BATCH),
        ),
        Job("delete old deliveries", HOUR, in_unit(_forget_deliveries)),
        Job("checkpoint", SECOND, work.database.checkpoint),
    ]

"""Traces for OpenTelemetry: what a request did, and how long each part took (extra `otel`).

Owns what a span may say: names and numbers of ours, the text of statements (which has no values in
it), and the number that the answer has as `X-Request-Id`. Nothing that a request brought: addresses
hold codes, states and links that sign somebody in, so a page is named by its pattern. That is why the
ready-made instrumentations are not used: they write addresses down, and do not see hot statements,
which go past SQLAlchemy. A trace begins here; a stranger's `traceparent` would decide what is kept.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span
from sqlalchemy import event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idp.events.delivery import Channel, Claimed, Outcome, Report
from idp.events.event import Event
from idp.sections import TracingSettings
from idp.storage.database import Database
from idp.web import request_id

STATEMENT_MAXIMUM = 2_000
# For a collector that is away; a node that stops waits so long for it.
PATIENCE_SECONDS = 2
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Traces:
    """The spans of this process, on their way to a collector."""

    def __init__(self, settings: TracingSettings, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "idp"}),
            # What is below a request is traced as it is; the worker's own looks are not (`_part`).
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        )
        sent = exporter or OTLPSpanExporter(endpoint=settings.endpoint, timeout=PATIENCE_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(sent))
        self._tracer = self._provider.get_tracer("idp")

    def flush(self) -> None:
        """Sends what has gathered."""
        self._provider.force_flush()

    def close(self) -> None:
        """Sends what has gathered, and ends."""
        self._provider.shutdown()

    def watch(self, database: Database) -> None:
        """A span for each statement of a request, whether SQLAlchemy runs it or the bare driver."""

        def observed(sql: str) -> AbstractContextManager[object]:
            span = self._part(sql)
            if span is None:
                return nullcontext()
            # No exception is written down: it may quote what was sent.
            return trace.use_span(
                span, end_on_exit=True, record_exception=False, set_status_on_exception=False
            )

        def before(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
            del cursor
            connection.info["span"] = self._part(sql)

        def after(connection: Any, *_: Any) -> None:
            span = connection.info.pop("span", None)
            if span is not None:
                span.end()

        database.observed = observed
        for engine in {database.reading, database.writing}:
            event.listen(engine, "before_cursor_execute", before)
            event.listen(engine, "after_cursor_execute", after)
            event.listen(engine, "handle_error", lambda failed: after(failed.connection))

    def of_request(self, answering: ASGIApp, *, is_page: bool) -> ASGIApp:
        """`answering` with a span around it."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            with self._tracer.start_as_current_span(
                method,
                kind=trace.SpanKind.SERVER,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:

                async def noted(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                    await send(message)

                span.set_attribute("http.request.method", method)
                span.set_attribute("idp.request_id", request_id.current() or "")
                try:
                    await answering(scope, receive, noted)
                finally:
                    route = _pattern(scope) if is_page else scope["path"]
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)

        return traced

    def of_channel(self, name: str, channel: Channel) -> Channel:
        """`channel` with a span for each delivery, from its sending to its answer."""
        return _TracedChannel(self._tracer, name, channel)

    def _part(self, sql: str) -> Span | None:
        if not trace.get_current_span().is_recording():
            return None
        text = sql[:STATEMENT_MAXIMUM]
        span = self._tracer.start_span(text.split(maxsplit=1)[0], kind=trace.SpanKind.CLIENT)
        span.set_attribute("db.query.text", text)
        return span


class _TracedChannel:
    def __init__(self, tracer: trace.Tracer, name: str, channel: Channel) -> None:
        self._tracer = tracer
        self._name = name
        self._channel = channel

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        spans = {one.id: self._tracer.start_span(f"deliver {self._name}") for one in batch}
        self._channel.send(batch, partial(_report, spans, report))

    def delivered(self, claimed: Claimed) -> Event | None:
        return self._channel.delivered(claimed)

    def given_up(self, claimed: Claimed, reason: str) -> Event | None:
        return self._channel.given_up(claimed, reason)


def _report(spans: dict[str, Span], report: Report, claimed: Claimed, outcome: Outcome) -> None:
    span = spans[claimed.id]
    span.set_attribute("idp.delivery.outcome", outcome.verdict)
    span.set_attribute("idp.delivery.attempt", claimed.attempts)
    if outcome.status is not None:
        span.set_attribute("http.response.status_code", outcome.status)
    span.end()
    report(claimed, outcome)


def _pattern(scope: Scope) -> str:
    """The path with names in the place of what somebody put there."""
    if "endpoint" not in scope:
        return "unmatched"
    names = {str(value): f"{{{name}}}" for name, value in scope.get("path_params", {}).items()}
    return "/".join(names.get(part, part) for part in str(scope["path"]).split("/"))

"""The reports over the management API: how the product is used, what went wrong, whether the rules were
kept (row D6).

Owns what each report is of; the pages, CSV and JSON of administrators are made of the same. People are
named by their ids, as in events.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field

from idp.admin import analytics, grammar, incidents, report_span
from idp.admin.analytics import Picture
from idp.admin.operation import Call, Operation
from idp.admin.report_span import Span, SpanAsked
from idp.admin.schemas import Model, Moment, Nothing, moment
from idp.admin.stored_queries import REPORTS
from idp.admin.stored_queries import Report as ReportKind
from idp.errors import Refused
from idp.storage.unit_of_work import UnitOfWork

Ranking = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A report, before it is written in one form or another."""

    kind: ReportKind
    span: Span
    seen: Picture
    incidents: list[incidents.Incident]

    @property
    def is_cut(self) -> bool:
        """Whether only the newest incidents are listed."""
        return len(self.incidents) == incidents.MOST

    def rankings(self) -> Iterator[tuple[str, Ranking]]:
        """Its figures by name: pairs of a label and how often."""
        seen = self.seen
        if self.kind == "usage":
            yield "sign_in_method", seen.methods
            yield "device_type", seen.devices
            yield "country", seen.countries
            yield "app", seen.apps
            yield "session_lasted_seconds", seen.lasted.counts
        if self.kind == "incidents":
            yield "incident", seen.incidents
            yield "sign_in_failed", seen.failures
        if self.kind == "compliance":
            yield "session_ended", seen.endings
            yield "app_told_seconds", seen.told.counts


class ReportQuery(Model):
    """Which days; the last 30 if nothing is said."""

    q: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=grammar.TEXT_MAXIMUM,
                description="`days:7` until today, or `from:2026-11-01 to:2026-11-30`, in UTC.",
            ),
        ]
        | Nothing
    ) = None


class Day(Model):
    """What was counted on one day, in UTC."""

    day: str
    signed_in: int
    failed: int
    throttled: int
    ended: int


class Incident(Model):
    """One event of a report."""

    at: Moment
    type: str
    user_id: str | None
    actor: str
    actor_id: str | None
    ip: str | None
    reason: str | None


class Report(Model):
    """A report: sign-ins and ends by day, figures by name and label, and events one by one.

    Of the events only the newest are there where `is_cut` says so; figures count all.
    """

    report: ReportKind
    first_day: str
    last_day: str
    days: list[Day]
    figures: dict[str, dict[str, int]]
    events: list[Incident]
    is_cut: bool


def made(unit: UnitOfWork, kind: str, asked: SpanAsked) -> Made:
    """The report of a kind; raises `Refused` (`report_not_found`, `invalid_span`)."""
    known = next((one for one in REPORTS if one == kind), None)
    if known is None:
        raise Refused("report_not_found", "There is no such report.", 404)
    span = asked.at(unit.now)
    return Made(
        known,
        span,
        analytics.picture(unit, since=span.since, until=span.until, step="day"),
        incidents.listed(unit, known, since=span.since, until=span.until),
    )


def described(report: Made) -> Report:
    """A report as the API says it."""
    return Report(
        report=report.kind,
        first_day=str(report.span.first),
        last_day=str(report.span.last),
        days=[
            Day(
                day=moment(one.at)[:10],
                signed_in=one.signed_in,
                failed=one.failed,
                throttled=one.throttled,
                ended=one.ended,
            )
            for one in report.seen.points
        ],
        figures={name: dict(counts) for name, counts in report.rankings()},
        events=[Incident(**{**asdict(one), "at": moment(one.at)}) for one in report.incidents],
        is_cut=report.is_cut,
    )


def get_report(call: Call, query: ReportQuery) -> Report:
    """Make a report: usage, incidents or compliance."""
    asked = report_span.of_values({}, query.q or "")
    return described(made(call.unit, call.params["kind"], asked))


OPERATIONS = (
    Operation(
        method="GET", path="/reports/{kind}", scope="events:read", carry_out=get_report,
        takes=ReportQuery, gives=Report,
    ),
)  # fmt: skip

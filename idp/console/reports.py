"""GET /admin/reports/…: what is printed, filed, or handed to an auditor (row D6).

Three reports over a span of days: how the product is used, what went wrong, and whether the rules
were kept. Each is a page that prints, and the same figures as CSV and JSON. An address says all of a
report, and it can be kept under a name (`idp.console.queries`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import analytics, report_span
from idp.admin.analytics import Picture
from idp.admin.report_span import Span
from idp.admin.stored_queries import REPORTS
from idp.clock import to_rfc3339
from idp.console import charts, incidents, names, rooms, sheets
from idp.console.home import sign_ins, spread
from idp.console.incidents import Incident
from idp.console.people import query
from idp.errors import Refused
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor


def routes(context: WebContext) -> list[Route]:
    """/admin/reports and /admin/reports/{kind}"""
    return [
        rooms.room(context, f"{rooms.ADMIN}/reports", "events:read", {"GET": to_usage}),
        rooms.room(context, f"{rooms.ADMIN}/reports/{{kind}}", "events:read", {"GET": show}),
    ]


def to_usage(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/reports"""
    del context, request, visitor
    return RedirectResponse(f"{rooms.ADMIN}/reports/usage", 303)


def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/reports/{kind}?from=2026-11-01&to=2026-11-30&format=csv, or ?q=days:7"""
    kind = request.params["kind"]
    if kind not in REPORTS:
        raise rooms.nothing_here()
    given = {name: said for name in report_span.KEYS if (said := query(request, name))}
    asked = report_span.of_values(given, query(request, "q"))
    with context.work.read() as unit:
        span = asked.at(unit.now)
        seen = analytics.picture(unit, since=span.since, until=span.until, step="day")
        found = incidents.listed(
            unit, kind, since=span.since, until=span.until, rights=rooms.rights(visitor)
        )
        apps = names.of_apps(unit, [label for label, _ in seen.apps])
        people = names.of_people(unit, rooms.rights(visitor), [one.actor_id for one in found])
    form = request.query.get("format", "page")
    name = f"{kind}-{span.first}-{span.last}"
    if form == "csv":
        return sheets.file(_csv(kind, seen, found), f"{name}.csv", sheets.CSV)
    if form == "json":
        body = orjson.dumps(_said(kind, span, seen, found), option=orjson.OPT_INDENT_2)
        return sheets.file(body, f"{name}.json", "application/json")
    if form != "page":
        raise Refused("invalid_format", "A report is a page, csv or json.", 400)
    return context.renderer.page(
        "admin/report.html",
        language=request.language,
        visitor=visitor,
        rights=rooms.rights(visitor),
        kind=kind,
        kinds=REPORTS,
        span=span,
        asked=asked,
        key=rooms.new_key(),
        seen=seen,
        found=found,
        apps=apps,
        people=people,
        is_cut=len(found) == incidents.MOST,
        sign_ins=sign_ins(seen),
        lasted=spread(seen),
        told=charts.columns(seen.told.counts),
        bars=charts.bars,
    )


def _rankings(kind: str, seen: Picture) -> Iterator[tuple[str, tuple[tuple[str, int], ...]]]:
    if kind == "usage":
        yield "sign_in_method", seen.methods
        yield "device_type", seen.devices
        yield "country", seen.countries
        yield "app", seen.apps
        yield "session_lasted_seconds", seen.lasted.counts
    if kind == "incidents":
        yield "incident", seen.incidents
        yield "sign_in_failed", seen.failures
    if kind == "compliance":
        yield "session_ended", seen.endings
        yield "app_told_seconds", seen.told.counts


def _csv(kind: str, seen: Picture, found: Iterable[Incident]) -> bytes:
    rows: list[tuple[object, ...]] = [
        ("day", to_rfc3339(point.at), label, getattr(point, label))
        for point in seen.points
        for label in ("signed_in", "failed", "throttled", "ended")
    ]
    for name, counts in _rankings(kind, seen):
        rows += [(name, "", label, number) for label, number in counts]
    for one in found:
        said = " ".join(text for text in (one.who, one.ip, one.reason) if text)
        rows.append((one.type, to_rfc3339(one.at), said, 1))
    return sheets.table(("section", "at", "label", "count"), rows)


def _said(kind: str, span: Span, seen: Picture, found: Iterable[Incident]) -> dict[str, Any]:
    return {
        "report": kind,
        "from": str(span.first),
        "to": str(span.last),
        "days": [
            {
                "day": to_rfc3339(one.at)[:10],
                "signed_in": one.signed_in,
                "failed": one.failed,
                "throttled": one.throttled,
                "ended": one.ended,
            }
            for one in seen.points
        ],
        **{name: dict(counts) for name, counts in _rankings(kind, seen)},
        "events": [
            {
                "at": to_rfc3339(one.at),
                "type": one.type,
                "who": one.who,
                "actor": one.actor,
                "ip": one.ip,
                "reason": one.reason,
            }
            for one in found
        ],
    }

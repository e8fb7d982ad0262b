"""GET /admin/reports/…: what is printed, filed, or handed to an auditor (row D6).

Three reports over a span of days: how the product is used, what went wrong, and whether the rules
were kept. Each is a page that prints, and the same figures as CSV and JSON. An address says all of a
report, and it can be kept under a name (`idp.console.queries`).
"""

from collections.abc import Mapping

import orjson
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp.admin import report_span, reports
from idp.admin.report_span import SpanAsked
from idp.admin.reports import Made
from idp.admin.stored_queries import REPORTS
from idp.clock import to_rfc3339
from idp.console import charts, names, rooms, sheets
from idp.console.home import sign_ins, spread
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
    form = request.query.get("format", "page")
    given = {name: said for name in report_span.KEYS if (said := query(request, name))}
    problem = None
    try:
        asked = report_span.of_values(given, query(request, "q"))
        asked.at(context.work.clock.now())
    except Refused as refused:
        if form != "page":
            raise
        # The page of the usual days, on which others are asked for.
        asked, problem = SpanAsked(), refused
    with context.work.read() as unit:
        made = reports.made(unit, kind, asked)
        found, rights = made.incidents, rooms.rights(visitor)
        apps = names.of_apps(unit, [label for label, _ in made.seen.apps])
        people = names.of_people(
            unit, rights, [one for row in found for one in (row.user_id, row.actor_id)]
        )
    name = f"{kind}-{made.span.first}-{made.span.last}"
    if form == "csv":
        return sheets.file(_csv(made, people), f"{name}.csv", sheets.CSV)
    if form == "json":
        body = orjson.dumps(
            reports.described(made).model_dump(mode="json"), option=orjson.OPT_INDENT_2
        )
        return sheets.file(body, f"{name}.json", "application/json")
    if form != "page":
        raise Refused("invalid_format", "A report is a page, csv or json.", 400)
    return rooms.page(
        context,
        request,
        visitor,
        "report.html",
        status=problem.status if problem is not None else 200,
        problem=problem.sentence if problem is not None else None,
        kind=kind,
        kinds=REPORTS,
        span=made.span,
        asked=asked,
        key=rooms.new_key(),
        seen=made.seen,
        found=found,
        apps=apps,
        people=people,
        is_cut=made.is_cut,
        sign_ins=sign_ins(made.seen),
        lasted=spread(made.seen),
        told=charts.columns(made.seen.told.counts),
        bars=charts.bars,
    )


def _csv(made: Made, people: Mapping[str, str]) -> bytes:
    rows: list[tuple[object, ...]] = [
        ("day", to_rfc3339(point.at), label, getattr(point, label))
        for point in made.seen.points
        for label in ("signed_in", "failed", "throttled", "ended")
    ]
    for name, counts in made.rankings():
        rows += [(name, "", label, number) for label, number in counts]
    for one in made.incidents:
        who = people.get(one.user_id or "") or one.user_id
        said = " ".join(text for text in (who, one.ip, one.reason) if text)
        rows.append((one.type, to_rfc3339(one.at), said, 1))
    return sheets.table(("section", "at", "label", "count"), rows)

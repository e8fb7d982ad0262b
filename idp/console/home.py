"""GET /admin: how the deployment is, now and over the last day, week or month."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from starlette.responses import Response
from starlette.routing import Route

from idp.admin import analytics
from idp.admin.analytics import Now, Picture, Present
from idp.clock import DAY, HOUR, Duration
from idp.console import charts, feed, rooms
from idp.console.charts import Columns, Lines
from idp.oauth.model import Client
from idp.policy import places
from idp.policy.places import Leaning
from idp.users import factors, rules
from idp.users.model import Rule
from idp.web.http import PageRequest, WebContext
from idp.web.visitor import Visitor

SPANS: dict[str, Duration] = {"24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
TICKER = 12


@dataclass(frozen=True, slots=True)
class Cards:
    """The figures at the top."""

    sessions: int
    people: int
    signed_in: int
    failed: int
    ended: int
    incidents: int


def routes(context: WebContext) -> list[Route]:
    """/admin and its stream."""
    present = Present()

    def show(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
        return _show(context, request, visitor, present)

    return [rooms.room(context, rooms.ADMIN, "sessions:read", {"GET": show}), feed.route(context)]


def _show(
    context: WebContext, request: PageRequest, visitor: Visitor, present: Present
) -> Response:
    span = request.query.get("span", "24h")
    span = span if span in SPANS else "24h"
    with context.work.read() as unit:
        until = unit.now + 1  # what happens this very moment is in it
        since = until - SPANS[span]
        now = present.of(unit)
        seen = analytics.picture(
            unit, since=since, until=until, step=analytics.step_for(since, until)
        )
        sees_events = "events:read" in rooms.rights(visitor)
        latest = feed.latest(unit, limit=TICKER) if sees_events else []
        has_apps = unit.connection.scalar(select(Client.id).limit(1)) is not None
        held = rules.all_rules(unit) if "rules:read" in rooms.rights(visitor) else []
        is_protected = factors.has_second(factors.enrolled(unit, visitor.user.id))
    return context.renderer.page(
        "admin/home.html",
        language=request.language,
        visitor=visitor,
        rights=rooms.rights(visitor),
        span=span,
        spans=list(SPANS),
        now=now,
        cards=_cards(now, seen),
        seen=seen,
        sign_ins=sign_ins(seen),
        lasted=spread(seen),
        per_person=per_person(now),
        bars=charts.bars,
        latest=latest[::-1],
        sees_events=sees_events,
        has_apps=has_apps,
        leaning=_leaning(context, held),
        unfit=rules.unfit(held),
        is_protected=is_protected,
    )


def _leaning(context: WebContext, held: Sequence[Rule]) -> list[Leaning]:
    """Rules that ask where somebody is, and no file knows it."""
    said = [(one.kind, one.applies_to, one.value) for one in held]
    return places.without(said, context.provider.atlas.gives())


def sign_ins(seen: Picture) -> Lines:
    """Sign-ins over time, those that succeeded and those that did not."""
    return charts.lines(
        [one.at for one in seen.points],
        [
            ("signed_in", "good", [one.signed_in for one in seen.points]),
            ("failed", "bad", [one.failed + one.throttled for one in seen.points]),
        ],
    )


def spread(seen: Picture) -> Columns:
    """How long sessions lasted."""
    return charts.columns(seen.lasted.counts)


def per_person(now: Now) -> Columns:
    """How many people have how many sessions; nine and more are one column."""
    counts = {f"{held}": 0 for held in range(1, 9)} | {"9+": 0}
    for held, people in now.per_person:
        counts[f"{held}" if held < 9 else "9+"] += people
    return charts.columns(counts.items())


def _cards(now: Now, seen: Picture) -> Cards:
    recent = [one for one in seen.points if one.at > seen.until - DAY - HOUR]
    return Cards(
        sessions=now.sessions,
        people=now.people,
        signed_in=sum(one.signed_in for one in recent),
        failed=sum(one.failed + one.throttled for one in recent),
        ended=sum(one.ended for one in recent),
        incidents=sum(number for _, number in seen.incidents),
    )

"""What happened, over a span of time, and what is the case now: figures for charts (row D5).

Counts over time come from `tally`; what is now (sessions by device, country, level, per person) is
asked of the sessions and kept for a minute, because everybody who looks sees the same. A page and
the API show the same value, `Picture`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from sqlalchemy import func, select

from idp.admin import tally
from idp.clock import DAY, HOUR, MINUTE, Duration, Instant
from idp.policy.histogram import LASTED, TOLD, percentile
from idp.sessions.life import alive
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork

Step = Literal["hour", "day"]
STEPS: dict[Step, Duration] = {"hour": HOUR, "day": DAY}
# More points than a chart has pixels for say nothing.
POINTS_MAXIMUM = 800
KEPT: Duration = MINUTE
TOP = 12


@dataclass(frozen=True, slots=True)
class Point:
    """One step of time: its beginning, and what was counted in it."""

    at: Instant
    signed_in: int
    failed: int
    throttled: int
    ended: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations: the buckets with their counts, and two percentiles in seconds."""

    counts: tuple[tuple[str, int], ...]
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Now:
    """What is the case at `at`."""

    at: Instant
    sessions: int
    people: int
    by_device: tuple[tuple[str, int], ...]
    by_country: tuple[tuple[str, int], ...]
    by_level: tuple[tuple[str, int], ...]
    # How many people have one session, two, three …
    per_person: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Figures of the time from `since` (inclusive) to `until` (exclusive)."""

    since: Instant
    until: Instant
    step: Step
    points: tuple[Point, ...]
    methods: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, int], ...]
    devices: tuple[tuple[str, int], ...]
    countries: tuple[tuple[str, int], ...]
    apps: tuple[tuple[str, int], ...]
    endings: tuple[tuple[str, int], ...]
    incidents: tuple[tuple[str, int], ...]
    lasted: Spread
    told: Spread


def step_for(since: Instant, until: Instant) -> Step:
    """The step that a span is best shown by."""
    return "hour" if until - since <= 8 * DAY else "day"


def picture(unit: UnitOfWork, *, since: Instant, until: Instant, step: Step) -> Picture:
    """The figures of a span; its ends are moved out to whole steps."""
    length = STEPS[step]
    since, until = since - since % length, until + -until % length

    def top(measure: str) -> tuple[tuple[str, int], ...]:
        return ranked(tally.totals(unit, measure, since=since, until=until))

    def spread(measure: str, ends: tuple[float, ...]) -> Spread:
        found = tally.totals(unit, measure, since=since, until=until)
        names = [*(f"{end:g}" for end in ends), "longer"]
        return Spread(
            counts=tuple((name, found.get(name, 0)) for name in names),
            p50=percentile(found, ends, 0.5),
            p95=percentile(found, ends, 0.95),
        )

    return Picture(
        since=since,
        until=until,
        step=step,
        points=_points(unit, since, until, length),
        methods=top("signed_in"),
        failures=top("failed"),
        devices=top("device"),
        countries=top("country"),
        apps=top("app"),
        endings=top("ended"),
        incidents=top("incident"),
        lasted=spread("lasted", LASTED),
        told=spread("told", TOLD),
    )


def ranked(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """The labels by their counts, the greatest first; beyond a dozen they are one, called "…"."""
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(number for _, number in order[TOP:])
    return (*order[:TOP], *([("…", rest)] if rest else []))


class Present:
    """`Now`, asked at most once a minute by this process."""

    def __init__(self, ask: Callable[[UnitOfWork], Now] | None = None) -> None:
        self._ask = ask or now
        self._lock = Lock()
        self._kept: Now | None = None

    def of(self, unit: UnitOfWork) -> Now:
        """What is the case, at most a minute ago."""
        with self._lock:
            if self._kept is None or not 0 <= unit.now - self._kept.at < KEPT:
                self._kept = self._ask(unit)
            return self._kept


def now(unit: UnitOfWork) -> Now:
    """Counts the sessions that live."""

    def by(column: object) -> tuple[tuple[str, int], ...]:
        rows = unit.connection.execute(
            select(column, func.count()).where(alive(unit.now)).group_by(column)  # type: ignore[call-overload]
        )
        return ranked({value or "": number for value, number in rows})

    each = (
        select(func.count().label("held"))
        .where(alive(unit.now))
        .group_by(Session.user_id)
        .subquery()
    )
    per_person = unit.connection.execute(
        select(each.c.held, func.count()).group_by(each.c.held).order_by(each.c.held)
    ).all()
    return Now(
        at=unit.now,
        sessions=sum(held * people for held, people in per_person),
        people=sum(people for _, people in per_person),
        by_device=by(Session.device_type),
        by_country=by(Session.country),
        by_level=by(Session.acr),
        per_person=tuple((int(held), int(people)) for held, people in per_person),
    )


def _points(
    unit: UnitOfWork, since: Instant, until: Instant, length: Duration
) -> tuple[Point, ...]:
    series: dict[str, dict[Instant, int]] = {}
    for measure in ("signed_in", "failed", "throttled", "ended"):
        steps = series[measure] = {}
        for hour, counted in tally.by_hour(unit, measure, since=since, until=until).items():
            start = hour - hour % length
            steps[start] = steps.get(start, 0) + counted
    starts = range(since, min(until, since + POINTS_MAXIMUM * length), length)
    return tuple(
        Point(at, **{measure: steps.get(at, 0) for measure, steps in series.items()})
        for at in starts
    )

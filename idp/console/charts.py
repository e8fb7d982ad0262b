"""The geometry of charts: numbers into coordinates, for templates to draw as SVG.

Pure. Drawn on the server, so that they print, need no script and obey the content security policy;
colours are classes. Beside every chart stands a table with the same numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 12, 28


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    value: int


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a line chart: its name, its class, and its points as SVG takes them."""

    name: str
    look: str
    points: str
    area: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """A line chart over time; the values of x ticks are instants."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    instants: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        return not any(value for line in self.lines for value in line.values)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a ranking: its label, its number, and its share of the longest, in percent."""

    label: str
    number: int
    share: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a histogram."""

    label: str
    number: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Columns:
    """A histogram."""

    columns: tuple[Column, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def is_empty(self) -> bool:
        return not any(one.number for one in self.columns)


def lines(instants: Sequence[int], series: Iterable[tuple[str, str, Sequence[int]]]) -> Lines:
    """A line chart; each series is (name, class, one value for each instant)."""
    drawn = [(name, look, tuple(values)) for name, look, values in series]
    top = nice(max((value for _, _, values in drawn for value in values), default=0))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = across / max(1, len(instants) - 1)

    def point(place: int, value: int) -> str:
        return f"{LEFT + place * step:.1f},{TOP + down - down * value / top:.1f}"

    made = []
    for name, look, values in drawn:
        points = " ".join(point(place, value) for place, value in enumerate(values))
        last = LEFT + max(0, len(values) - 1) * step
        area = f"{LEFT},{TOP + down} {points} {last:.1f},{TOP + down}" if values else ""
        made.append(Line(name, look, points, area, values))
    every = max(1, ceil(len(instants) / 6))
    return Lines(
        lines=tuple(made),
        x_ticks=tuple(
            Tick(LEFT + place * step, instants[place]) for place in range(0, len(instants), every)
        ),
        y_ticks=_y_ticks(top, down),
        instants=tuple(instants),
    )


def bars(counts: Iterable[tuple[str, int]]) -> tuple[Bar, ...]:
    """A ranking as bars, in the order given."""
    rows = list(counts)
    longest = max((number for _, number in rows), default=0) or 1
    return tuple(Bar(label, number, round(100 * number / longest, 2)) for label, number in rows)


def columns(counts: Iterable[tuple[str, int]]) -> Columns:
    """A histogram, in the order given."""
    rows = list(counts)
    top = nice(max((number for _, number in rows), default=0))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = across / max(1, len(rows))
    made = []
    for place, (label, number) in enumerate(rows):
        height = down * number / top
        x = LEFT + place * step + step * 0.1
        y = TOP + down - height
        made.append(
            Column(label, number, round(x, 1), round(y, 1), round(step * 0.8, 1), round(height, 1))
        )
    return Columns(tuple(made), _y_ticks(top, down))


def nice(value: int) -> int:
    """The end of an axis that holds a value: 1, 2 or 5 times a power of ten, at least 4."""
    if value <= 4:
        return 4
    power = 10 ** floor(log10(value))
    return next(int(m * power) for m in (1, 2, 5, 10) if m * power >= value)


def _y_ticks(top: int, down: int) -> tuple[Tick, ...]:
    parts = 4 if top % 4 == 0 else 5
    values = [top * part // parts for part in range(parts + 1)]
    return tuple(Tick(round(TOP + down - down * value / top, 1), value) for value in values)

"""The table people read."""

from collections.abc import Mapping
from typing import Literal

from tests.bench.contestants import OURS, REDIS
from tests.bench.measure import CONNECTIONS, Results
from tests.bench.rows import HASHED

_NOTES = f"""\
CPU: microseconds of processor time of the server process (all threads) per operation, at
{CONNECTIONS} connections; requests per core-second are 10^6 divided by it. p50, p99: milliseconds
at one connection. Medians of the rounds, contestants interleaved. "+redis" is what redis-server
spends beside its node process and is not part of the ratio. Ours: `idp serve`, SQLite, every answer
durable (WAL, synchronous=FULL). Redis: append-only file, flushed every second. No hash: ours with
the argon2id call replaced by "yes"; the control checks no password in either login row."""


def render(
    results: Results,
    facts: Mapping[str, Mapping[str, float]],
    labels: list[str],
    *,
    pinning: Literal["pinned", "not pinned"],
) -> str:
    """All figures, the ratio of ours to the control with Redis, and where ours is dearer."""
    width = max(len(row) for row in [*results, "memory after the run, MB"])
    lines = [
        " " * width + "".join(f" | {label:^23}" for label in labels) + " |        | ours /",
        " " * width
        + "".join(f" | {'CPU':>7} {'p50':>7} {'p99':>7}" for _ in labels)
        + " | +redis | redis",
    ]
    lines.append("-" * len(lines[1]))
    for row, by in results.items():
        medians = {label: by[label].medians() for label in labels}
        cells = "".join(
            f" | {one['cpu']:7.0f} {one['p50']:7.2f} {one['p99']:7.2f}" for one in medians.values()
        )
        redis = medians.get(REDIS, {}).get("redis_cpu")
        lines.append(f"{row:<{width}}{cells} | {redis or 0:6.0f} | {_ratio(row, medians)}")
    lines.append("-" * len(lines[1]))
    for fact in facts[labels[0]]:
        cells = "".join(f" | {facts[label][fact]:7.2f}{'':16}" for label in labels)
        lines.append(f"{fact:<{width}}{cells} |        |")
    return "\n".join(
        [*lines, "", _NOTES, f"Load and servers on processors of their own: {pinning}."]
    )


def _ratio(row: str, medians: Mapping[str, Mapping[str, float | None]]) -> str:
    ours, theirs = (medians.get(label, {}).get("cpu") for label in (OURS, REDIS))
    if not ours or not theirs or row == HASHED.name:
        return ""
    return f"{ours / theirs:.2f}" + ("  DEARER" if ours > theirs else "")

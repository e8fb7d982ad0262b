"""Durations counted in buckets, and what can be said of them afterwards.

Pure. A count keeps no single value, so a percentile is an estimate: exact to its bucket, and a straight
line inside it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

# The upper ends of the buckets, in seconds; what is longer falls into the last one, without an end.
LASTED = (60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 604_800, 2_592_000)
TOLD = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3_600, 86_400)


def bucket(seconds: float, ends: Sequence[float]) -> str:
    """The name of the bucket a duration falls into: its upper end, or "longer"."""
    place = bisect_left(ends, seconds)
    return f"{ends[place]:g}" if place < len(ends) else "longer"


def percentile(counts: Mapping[str, int], ends: Sequence[float], share: float) -> float | None:
    """The duration in seconds that `share` (0 to 1) of what was counted does not exceed.

    None when nothing was counted; the last end when it lies beyond.
    """
    total = sum(counts.values())
    if total == 0:
        return None
    wanted, seen, start = share * total, 0, 0.0
    for end in ends:
        here = counts.get(f"{end:g}", 0)
        if here and seen + here >= wanted:
            return start + (end - start) * max(0.0, wanted - seen) / here
        seen, start = seen + here, float(end)
    return start

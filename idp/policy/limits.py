"""How many sessions one person may have at once (row L1): the longest idle give way."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idp.clock import Instant

MAXIMUM_DEFAULT = 15


@dataclass(frozen=True, slots=True)
class Standing:
    """What the decision needs to know of a running session."""

    id: str
    last_active_at: Instant
    created_at: Instant


def effective(values: Iterable[Mapping[str, Any]]) -> int:
    """The limit by the rules in force: the lowest."""
    return min((value["maximum"] for value in values), default=MAXIMUM_DEFAULT)


def problem_with(value: dict[str, Any]) -> str | None:
    """Why `value` cannot be a limits rule, as a sentence; None when it can."""
    maximum = value.get("maximum")
    if set(value) != {"maximum"} or not isinstance(maximum, int) or isinstance(maximum, bool):
        return "A limits rule has 'maximum', a whole number."
    if not 1 <= maximum <= 1_000:
        return "'maximum' must be between 1 and 1000."
    return None


def to_end(running: Iterable[Standing], *, newest: str, maximum: int) -> list[str]:
    """Which sessions give way so that at most `maximum` run; never the one just begun.

    The one that rested longest goes first.
    """
    others = sorted(
        (one for one in running if one.id != newest),
        key=lambda one: (one.last_active_at, one.created_at, one.id),
    )
    excess = len(others) + 1 - maximum
    return [one.id for one in others[: max(excess, 0)]]

"""For how long a browser may stay signed in, if its person asks for it (row T4).

Pure. Thirty days, the most that NIST SP 800-63B-4 section 2.1.3 gives the lowest level; rules give
less, or nothing. Of several rules in force the shortest counts. A rule counts for browsers that are
remembered already, too: what a credential may do is asked when it is shown.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from idp.clock import DAY, Duration

DAYS_DEFAULT = 30
DAYS_MAXIMUM = 30


def effective(values: Iterable[Mapping[str, Any]]) -> Duration:
    """For how long, by the rules in force; 0 when it is not allowed."""
    return min((value["days"] for value in values), default=DAYS_DEFAULT) * DAY


def problem_with(value: dict[str, Any]) -> str | None:
    """Why `value` cannot be a remember rule, as a sentence; None when it can."""
    days = value.get("days")
    if set(value) != {"days"} or not isinstance(days, int) or isinstance(days, bool):
        return (
            "A remember rule has 'days', a whole number; 0 means that no browser stays signed in."
        )
    if not 0 <= days <= DAYS_MAXIMUM:
        return f"'days' must be between 0 and {DAYS_MAXIMUM}."
    return None

"""When a session runs out (rows T1, T2).

The defaults are those of NIST SP 800-63B-4 section 2.2.3 for AAL2: one hour idle, 24 hours overall.
Rules narrow or widen them; where several apply (`idp.policy.selection`), the shortest wins, because a
rule is written to protect something. Durations are microseconds, instants too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant

IDLE_DEFAULT = HOUR
ABSOLUTE_DEFAULT = 24 * HOUR
# NIST SP 800-63B-4 section 2.1.3: an overall timeout must exist, 30 days at most.
ABSOLUTE_MAXIMUM = 30 * DAY

# A session this near to its end is not worth proving more in: whoever signs in begins a new one.
LAST_MINUTES = 10 * MINUTE

Ran = Literal["idle_timeout", "absolute_timeout"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session may rest, and how long it may last."""

    idle: Duration = IDLE_DEFAULT
    absolute: Duration = ABSOLUTE_DEFAULT


def effective(values: Iterable[Mapping[str, Any]]) -> Timeouts:
    """The timeouts by the rules in force, whose values are in seconds: the shortest of each."""
    chosen = list(values)
    idle = min((v["idle"] * SECOND for v in chosen if "idle" in v), default=IDLE_DEFAULT)
    absolute = min(
        (v["absolute"] * SECOND for v in chosen if "absolute" in v), default=ABSOLUTE_DEFAULT
    )
    return Timeouts(idle=min(idle, absolute), absolute=min(absolute, ABSOLUTE_MAXIMUM))


def problem_with(value: dict[str, Any]) -> str | None:
    """Why `value` cannot be a timeouts rule, as a sentence; None when it can."""
    if set(value) - {"idle", "absolute"} or not value:
        return "A timeouts rule has 'idle' and 'absolute', both in seconds."
    for name, seconds in value.items():
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            return f"'{name}' must be a whole number of seconds."
        if not MINUTE <= seconds * SECOND <= ABSOLUTE_MAXIMUM:
            return f"'{name}' must be between 60 seconds and 30 days."
    return None


def ran_out(*, idle_at: Instant, expires_at: Instant, now: Instant) -> Ran | None:
    """Which deadline has passed, the absolute one first; None while the session lives."""
    if now >= expires_at:
        return "absolute_timeout"
    if now >= idle_at:
        return "idle_timeout"
    return None


def is_in_last_minutes(expires_at: Instant, now: Instant) -> bool:
    """Whether a session is so near to its absolute end that a sign-in begins a new one."""
    return expires_at - now <= LAST_MINUTES

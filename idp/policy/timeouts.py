"""When a session runs out (rows L5, T1, T2).

The defaults are those of NIST SP 800-63B-4 section 2.2.3 for AAL2: one hour idle, 24 hours overall.
Rules narrow or widen them; where several apply (`idp.policy.selection`), the shortest wins, because a
rule is written to protect something. A profile is what NIST allows at a level, and what is longest
for all whom its rule is for: a rule that says more about the same people gets around it only by
naming a profile of its own. Durations are microseconds, instants too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from idp.policy.selection import Rule, Subject, chosen

IDLE_DEFAULT = HOUR
ABSOLUTE_DEFAULT = 24 * HOUR
# NIST SP 800-63B-4 section 2.1.3: an overall timeout must exist, 30 days at most.
ABSOLUTE_MAXIMUM = 30 * DAY
# On a device that others use too: whoever forgets to sign out has left by then.
SHARED_DEFAULT = HOUR
SHARED_IDLE = 15 * MINUTE

# When people are warned of the absolute end, which nothing moves; of the idle one see `idle_warning`.
END_WARNING = 5 * MINUTE
# A session this near to its end is not worth proving more in: whoever signs in begins a new one.
LAST_MINUTES = 10 * MINUTE

Ran = Literal["idle_timeout", "absolute_timeout"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session may rest, and how long it may last.

    `temporary` is its whole life where a rule makes it temporary, `shared` where its person said
    that others use the device too.
    """

    idle: Duration = IDLE_DEFAULT
    absolute: Duration = ABSOLUTE_DEFAULT
    temporary: Duration | None = None
    shared: Duration = SHARED_DEFAULT


# NIST SP 800-63B-4 sections 2.1.3, 2.2.3 and 2.3.3. AAL1 asks for no idle timeout.
PROFILES = {
    "aal1": Timeouts(idle=ABSOLUTE_MAXIMUM, absolute=ABSOLUTE_MAXIMUM),
    "aal2": Timeouts(idle=HOUR, absolute=24 * HOUR),
    "aal3": Timeouts(idle=15 * MINUTE, absolute=12 * HOUR),
}
_DURATIONS = ("idle", "absolute", "temporary", "shared")


def effective(rules: Iterable[Rule], subject: Subject) -> Timeouts:
    """The timeouts of somebody: the shortest of each that a rule in force says, or the default."""
    known = list(rules)
    said = chosen(known, subject)
    ceilings = [
        PROFILES[value["profile"]]
        for value in chosen((rule for rule in known if "profile" in rule.value), subject)
    ]
    absolute = min(
        min(_said(said, "absolute"), default=ABSOLUTE_DEFAULT),
        ABSOLUTE_MAXIMUM,
        *(one.absolute for one in ceilings),
    )
    idle = min(_said(said, "idle"), default=IDLE_DEFAULT)
    return Timeouts(
        idle=min(idle, absolute, *(one.idle for one in ceilings)),
        absolute=absolute,
        temporary=min(_said(said, "temporary"), default=None),
        shared=min(min(_said(said, "shared"), default=SHARED_DEFAULT), absolute),
    )


def _said(values: Iterable[Mapping[str, Any]], name: str) -> list[Duration]:
    """What rules say of one duration; one that names a profile and no number says the profile's."""
    found = []
    for value in values:
        if name in value:
            found.append(value[name] * SECOND)
        elif "profile" in value and name in ("idle", "absolute"):
            found.append(getattr(PROFILES[value["profile"]], name))
    return found


def problem_with(value: dict[str, Any]) -> str | None:
    """Why `value` cannot be a timeouts rule, as a sentence; None when it can."""
    if set(value) - {"profile", *_DURATIONS} or not value:
        return (
            "A timeouts rule has 'idle', 'absolute', 'temporary' and 'shared', all in seconds, "
            "and 'profile'."
        )
    longest = dict.fromkeys(_DURATIONS, ABSOLUTE_MAXIMUM)
    profile = value.get("profile")
    if profile is not None:
        if not isinstance(profile, str) or profile not in PROFILES:
            return f"A profile is one of: {', '.join(PROFILES)}."
        overall = PROFILES[profile].absolute
        longest = dict.fromkeys(_DURATIONS, overall) | {"idle": PROFILES[profile].idle}
    for name in _DURATIONS:
        seconds = value.get(name, 60)
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            return f"'{name}' must be a whole number of seconds."
        if not MINUTE <= seconds * SECOND <= ABSOLUTE_MAXIMUM:
            return f"'{name}' must be between 60 seconds and 30 days."
        if seconds * SECOND > longest[name]:
            return f"The profile {profile} allows at most {longest[name] // SECOND} for '{name}'."
    for name in ("idle", "temporary", "shared"):
        if "absolute" in value and value.get(name, 0) > value["absolute"]:
            return f"'{name}' is longer than 'absolute', so it would never be met."
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


def idle_warning(idle: Duration) -> Duration:
    """How long before the idle deadline people are warned: two minutes, or half of a short timeout,
    but never less than the 20 seconds of WCAG 2.2.1.
    """
    return max(20 * SECOND, min(2 * MINUTE, idle // 2))

"""Which networks people may come from (row C3).

Pure. A rule allows, denies, or both; whoever is denied is out even where they are allowed too. What
is not known counts against whoever must come from somewhere: an unknown address is in no allowed
network, and in no denied one.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from idp.policy import network, selection
from idp.policy.selection import Subject

# What becomes of a running session that is used from outside: refused while it is, or ended.
Outside = Literal["refuse", "end"]
LONGEST = 500
_LISTS = ("allow", "deny")


def outside(values: Iterable[Mapping[str, Any]], subject: Subject) -> Outside | None:
    """What holds for somebody who comes from where `subject` says; None: they may."""
    broken = [value for value in values if not _is_inside(value, subject)]
    if not broken:
        return None
    return "end" if any(value.get("outside") == "end" for value in broken) else "refuse"


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be a networks rule, as a sentence; None when it can."""
    named = [name for name in _LISTS if name in value]
    if set(value) - {*_LISTS, "outside"} or not named:
        return "A networks rule has 'allow' or 'deny', or both, and may have 'outside'."
    if value.get("outside", "refuse") not in ("refuse", "end"):
        return "'outside' is refuse or end."
    for name in named:
        blocks = value[name]
        if not isinstance(blocks, list) or not 1 <= len(blocks) <= LONGEST:
            return f"'{name}' is a list of 1 to {LONGEST} networks."
        for block in blocks:
            if not isinstance(block, str) or not selection.is_network(block):
                return (
                    f"'{name}': {block!r} is no network; "
                    "write it like 192.0.2.0/24, 2001:db8::/32 or AS64496."
                )
    if "allow" in value and _are_denied(value["allow"], value.get("deny", [])):
        return "Everything that is allowed is denied."
    return None


def _are_denied(allowed: Iterable[str], denied: Collection[str]) -> bool:
    """Whether nothing of what is allowed is left by what is denied."""
    left = [block for block in allowed if block not in denied]
    blocks, others = map(network.parsed, left), map(network.parsed, denied)
    known = [block for block in blocks if block is not None]
    return len(known) == len(left) and network.are_covered(
        known, [other for other in others if other is not None]
    )


def _is_inside(value: Mapping[str, Any], subject: Subject) -> bool:
    for block in value.get("deny", []):
        # One that cannot be read is denied to everybody.
        if selection.is_within(block, subject) or not selection.is_network(block):
            return False
    allowed = value.get("allow")
    return allowed is None or any(selection.is_within(block, subject) for block in allowed)

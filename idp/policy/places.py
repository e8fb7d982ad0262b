"""Which rules lean on where an address is, and on which part of it (row G1).

Pure. A rule about a country, an autonomous system or a distance says nothing where no file knows it:
as a selector it matches nobody, as an allowed network it lets nobody in. That is no error of the rule,
and easily overlooked, so it is said to whoever looks after the deployment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idp.policy.selection import is_autonomous_system

# As parts of a place are called (`idp.sessions.place.PARTS`).
COUNTRY, NETWORK, DISTANCE = "country", "asn", "latitude"


@dataclass(frozen=True, slots=True)
class Leaning:
    """A rule, by kind and for whom, and the parts of places that it needs and no file gives."""

    kind: str
    applies_to: Mapping[str, str]
    missing: tuple[str, ...]


def needs(kind: str, applies_to: Mapping[str, str], value: Mapping[str, Any]) -> frozenset[str]:
    """The parts of a place without which a rule, or a part of it, has no effect."""
    found = set()
    if "country" in applies_to or value.get("per") == "country":
        found.add(COUNTRY)
    networks = [applies_to.get("network", ""), *value.get("allow", ()), *value.get("deny", ())]
    if any(is_autonomous_system(one) for one in networks):
        found.add(NETWORK)
    if kind == "changes" and value.get("country", "continue") != "continue":
        found.add(COUNTRY)
    if kind == "changes" and value.get("network", "continue") != "continue":
        found.add(NETWORK)
    if kind == "handoff" and "other_country" in value:
        found.add(COUNTRY)
    if kind == "handoff" and "far" in value:
        found.add(DISTANCE)
    return frozenset(found)


def without(
    rules: Iterable[tuple[str, Mapping[str, str], Mapping[str, Any]]], gives: Iterable[str]
) -> list[Leaning]:
    """Of rules (kind, for whom, what they say) those that need more than the files give."""
    known = frozenset(gives)
    return [
        Leaning(kind, applies_to, tuple(sorted(missing)))
        for kind, applies_to, value in rules
        if (missing := needs(kind, applies_to, value) - known)
    ]

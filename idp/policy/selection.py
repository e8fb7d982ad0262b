"""Which rules hold for whom: the selectors of a rule, and what they are compared with.

Pure. A rule without selectors holds for everybody; each selector narrows it, and all of them must
match. A rule that says more about the same people (its selectors and others besides) takes the place
of the one that says less; of the rules that remain, each kind takes the strictest of each value. So
an exception is written by naming what is exceptional, and two rules that have nothing to do with each
other never loosen one another.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idp.policy import network

SELECTORS = ("role", "client", "device_type", "network", "country")
DEVICE_TYPES = ("desktop", "laptop", "phone", "tablet", "tv", "terminal")
_AUTONOMOUS_SYSTEM = re.compile(r"AS([0-9]{1,10})")
_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules are chosen by; `address` is its key (`network.key`). The unknown matches nothing."""

    roles: tuple[str, ...] = ()
    client_id: str | None = None
    device_type: str | None = None
    address: str | None = None
    asn: int | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as policies take it: whom it holds for, and what it says."""

    applies_to: Mapping[str, str]
    value: Mapping[str, Any]


# All rules, by kind.
Book = Mapping[str, Sequence[Rule]]


def chosen(rules: Iterable[Rule], subject: Subject) -> list[Mapping[str, Any]]:
    """What the rules in force say, those for everybody first.

    A rule gives way to one whose selectors include all of its own.
    """
    matching = sorted(
        (rule for rule in rules if matches(rule.applies_to, subject)),
        key=lambda rule: len(rule.applies_to),
    )
    return [
        rule.value
        for rule in matching
        if not any(rule.applies_to.items() < other.applies_to.items() for other in matching)
    ]


def matches(applies_to: Mapping[str, str], subject: Subject) -> bool:
    """Whether every selector matches."""
    return all(_matches(name, wanted, subject) for name, wanted in applies_to.items())


def problem_with(applies_to: Mapping[str, Any]) -> str | None:
    """Why these cannot be selectors, as a sentence; None when they can.

    A network is CIDR or an autonomous system ("AS64496"), a country two letters (ISO 3166-1).
    """
    for name, wanted in applies_to.items():
        if name not in SELECTORS:
            return f"A rule is for: {', '.join(SELECTORS)}."
        if not isinstance(wanted, str) or not 1 <= len(wanted) <= 64:
            return f"'{name}' must be a text of 1 to 64 characters."
        if name == "device_type" and wanted not in DEVICE_TYPES:
            return f"A device type is one of: {', '.join(DEVICE_TYPES)}."
        if name == "country" and not _COUNTRY.fullmatch(wanted):
            return "A country is two capital letters, such as FR."
        if name == "network" and not is_network(wanted):
            return "A network is written like 192.0.2.0/24, 2001:db8::/32 or AS64496."
    return None


def is_network(text: str) -> bool:
    """Whether a text names a network: by CIDR, or as an autonomous system."""
    return is_autonomous_system(text) or network.parsed(text) is not None


def is_autonomous_system(text: str) -> bool:
    """Whether a text names a network by its number, such as AS64496."""
    return _AUTONOMOUS_SYSTEM.fullmatch(text) is not None


def is_within(text: str, subject: Subject) -> bool:
    """Whether somebody comes from the network that a text names."""
    system = _AUTONOMOUS_SYSTEM.fullmatch(text)
    if system is not None:
        return int(system[1]) == subject.asn
    block = network.parsed(text)
    return block is not None and network.contains(block, subject.address)


def _matches(name: str, wanted: str, subject: Subject) -> bool:
    if name == "role":
        return wanted in subject.roles
    if name == "client":
        return wanted == subject.client_id
    if name == "device_type":
        return wanted == subject.device_type
    if name == "country":
        return wanted == subject.country
    return is_within(wanted, subject)

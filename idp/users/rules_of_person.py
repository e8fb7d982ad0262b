"""What holds for one person, and from which rules (row L7).

For administrators: the rules as they are carried out, the defaults where there is none, and for what
depends on a session's device, place or app under which condition it holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idp.policy import effective, limits, selection
from idp.policy.selection import Subject
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules
from idp.users.model import Rule, User


@dataclass(frozen=True, slots=True)
class InForce:
    """One thing that holds: `when` are selectors of sessions (none: always), `rules` its origin.

    Without a rule it is the default.
    """

    kind: str
    when: Mapping[str, str]
    value: Mapping[str, Any]
    rules: tuple[Rule, ...]


def of(unit: UnitOfWork, user: User) -> list[InForce]:
    """Everything that holds for this person."""
    theirs = [
        rule for rule in rules.all_rules(unit) if rule.applies_to.get("role") in (None, *user.roles)
    ]
    return [
        one
        for kind in rules.KINDS
        for one in _of_kind(kind, [rule for rule in theirs if rule.kind == kind], user.roles)
    ]


def _of_kind(kind: str, theirs: Sequence[Rule], roles: Sequence[str]) -> Iterator[InForce]:
    # Of levels every rule counts; of the others one for a role takes the place of the same without.
    left = [rule for rule in theirs if kind == "assurance" or not _gives_way(rule, theirs)]
    always = tuple(rule for rule in left if not _when(rule))
    if effective.is_merged(kind):
        known = [selection.Rule(rule.applies_to, rule.value) for rule in theirs]
        value = effective.together(kind, known, Subject(roles=tuple(roles)))
        yield InForce(kind, {}, value, always)
        left = [rule for rule in left if rule not in always]
    elif not any("per" not in rule.value for rule in always):
        yield InForce(kind, {}, effective.default(kind), ())
    for rule in sorted(left, key=lambda rule: (len(_when(rule)), rule.value.get("per", ""))):
        value = _limit(rule.value) if kind == "limits" else rule.value
        yield InForce(kind, _when(rule), value, (rule,))


def _gives_way(rule: Rule, theirs: Sequence[Rule]) -> bool:
    return any(
        other.value.get("per") == rule.value.get("per")
        and rule.applies_to.items() < other.applies_to.items()
        and _when(other) == _when(rule)
        for other in theirs
    )


def _when(rule: Rule) -> dict[str, str]:
    return {name: one for name, one in rule.applies_to.items() if name != "role"}


def _limit(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "at_limit": value.get("at_limit", limits.BEHAVIOURS[0])}

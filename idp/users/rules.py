"""Rules as rows: what an administrator sets while the product runs.

Owns reading, changing and auditing them; what a rule means is `idp.policy`.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, get_args

import orjson
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from idp import ids
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import RuleChanged
from idp.policy import (
    allowed_networks,
    assurance,
    changes,
    hours,
    limits,
    proximity,
    reauthentication,
    remember,
    selection,
    timeouts,
)
from idp.policy.selection import Book, Subject
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import Role, Rule

Kind = Literal[
    "timeouts",
    "limits",
    "assurance",
    "hours",
    "networks",
    "remember",
    "changes",
    "reauthentication",
    "handoff",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_PROBLEMS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "timeouts": timeouts.problem_with,
    "limits": limits.problem_with,
    "assurance": assurance.problem_with,
    "hours": hours.problem_with,
    "networks": allowed_networks.problem_with,
    "remember": remember.problem_with,
    "changes": changes.problem_with,
    "reauthentication": reauthentication.problem_with,
    "handoff": proximity.problem_with,
}

# Decided where a session begins, moves or ends, where no app is in sight: one for an app would be
# kept and never hold.
_OF_WHOLE_SESSIONS: frozenset[Kind] = frozenset(
    {"timeouts", "limits", "hours", "remember", "handoff"}
)

_OF_KIND = HotStatement(
    select(Rule.applies_to, Rule.value).where(Rule.kind == bindparam("wanted")).order_by(Rule.id)
)
_ALL = HotStatement(select(Rule.kind, Rule.applies_to, Rule.value).order_by(Rule.id))


def book(unit: UnitOfWork) -> Book:
    """All rules, by kind, as `idp.policy` takes them."""
    found: dict[str, list[selection.Rule]] = {kind: [] for kind in KINDS}
    for kind, applies_to, value in unit.run(_ALL, {}):
        # One of a kind that a newer version knows must not stop this one.
        rule = selection.Rule(orjson.loads(applies_to), orjson.loads(value))
        found.setdefault(kind, []).append(rule)
    return found


def rules_of(unit: UnitOfWork, kind: Kind) -> list[selection.Rule]:
    """The rules of one kind, as `idp.policy` takes them."""
    return [
        selection.Rule(orjson.loads(applies_to), orjson.loads(value))
        for applies_to, value in unit.run(_OF_KIND, {"wanted": kind})
    ]


def in_force(unit: UnitOfWork, kind: Kind, subject: Subject) -> list[Mapping[str, Any]]:
    """What the rules of one kind say for somebody."""
    return selection.chosen(rules_of(unit, kind), subject)


def all_rules(unit: UnitOfWork) -> list[Rule]:
    """Every rule, those for everybody first."""
    rows = unit.orm.scalars(select(Rule)).all()
    return sorted(
        rows,
        key=lambda rule: (rule.kind, sorted(rule.applies_to.items()), rule.value.get("per", "")),
    )


class Written(Protocol):
    """A rule as it was set, however it was read."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def applies_to(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> Mapping[str, Any]: ...


def unfit(rows: Iterable[Written]) -> dict[str, str]:
    """Of rules that were set those that could not be set so now, by id, and why not.

    A time zone may be gone with an update of the system, or a newer version have set what this one
    does not know. What cannot be read lets nobody in, so whoever looks after the deployment is told.
    """
    found = {one.id: problem_with(one.kind, one.applies_to, one.value) for one in rows}
    return {rule: problem for rule, problem in found.items() if problem is not None}


def of_role(unit: UnitOfWork, role: str) -> list[Rule]:
    """The rules that hold for one role only."""
    return [rule for rule in all_rules(unit) if rule.applies_to.get("role") == role]


def selectors_for(kind: str) -> tuple[str, ...]:
    """What a rule of this kind can be for."""
    left_out = {"client"} if kind in _OF_WHOLE_SESSIONS else set()
    return tuple(one for one in selection.SELECTORS if one not in left_out)


def problem_with(kind: str, applies_to: Mapping[str, str], value: Mapping[str, Any]) -> str | None:
    """Why this cannot be a rule, as a sentence; None when it can."""
    if kind not in KINDS:
        return f"A rule is one of: {', '.join(KINDS)}."
    problem = selection.problem_with(applies_to) or _PROBLEMS[kind](dict(value))
    if problem is None and not set(applies_to) <= set(selectors_for(kind)):
        return (
            f"A {kind} rule is about a whole session, which is not one app's: leave 'client' out."
        )
    return problem


def check(
    unit: UnitOfWork, kind: str, applies_to: Mapping[str, str], value: Mapping[str, Any]
) -> None:
    """Raises `Refused` for what cannot be a rule: `invalid_rule`, `unknown_role`."""
    problem = problem_with(kind, applies_to, value)
    if problem is not None:
        raise Refused("invalid_rule", problem)
    role = applies_to.get("role")
    if role is not None and unit.orm.get(Role, role) is None:
        raise Refused("unknown_role", f"There is no role {role!r}.", 404)


def set_rule(
    unit: UnitOfWork,
    kind: str,
    applies_to: Mapping[str, str],
    value: dict[str, Any],
    actor: Actor,
) -> Rule:
    """Sets the rule of a kind for whom `applies_to` selects; nothing selected means everybody.

    Raises `Refused`: `invalid_rule` when value or selectors cannot be one, `unknown_role`.
    """
    check(unit, kind, applies_to, value)
    per = value.get("per")
    rule = _rule(unit, kind, applies_to, per)
    before = None
    if rule is None:
        rule = Rule(
            id=rule_id(kind, applies_to, per), kind=kind, applies_to=dict(applies_to), version=1
        )
        unit.orm.add(rule)
    else:
        before = rule.value
        rule.version += 1
    rule.value = value
    rule.changed_at = unit.now
    rule.changed_by = _name(actor)
    try:
        unit.flush()
    except IntegrityError:
        raise Refused(
            "rule_changed", "This rule was changed by somebody else. Please look again.", 409
        ) from None
    unit.record(_changed(actor, kind=kind, applies_to=applies_to, before=before, after=value))
    return rule


def remove_rule(
    unit: UnitOfWork,
    kind: str,
    applies_to: Mapping[str, str],
    actor: Actor,
    *,
    per: str | None = None,
) -> None:
    """Takes a rule away, so that a more general one or the default holds again."""
    rule = _rule(unit, kind, applies_to, per)
    if rule is None:
        raise Refused("unknown_rule", "There is no such rule.", 404)
    unit.orm.delete(rule)
    unit.record(_changed(actor, kind=kind, applies_to=applies_to, before=rule.value, after=None))


def rule_id(kind: str, applies_to: Mapping[str, str], per: str | None = None) -> str:
    """The id of the rule of a kind for whom `applies_to` selects, and of limits what they are `per`.

    Made from what the rule is for, so that the primary key keeps two administrators from making two
    rules for one thing.
    """
    selectors = orjson.dumps(dict(applies_to), option=orjson.OPT_SORT_KEYS).decode()
    what = f"{kind} per {per}" if per is not None else kind
    return "rul_" + ids.digest(f"{what} {selectors}")[:26]


class RulesInForce:
    """All rules for whoever decides at every request, read at most once a second.

    A change by this process counts at once (`forget`), one by another within that second.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._read_at = -1.0
        self._changes = 0
        self._book: Book = {}

    def current(self) -> Book:
        """The rules, by kind."""
        now = time.monotonic()
        if now - self._read_at > 1 or self._read_at < 0:
            before = self._changes
            with self._work.read() as unit:
                found = book(unit)
            # Changed while it was read: as it was it holds for this decision, and for no other.
            if self._changes != before:
                return found
            self._book, self._read_at = found, now
        return self._book

    def forget(self) -> None:
        """A rule was changed."""
        self._changes += 1
        self._read_at = -1.0


def _rule(
    unit: UnitOfWork, kind: str, applies_to: Mapping[str, str], per: str | None
) -> Rule | None:
    return unit.orm.get(Rule, rule_id(kind, applies_to, per), with_for_update=True)


def _name(actor: Actor) -> str:
    return (actor.id or actor.kind)[:64]


def _changed(
    actor: Actor,
    *,
    kind: str,
    applies_to: Mapping[str, str],
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> RuleChanged:
    return RuleChanged(
        actor=actor.kind,
        actor_id=actor.id,
        kind=kind,
        applies_to=dict(applies_to),
        before=before,
        after=after,
    )

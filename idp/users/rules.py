"""Rules as rows: what an administrator sets while the product runs.

Owns reading, changing and auditing them; what a rule means is `idp.policy`.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, get_args

import orjson
from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from idp import ids
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import RuleChanged
from idp.policy import assurance, limits, timeouts
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.users.model import Role, Rule

Kind = Literal["timeouts", "limits", "assurance"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_PROBLEMS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "timeouts": timeouts.problem_with,
    "limits": limits.problem_with,
    "assurance": assurance.problem_with,
}

_OF_KIND = HotStatement(
    select(Rule.role, Rule.value).where(Rule.kind == bindparam("wanted")).order_by(Rule.id)
)


def rules_of(unit: UnitOfWork, kind: Kind) -> list[tuple[str | None, dict[str, Any]]]:
    """The rules of one kind as (role or None for everybody, value), as `idp.policy` takes them."""
    return [(role, orjson.loads(value)) for role, value in unit.run(_OF_KIND, {"wanted": kind})]


def all_rules(unit: UnitOfWork) -> list[Rule]:
    """Every rule, those for everybody first."""
    rows = unit.orm.scalars(select(Rule)).all()
    return sorted(rows, key=lambda rule: (rule.kind, rule.role or ""))


def set_rule(
    unit: UnitOfWork, kind: str, role: str | None, value: dict[str, Any], actor: Actor
) -> Rule:
    """Sets the rule of a kind for a role, or for everybody (None).

    Raises `Refused`: `invalid_rule` when the value cannot be one, `unknown_role`.
    """
    if kind not in KINDS:
        raise Refused("invalid_rule", f"A rule is one of: {', '.join(KINDS)}.")
    problem = _PROBLEMS[kind](value)
    if problem is not None:
        raise Refused("invalid_rule", problem)
    if role is not None and unit.orm.get(Role, role) is None:
        raise Refused("unknown_role", f"There is no role {role!r}.", 404)
    rule = _rule(unit, kind, role)
    before = None
    if rule is None:
        rule = Rule(id=_id(kind, role), kind=kind, role=role, version=1)
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
    unit.record(_changed(actor, kind=kind, role=role, before=before, after=value))
    return rule


def remove_rule(unit: UnitOfWork, kind: str, role: str | None, actor: Actor) -> None:
    """Takes a rule away, so that the general one or the default holds again."""
    rule = _rule(unit, kind, role)
    if rule is None:
        raise Refused("unknown_rule", "There is no such rule.", 404)
    unit.orm.delete(rule)
    unit.record(_changed(actor, kind=kind, role=role, before=rule.value, after=None))


class AssuranceRules:
    """The assurance rules for the authorization endpoint, read at most once a second.

    A change by this process counts at once (`forget`), one by another within that second.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._read_at = -1.0
        self._rules = assurance.Rules()

    def current(self) -> assurance.Rules:
        """The rules in force."""
        now = time.monotonic()
        if now - self._read_at > 1 or self._read_at < 0:
            with self._work.read() as unit:
                self._rules = assurance.rules_from(rules_of(unit, "assurance"))
            self._read_at = now
        return self._rules

    def forget(self) -> None:
        """A rule was changed."""
        self._read_at = -1.0


def _rule(unit: UnitOfWork, kind: str, role: str | None) -> Rule | None:
    return unit.orm.get(Rule, _id(kind, role), with_for_update=True)


def _id(kind: str, role: str | None) -> str:
    # Made from what the rule is for, so that the primary key keeps two administrators from making
    # two rules for one thing (a unique index would not: NULL roles are all distinct).
    return "rul_" + ids.digest(f"{kind} {role or ''}")[:26]


def _name(actor: Actor) -> str:
    return (actor.id or actor.kind)[:64]


def _changed(
    actor: Actor,
    *,
    kind: str,
    role: str | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> RuleChanged:
    return RuleChanged(
        actor=actor.kind, actor_id=actor.id, kind=kind, role=role, before=before, after=after
    )

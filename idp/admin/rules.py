"""Rules over the management API: timeouts, limits, levels and the like, for whom they select.

What a rule means is `idp.policy`; how it is kept, `idp.users.rules`. Two administrators who change
one rule do not overwrite each other: a change says by `If-Match` what it was made from.
"""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import select

from idp.admin.answering import require_match
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model, Moment, Reason, moment
from idp.errors import Refused
from idp.oauth.model import Authorization, Client
from idp.policy import limits, management
from idp.sessions import simulation
from idp.sessions.simulation import Proposed
from idp.users import rules
from idp.users.model import Role
from idp.users.model import Rule as RuleRow

Selectors = Annotated[
    dict[str, Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=5)
]
Value = Annotated[dict[str, Any], Field(max_length=50)]


class Rule(Model):
    """A rule; `applies_to` selects whom it holds for, nothing selected means everybody."""

    id: str
    kind: str
    applies_to: dict[str, str]
    value: dict[str, Any]
    version: int
    changed_at: Moment
    changed_by: str


class Rules(Model):
    """Every rule that was set; where there is none the defaults hold."""

    items: list[Rule]


class DeclaredRule(Model):
    """A rule: its kind, whom it holds for, and what it says."""

    kind: Annotated[str, Field(min_length=1, max_length=32)]
    applies_to: Selectors = Field(default={})
    value: Value


class NewRule(DeclaredRule):
    """A rule to be set where there is none yet, and why."""

    reason: Reason


class RuleValue(Model):
    """What a rule says, all of it, and why."""

    value: Value
    reason: Reason


class Proposal(Model):
    """A rule as it would be set, in the place of the one there is; without a value, taken away.

    `per` names the limit that is taken away, where there are several for the same people.
    """

    kind: Annotated[str, Field(min_length=1, max_length=32)]
    applies_to: Selectors = Field(default={})
    value: Value | None = None
    per: limits.Per | None = None


class Affected(Model):
    """One session, and what would become of it."""

    session_id: str
    user_id: str
    effects: list[simulation.Effect]


class Simulation(Model):
    """Who would be affected now: sessions by effect, the people behind them, and some of them for
    whoever may read sessions.

    `is_complete` is false where more sessions run than were examined.
    """

    examined: int
    is_complete: bool
    people: int
    sessions: dict[simulation.Effect, int]
    sample: list[Affected]


class Removal(Model):
    """Why a rule is taken away."""

    reason: Reason


def list_rules(call: Call, _: None) -> Rules:
    """List the rules that were set."""
    return Rules(items=[_described(one) for one in rules.all_rules(call.unit)])


def create_rule(call: Call, new: NewRule) -> Rule:
    """Set a rule where there is none yet."""
    rule_id = rules.rule_id(new.kind, new.applies_to, per=new.value.get("per"))
    if call.unit.orm.get(RuleRow, rule_id) is not None:
        raise Refused("rule_exists", "There is such a rule already: change it.", 409)
    client = new.applies_to.get("client")
    if client is not None and call.unit.orm.get(Client, client) is None:
        raise Refused("unknown_client", "There is no such client.", 400)
    return _set(call, new.kind, new.applies_to, new.value)


def simulate(call: Call, proposal: Proposal) -> Simulation:
    """Say who would be affected now if a rule were set so, or taken away; changes nothing."""
    proposed = Proposed(proposal.kind, proposal.applies_to, proposal.value, proposal.per)
    try:
        found = simulation.of(call.unit, proposed)
    except Refused as refused:
        raise _of_the_body(refused) from None
    # A rule for one network or country would say who is there.
    shown = found.sample if "sessions:read" in call.rights else ()
    return Simulation(
        examined=found.examined,
        is_complete=found.is_complete,
        people=found.people,
        sessions=dict(found.sessions),
        sample=[
            Affected(session_id=one.session_id, user_id=one.user_id, effects=list(one.effects))
            for one in shown
        ],
    )


def get_rule(call: Call, _: None) -> Rule:
    """Show one rule."""
    return _described(_found(call))


def change_rule(call: Call, wanted: RuleValue) -> Rule:
    """Replace what a rule says."""
    rule = _held(call)
    if wanted.value.get("per") != rule.value.get("per"):
        # It is a part of the rule's id: the change would make another rule, and leave this one.
        raise Refused(
            "invalid_rule", "What a limit is per cannot be changed; set another rule.", 400
        )
    return _set(call, rule.kind, rule.applies_to, wanted.value)


def remove_rule(call: Call, _: Removal) -> Rule:
    """Take a rule away, so that a more general one or the default holds again."""
    rule = _held(call)
    _require_role_below(call, rule.applies_to)
    _spare_the_administrator(
        call, Proposed(rule.kind, rule.applies_to, None, rule.value.get("per"))
    )
    gone = _described(rule)
    rules.remove_rule(call.unit, rule.kind, rule.applies_to, call.actor, per=rule.value.get("per"))
    return gone


def _set(call: Call, kind: str, applies_to: dict[str, str], value: dict[str, Any]) -> Rule:
    try:
        rules.check(call.unit, kind, applies_to, value)
        _require_role_below(call, applies_to)
        _spare_the_administrator(call, Proposed(kind, applies_to, value))
        return _described(rules.set_rule(call.unit, kind, applies_to, value, call.actor))
    except Refused as refused:
        raise _of_the_body(refused) from None


def _of_the_body(refused: Refused) -> Refused:
    """A role that is not there is a mistake in the body, not in the address."""
    status = 400 if refused.status == 404 else refused.status
    return Refused(refused.code, refused.sentence, status)


def _require_role_below(call: Call, applies_to: dict[str, str]) -> None:
    """Raises `Refused` (`above_you`) for a rule on people who have rights the caller has not."""
    role = call.unit.orm.get(Role, applies_to.get("role", ""))
    if role is not None and management.is_above(role.permissions, call.rights):
        raise Refused("above_you", "People of this role have rights that you do not have.", 403)


def _spare_the_administrator(call: Call, proposed: Proposed) -> None:
    """Raises `Refused` for a change that would send away whoever is about to make it."""
    person = call.manager.person
    if person is None:
        return
    app = proposed.applies_to.get("client")
    if app is not None and not _holds(call, person.session_id, app):
        return  # what is for an app that they do not use keeps nobody from these pages
    found = simulation.on_session(call.unit, proposed, person.session_id)
    if not simulation.LOCKS_OUT.isdisjoint(found):
        raise Refused(
            "locks_you_out",
            "This change would end your own session, or keep you from signing in. "
            "Make it from where the rules let you in, or for others only.",
            409,
        )


def _holds(call: Call, session_id: str, client_id: str) -> bool:
    """Whether an app is signed in by this session: a rule for it may end the session."""
    held = select(Authorization.id).where(
        Authorization.session_id == session_id,
        Authorization.client_id == client_id,
        Authorization.ended_at.is_(None),
    )
    return call.unit.orm.scalar(held.limit(1)) is not None


def _found(call: Call) -> RuleRow:
    rule = call.unit.orm.get(RuleRow, call.params["id"])
    if rule is None:
        raise Refused("rule_not_found", "There is no such rule.", 404)
    return rule


def _held(call: Call) -> RuleRow:
    """The rule, if the change is meant for what it says now; nobody else changes it meanwhile."""
    rule = call.unit.orm.get(RuleRow, call.params["id"], with_for_update=True)
    if rule is None:
        raise Refused("rule_not_found", "There is no such rule.", 404)
    require_match(call, _described(rule))
    return rule


def _described(rule: RuleRow) -> Rule:
    return Rule(
        id=rule.id,
        kind=rule.kind,
        applies_to=rule.applies_to,
        value=rule.value,
        version=rule.version,
        changed_at=moment(rule.changed_at),
        changed_by=rule.changed_by,
    )


OPERATIONS = (
    Operation(method="GET", path="/rules", scope="rules:read", carry_out=list_rules, gives=Rules),
    Operation(
        method="POST", path="/rules", scope="rules:write", carry_out=create_rule,
        takes=NewRule, gives=Rule, status=201, proof="fresh", repeat="keyed", tag="shown",
    ),
    Operation(
        method="POST", path="/rules/simulate", scope="rules:read", carry_out=simulate,
        takes=Proposal, gives=Simulation,
    ),
    Operation(
        method="GET", path="/rules/{id}", scope="rules:read", carry_out=get_rule,
        gives=Rule, tag="shown",
    ),
    Operation(
        method="PUT", path="/rules/{id}", scope="rules:write", carry_out=change_rule,
        takes=RuleValue, gives=Rule, proof="fresh", tag="required",
    ),
    Operation(
        method="DELETE", path="/rules/{id}", scope="rules:write", carry_out=remove_rule,
        takes=Removal, gives=Rule, proof="fresh", tag="required",
    ),
)  # fmt: skip

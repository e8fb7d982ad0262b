"""What holds for one user over the management API: rules and defaults, as they are carried out."""

from typing import Any

from idp.admin import access
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model
from idp.policy import effective
from idp.users import rules_of_person
from idp.users.model import User
from idp.users.rules_of_person import InForce


class Holding(Model):
    """One thing that holds; `when` are selectors of sessions, none of them means always.

    `rules` are the ids of those it comes from; without one it is the default, and `why` says why it is.
    """

    kind: str
    when: dict[str, str]
    value: dict[str, Any]
    rules: list[str]
    why: str | None


class RulesInForce(Model):
    """Everything that holds for a user, kind by kind."""

    items: list[Holding]


def list_rules_in_force(call: Call, _: None) -> RulesInForce:
    """List what holds for a user, with the defaults where there is no rule."""
    user = call.unit.orm.get(User, call.params["id"])
    if user is None:
        raise access.no_such_user()
    return RulesInForce(items=[_described(one) for one in rules_of_person.of(call.unit, user)])


def _described(one: InForce) -> Holding:
    return Holding(
        kind=one.kind,
        when=dict(one.when),
        value=dict(one.value),
        rules=[rule.id for rule in one.rules],
        why=effective.WHY[one.kind] if not one.rules else None,
    )


OPERATIONS = (
    Operation(
        method="GET", path="/users/{id}/rules", scope="rules:read", carry_out=list_rules_in_force,
        gives=RulesInForce,
    ),
)  # fmt: skip

"""Making the present state what a document says: added, changed, and, if wished, removed.

Everything happens in the caller's transaction, by the functions that the management API calls, so each
change is checked, and recorded in the audit log, as it always is; one part that is refused undoes all.
What is already so is not touched: applying a document twice changes nothing the second time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from idp import ids
from idp.admin import clients as api
from idp.admin.declaration import Declaration, DeclaredClient, state
from idp.admin.rules import DeclaredRule
from idp.errors import Refused
from idp.events.actor import Actor
from idp.oauth import clients
from idp.oauth.model import Client
from idp.policy import management
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, roles, rules
from idp.users.model import Rule

Verb = Literal["add", "change", "remove"]
# Decided when a client is made.
_FIXED = ("token_endpoint_auth_method", "application_type")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as the document says; `members` with what they were and will be."""

    verb: Verb
    kind: Literal["role", "client", "rule"]
    name: str
    members: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was changed, and the secrets of new clients whose secret the document does not refer to."""

    changes: list[Change]
    secrets: dict[str, str]


def carry_out(
    unit: UnitOfWork,
    declared: Declaration,
    *,
    secrets: Mapping[str, str],
    removing: Literal["nothing", "unlisted"],
    actor: Actor,
) -> Outcome:
    """Makes it so; `secrets` are those that the document refers to, by the id of their client.

    "unlisted" takes away the rules and roles, and deletes the clients with their grants, that a part
    of the document does not list. The roles that every deployment begins with stay: they would come
    back with the next start. Raises `Refused`, also for a role that somebody holds.
    """
    made: dict[str, str] = {}
    changes = [
        *_roles(unit, declared.roles or {}, actor),
        *_clients(unit, declared.clients or [], secrets, actor, made),
    ]
    if removing == "unlisted":
        changes += _unlisted_rules(unit, declared, actor)
        changes += _unlisted_clients(unit, declared, actor)
    changes += _rules(unit, declared.rules or [], actor)
    unit.flush()
    if removing == "unlisted":
        # Last: until here a rule that goes as well was for it.
        changes += _unlisted_roles(unit, declared, actor)
        unit.flush()
    return Outcome(changes, made)


def _roles(unit: UnitOfWork, wanted: Mapping[str, list[str]], actor: Actor) -> Iterator[Change]:
    queries.hold_roles(unit, to_define=True)
    present = {role.name: role.permissions for role in queries.roles(unit)}
    for name, permissions in sorted(wanted.items()):
        before, after = present.get(name), sorted(set(permissions))
        if before == after:
            continue
        queries.define_role(unit, name, permissions, actor)
        yield Change(
            "add" if before is None else "change", "role", name, {"permissions": (before, after)}
        )


def _clients(
    unit: UnitOfWork,
    wanted: list[DeclaredClient],
    secrets: Mapping[str, str],
    actor: Actor,
    made: dict[str, str],
) -> Iterator[Change]:
    for one in wanted:
        client = unit.orm.get(Client, one.id, with_for_update=LOCKED)
        try:
            if client is None:
                yield _added(unit, one, secrets.get(one.id), actor, made)
            else:
                yield from _changed(unit, client, one, secrets.get(one.id), actor)
        except Refused as refused:
            raise _named(refused, f"client {one.id}") from None


def _added(
    unit: UnitOfWork,
    one: DeclaredClient,
    given: str | None,
    actor: Actor,
    made: dict[str, str],
) -> Change:
    values = one.model_dump(exclude={"id", "enabled", "client_secret"})
    client, secret = clients.create(unit, **api.values_of(values), client_id=one.id, actor=actor)
    if given is not None:
        clients.set_secret(unit, client, given, actor=actor, overlap="none")
    elif secret is not None:
        made[one.id] = secret
    if not one.enabled:
        clients.set_enabled(unit, client, is_enabled=False, actor=actor)
    return Change("add", "client", one.id, {"name": (None, one.name)})


def _changed(
    unit: UnitOfWork, client: Client, one: DeclaredClient, given: str | None, actor: Actor
) -> Iterator[Change]:
    if client.registered_with is not None:
        raise Refused("registered_itself", "This app registered itself: it is not declared here.")
    before, after = state(client), one.model_dump(exclude={"client_secret"})
    members = {
        name: (before[name], after[name]) for name in sorted(after) if before[name] != after[name]
    }
    for name in _FIXED:
        if name in members:
            raise Refused("invalid_client_metadata", f"{name} cannot be changed.")
    values = {name: new for name, (_, new) in members.items() if name != "enabled"}
    if values:
        clients.change(unit, client, actor=actor, **api.values_of(values))
    if "enabled" in members:
        clients.set_enabled(unit, client, is_enabled=one.enabled, actor=actor)
    if given is not None and client.secret_hash != ids.digest(given):
        clients.set_secret(unit, client, given, actor=actor, overlap="keep")
        members["client_secret"] = ("…", "another")
    if members:
        yield Change("change", "client", one.id, members)


def _rules(unit: UnitOfWork, wanted: list[DeclaredRule], actor: Actor) -> Iterator[Change]:
    for one in wanted:
        rule_id = rules.rule_id(one.kind, one.applies_to, one.value.get("per"))
        rule = unit.orm.get(Rule, rule_id, with_for_update=True)
        before = rule.value if rule is not None else None
        name = _called(one.kind, one.applies_to, one.value)
        try:
            _require_client(unit, one.applies_to.get("client"))
            if before == one.value:
                continue
            rules.set_rule(unit, one.kind, one.applies_to, one.value, actor)
        except Refused as refused:
            raise _named(refused, f"rule {name}") from None
        yield Change(
            "add" if before is None else "change", "rule", name, {"value": (before, one.value)}
        )


def _require_client(unit: UnitOfWork, client_id: str | None) -> None:
    if client_id is not None and unit.orm.get(Client, client_id) is None:
        raise Refused("unknown_client", f"There is no client {client_id!r}.")


def _unlisted_rules(unit: UnitOfWork, declared: Declaration, actor: Actor) -> Iterator[Change]:
    if declared.rules is None:
        return
    listed = {
        rules.rule_id(one.kind, one.applies_to, one.value.get("per")) for one in declared.rules
    }
    for rule in rules.all_rules(unit):
        if rule.id not in listed:
            name, before = _called(rule.kind, rule.applies_to, rule.value), rule.value
            rules.remove_rule(unit, rule.kind, rule.applies_to, actor, per=rule.value.get("per"))
            yield Change("remove", "rule", name, {"value": (before, None)})


def _unlisted_clients(unit: UnitOfWork, declared: Declaration, actor: Actor) -> Iterator[Change]:
    if declared.clients is None:
        return
    listed = {one.id for one in declared.clients}
    for client in clients.all_of(unit):
        if client.id not in listed and client.registered_with is None:
            yield Change("remove", "client", client.id, {"name": (client.name, None)})
            clients.delete(unit, client, actor=actor)
    unit.flush()


def _unlisted_roles(unit: UnitOfWork, declared: Declaration, actor: Actor) -> Iterator[Change]:
    if declared.roles is None:
        return
    for role in queries.roles(unit):
        if role.name in declared.roles or role.name in management.ROLES:
            continue
        name, before = role.name, role.permissions
        try:
            roles.remove(unit, role, actor)
        except Refused as refused:
            raise _named(refused, f"role {name}") from None
        yield Change("remove", "role", name, {"permissions": (before, None)})


def _called(kind: str, applies_to: Mapping[str, str], value: Mapping[str, Any]) -> str:
    per = [f"per={value['per']}"] if "per" in value else []
    whom = [f"{name}={one}" for name, one in sorted(applies_to.items())] or ["everybody"]
    return " ".join([kind, *per, "for", *whom])


def _named(refused: Refused, what: str) -> Refused:
    """A refusal that says which part of the document it is about."""
    return Refused(refused.code, f"{what}: {refused.sentence}", refused.status)

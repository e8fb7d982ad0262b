"""The roles a deployment begins with, what only roles give, and taking one away; defining them is
`queries.define_role`.
"""

from collections.abc import Collection

from sqlalchemy import select

from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import RuleChanged
from idp.policy import management
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, rules
from idp.users.model import Permission, Role


def ensure(unit: UnitOfWork) -> None:
    """Makes the roles that are not there yet, and gives administrators the rights that are new.

    A role of that name that gives no right over this product is somebody's own and is left alone:
    its holders must not become administrators by an upgrade.
    """
    known = {role.name: role.permissions for role in unit.orm.scalars(select(Role))}
    for name, scopes in management.ROLES.items():
        if name not in known:
            # No event: nobody changed anything yet.
            unit.orm.add(Role(name=name, permissions=sorted(scopes)))
    held = known.get(management.ADMINISTRATOR, [])
    if management.rights_in(held) and not set(held) >= management.ALL:
        queries.define_role(unit, management.ADMINISTRATOR, {*held, *management.SCOPES}, SYSTEM)


def governed(unit: UnitOfWork) -> frozenset[str]:
    """The scopes that only roles give; those of the management API even if no role does.

    What a role gave once stays among them, so taking it from the last role takes it from everybody.
    Roles are read as well, because a node of the version before notes nothing, and first: what
    leaves one in between is found among what was noted.
    """
    given = unit.orm.scalars(select(Role.permissions)).all()
    return management.ALL.union(*given, unit.orm.scalars(select(Permission.name)))


def given(scope: str, held: Collection[str], governed_scopes: Collection[str]) -> tuple[str, str]:
    """What of `scope` somebody who holds these permissions may give an app, and which part of that
    rests on their roles."""
    may = [one for one in scope.split() if one not in governed_scopes or one in held]
    return " ".join(may), " ".join(one for one in may if one in governed_scopes)


def remove(unit: UnitOfWork, role: Role, actor: Actor) -> None:
    """Takes a role away that is not used; the caller holds it (`queries.hold_roles`).

    Raises `Refused` (`role_in_use`, 409): people would lose rights and rules their meaning by it, so
    whoever wants that takes it from them first, where each loss is seen and written. Those of `ROLES`
    come back with the next start.
    """
    held = len(queries.holders_of(unit, role.name))
    meant = len(rules.of_role(unit, role.name))
    if held or meant:
        people = f"{held} {'person has' if held == 1 else 'people have'} it" if held else ""
        bound = f"{meant} {'rule is' if meant == 1 else 'rules are'} for it" if meant else ""
        said = " and ".join(one for one in (people, bound) if one)
        raise Refused("role_in_use", f"The role is used: {said}. Change that first.", 409)
    unit.orm.delete(role)
    unit.record(
        RuleChanged(
            actor=actor.kind,
            actor_id=actor.id,
            kind="role",
            applies_to={"role": role.name},
            before={"permissions": role.permissions},
            after=None,
        )
    )

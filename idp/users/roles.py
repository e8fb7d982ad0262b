"""The roles a deployment begins with; defining others is `idp.users.queries.define_role`."""

from sqlalchemy import select

from idp.events.actor import SYSTEM
from idp.policy import management
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries
from idp.users.model import Role


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

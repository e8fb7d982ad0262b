"""The roles of one user over the management API: seen as they are, replaced as they were seen.

All of them are replaced at once, so a change names what it was made from: of two administrators who
give somebody roles at one moment the later is told, and takes nothing back unknowingly.
"""

from idp.admin import access
from idp.admin.answering import require_match
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Model, Reason
from idp.admin.users import Roles
from idp.users import queries
from idp.users.model import User


class RolesHeld(Model):
    """The roles somebody has, all of them."""

    roles: Roles


class RolesWanted(RolesHeld):
    """The roles somebody shall have, all of them, and why."""

    reason: Reason


def get_roles_held(call: Call, _: None) -> RolesHeld:
    """Show the roles of a user."""
    user = call.unit.orm.get(User, call.params["id"])
    if user is None:
        raise access.no_such_user()
    return _held(user)


def set_roles(call: Call, wanted: RolesWanted) -> RolesHeld:
    """Give a user exactly these roles; nobody changes their own."""
    queries.hold_roles(call.unit)
    access.grantable_roles(call, wanted.roles)
    user = access.person_below(call, call.params["id"])
    access.require_other(call, user)
    require_match(call, _held(user))
    queries.set_roles(call.unit, user, wanted.roles, call.actor)
    return _held(user)


def _held(user: User) -> RolesHeld:
    return RolesHeld(roles=user.roles)


OPERATIONS = (
    Operation(
        method="GET", path="/users/{id}/roles", scope="users:read", carry_out=get_roles_held,
        gives=RolesHeld, tag="shown",
    ),
    Operation(
        method="PUT", path="/users/{id}/roles", scope="roles:write", carry_out=set_roles,
        takes=RolesWanted, gives=RolesHeld, proof="fresh", tag="required",
    ),
)  # fmt: skip

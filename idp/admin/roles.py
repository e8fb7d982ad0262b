"""Roles over the management API: what their holders may do, here and in apps."""

from typing import Annotated

from pydantic import Field

from idp.admin import paging
from idp.admin.answering import require_match
from idp.admin.operation import Call, Operation
from idp.admin.schemas import Because, Model, Page, PageQuery, Reason
from idp.errors import Refused
from idp.policy import management
from idp.users import queries, roles
from idp.users.model import Role as RoleRow
from idp.users.model import User

Permission = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!#-\[\]-~]+$")]


class Role(Model):
    """A named set of permissions; each is a scope that apps may ask for."""

    name: str
    permissions: list[str]


class RolePage(Page):
    """Roles, by name."""

    items: list[Role]


class Permissions(Model):
    """The permissions a role gives, all of them."""

    permissions: Annotated[list[Permission], Field(max_length=200)]
    reason: Reason


def list_roles(call: Call, query: PageQuery) -> RolePage:
    """List the roles."""
    after = paging.after(call, query)
    found = queries.roles(call.unit, after=after[0] if after else "", limit=query.page_size + 1)
    shown = found[: query.page_size]
    last = [shown[-1].name] if len(found) > len(shown) else None
    return RolePage(
        items=[_described(one) for one in shown],
        next_page_token=paging.next_token(call, query, last),
    )


def get_role(call: Call, _: None) -> Role:
    """Show one role."""
    role = call.unit.orm.get(RoleRow, call.params["name"])
    if role is None:
        raise Refused("role_not_found", "There is no such role.", 404)
    return _described(role)


def define_role(call: Call, wanted: Permissions) -> Role:
    """Make a role, or replace what it gives; everybody who has it has that from now on.

    Nobody changes a role of their own, nor one of people above them, nor lets one give what they
    do not have.
    """
    name = call.params["name"]
    queries.hold_roles(call.unit, to_define=True)
    role = call.unit.orm.get(RoleRow, name)
    require_match(call, _described(role) if role is not None else None)
    before = role.permissions if role is not None else []
    _require_below(call, name, before)
    if management.gives_more(wanted.permissions, call.rights):
        raise Refused("above_you", "This role would give rights that you do not have.", 403)
    return _described(queries.define_role(call.unit, name, wanted.permissions, call.actor))


def remove_role(call: Call, _: Because) -> Role:
    """Take away a role that nobody has and no rule is for; otherwise it is refused."""
    name = call.params["name"]
    queries.hold_roles(call.unit, to_define=True)
    role = call.unit.orm.get(RoleRow, name)
    if role is None:
        raise Refused("role_not_found", "There is no such role.", 404)
    gone = _described(role)
    require_match(call, gone)
    _require_below(call, name, role.permissions)
    roles.remove(call.unit, role, call.actor)
    return gone


def _require_below(call: Call, name: str, permissions: list[str]) -> None:
    """Raises `Refused` for a role that gives more than the caller has (`above_you`), or is theirs."""
    if management.is_above(permissions, call.rights):
        raise Refused("above_you", "This role gives rights that you do not have.", 403)
    person = call.manager.person
    if person is not None:
        own = call.unit.orm.get_one(User, person.user_id)
        if name in own.roles:
            raise Refused("own_role", "Nobody changes a role that they have themselves.", 403)


def _described(role: RoleRow) -> Role:
    return Role(name=role.name, permissions=role.permissions)


OPERATIONS = (
    Operation(
        method="GET", path="/roles", scope="roles:read", carry_out=list_roles,
        takes=PageQuery, gives=RolePage,
    ),
    Operation(
        method="GET", path="/roles/{name}", scope="roles:read", carry_out=get_role,
        gives=Role, tag="shown",
    ),
    Operation(
        method="PUT", path="/roles/{name}", scope="roles:write", carry_out=define_role,
        takes=Permissions, gives=Role, proof="fresh", tag="required",
    ),
    Operation(
        method="DELETE", path="/roles/{name}", scope="roles:write", carry_out=remove_role,
        takes=Because, gives=Role, proof="fresh", tag="required",
    ),
)  # fmt: skip

"""`idp role`: named sets of permissions."""

from typing import Annotated

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, table
from idp.errors import Refused
from idp.users import queries, roles
from idp.users.model import Role

app = typer.Typer(no_args_is_help=True, help="Roles: what their holders may ask for.")


@app.command()
def define(
    name: Annotated[str, typer.Argument(help="The role.")],
    permission: Annotated[
        list[str] | None, typer.Argument(help="The permissions it gives; each is a scope.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a role, or replace the permissions it gives."""
    with change() as unit:
        role = queries.define_role(unit, name, permission or (), ADMIN)
        data = {"name": role.name, "permissions": role.permissions}
    answer(data, fields(data), as_json=as_json)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The role.")],
    yes: Confirmed = False,
    as_json: AsJson = False,
) -> None:
    """Take away a role that nobody has and no rule is for."""
    confirm(f"Remove the role {name}?", confirmed=yes)
    with change() as unit:
        queries.hold_roles(unit, to_define=True)
        role = unit.orm.get(Role, name)
        if role is None:
            raise Refused("role_not_found", f"There is no role {name!r}.", 404)
        data = {"name": role.name, "permissions": role.permissions}
        roles.remove(unit, role, ADMIN)
    answer(data, fields(data), as_json=as_json)


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the roles."""
    with look() as unit:
        data = [
            {"name": role.name, "permissions": role.permissions} for role in queries.roles(unit)
        ]
    rows = [(one["name"], one["permissions"]) for one in data]
    answer(data, table(("ROLE", "PERMISSIONS"), rows), as_json=as_json)

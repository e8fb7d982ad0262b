"""What administrators decide, as one document: roles, apps and rules, to be kept where code is.

Owns what the document may say and how the present state is written as one. Carrying it out is
`idp.admin.apply`. A secret never stands in it: it is referred to, by a variable of the environment or a
file, where `idp apply` runs. What may be said of an app or a rule is what the API takes.

Left out are apps that registered themselves (they are their own, not an administrator's) and people.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from idp.admin import clients
from idp.admin.roles import Permission
from idp.admin.rules import DeclaredRule
from idp.admin.schemas import Model
from idp.errors import Refused
from idp.oauth import clients as registered
from idp.oauth.model import Client
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, rules

_MOST = 10_000
Permissions = Annotated[list[Permission], Field(max_length=200)]
RoleName = Annotated[str, Field(min_length=1, max_length=64)]


class SecretReference(Model):
    """Where a client's secret is read from when the document is applied: one of the two."""

    env: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    file: Annotated[str | None, Field(min_length=1, max_length=4_096)] = None

    @model_validator(mode="after")
    def _is_one(self) -> "SecretReference":
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret is in env or in file")
        return self


class DeclaredClient(clients.NewClient):
    """An app as it is to be; what is left out is as usual, also if it was something else."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    # A change that leaves these out means that they stay; here it means what `create` means by it.
    grant_types: clients.Grants = Field(default=["authorization_code", "refresh_token"])
    scope: clients.Scope = "openid profile email"
    enabled: bool = True
    client_secret: SecretReference | None = None


class Declaration(Model):
    """The document. A part that is left out is left alone."""

    version: Literal[1] = 1
    roles: Annotated[dict[RoleName, Permissions], Field(max_length=_MOST)] | None = None
    clients: Annotated[list[DeclaredClient], Field(max_length=_MOST)] | None = None
    rules: Annotated[list[DeclaredRule], Field(max_length=_MOST)] | None = None

    @model_validator(mode="after")
    def _names_nothing_twice(self) -> "Declaration":
        names = [f"client {one.id}" for one in self.clients or ()]
        names += [
            f"rule {one.kind} {rules.rule_id(one.kind, one.applies_to, one.value.get('per'))}"
            for one in self.rules or ()
        ]
        twice = {one for one in names if names.count(one) > 1} if len({*names}) < len(names) else ()
        if twice:
            raise ValueError(f"{min(twice)} stands here twice")
        return self


def read(document: Any) -> Declaration:
    """A document that was parsed; raises `Refused` (`invalid_declaration`) with where it is wrong."""
    try:
        return Declaration.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(one) for one in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise Refused("invalid_declaration", f"{where}: {problem}." if where else problem) from None


def written(unit: UnitOfWork) -> dict[str, Any]:
    """The present state as a document, in an order that does not change by itself."""
    return {
        "version": 1,
        "roles": {role.name: role.permissions for role in queries.roles(unit)},
        "clients": [
            _shown(client)
            for client in sorted(registered.all_of(unit), key=lambda one: one.id)
            if client.registered_with is None
        ],
        "rules": [
            {"kind": one.kind, "applies_to": one.applies_to, "value": one.value}
            for one in rules.all_rules(unit)
        ],
    }


def state(client: Client) -> dict[str, Any]:
    """A client as a document would say it, every member of it."""
    names = DeclaredClient.model_fields.keys() - {"client_secret", "enabled"}
    found = {name: getattr(client, name) for name in names}
    for name in clients.FLAGS:
        found[name] = bool(found[name])
    return found | {"enabled": client.disabled_at is None}


def _shown(client: Client) -> dict[str, Any]:
    """Without what is as usual."""
    declared = DeclaredClient.model_validate(state(client))
    shown = declared.model_dump(mode="json", exclude_defaults=True)
    return {"id": shown.pop("id"), "name": shown.pop("name"), **shown}

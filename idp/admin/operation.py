"""How an operation of the management API is declared: address, right, models, and what it asks for.

The tables of operations are the one truth: routes, access control, the OpenAPI document and the test
of roles against routes are all made from them, so an operation without a right cannot exist.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from idp.admin.schemas import Model
from idp.events.actor import Actor
from idp.oauth.protected import Manager
from idp.oauth.provider import Provider
from idp.policy.management import Scope
from idp.storage.unit_of_work import UnitOfWork
from idp.web.lines import Lines

ROOT = "/api/v1/admin"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Given = Model | Lines | None


@dataclass(frozen=True, slots=True)
class Call:
    """One call that has been let in: who makes it, on what, in which transaction."""

    unit: UnitOfWork
    manager: Manager
    provider: Provider
    operation: "Operation"
    params: Mapping[str, str]
    # Lower-case names.
    headers: Mapping[str, str]

    @property
    def actor(self) -> Actor:
        """The person behind the token, or the app that acts for itself; an administrator here."""
        person = self.manager.person
        return Actor("admin", person.user_id if person else self.manager.client_id)

    @property
    def rights(self) -> frozenset[str]:
        return self.manager.rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method at one address.

    `carry_out` gets the call and what was sent: the query of a GET or DELETE, the body of the others,
    as `takes` says. It runs in one transaction; what it raises undoes everything.
    """

    method: Method
    # Below `ROOT`.
    path: str
    scope: Scope
    carry_out: Callable[[Call, Any], Given]
    takes: type[Model] | None = None
    gives: type[Model] | None = None
    # "lines": as many of `gives` as there are, a line each, made while they are sent.
    sends: Literal["one", "lines"] = "one"
    status: int = 200
    # "fresh": a person must have proved lately who they are (RFC 9470). An app cannot, and need not.
    proof: Literal["any", "fresh"] = "any"
    # Whether `Idempotency-Key` is taken: for what must not happen twice when a call is sent again.
    repeat: Literal["harmless", "keyed"] = "harmless"
    # Whether the answer has an `ETag`; "required": and a change must name the one it is meant for.
    tag: Literal["none", "shown", "required"] = "none"

    @property
    def name(self) -> str:
        """The `operationId`."""
        return self.carry_out.__name__

    @property
    def summary(self) -> str:
        return (self.carry_out.__doc__ or "").split("\n\n")[0].strip()

    @property
    def reads(self) -> bool:
        return self.method == "GET"

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

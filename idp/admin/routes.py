"""Every operation of the management API, and the routes made from them."""

from functools import partial
from itertools import groupby

from starlette.routing import Route

from idp.admin import (
    bulk_sessions,
    clients,
    credentials,
    events,
    initial_access,
    keys,
    queries,
    reports,
    roles,
    roles_held,
    rules,
    rules_in_force,
    sessions,
    users,
    webhooks,
)
from idp.admin.answering import carry_out
from idp.admin.operation import ROOT, Operation
from idp.web import json_api
from idp.web.http import WebContext

_MODULES = (
    users,
    credentials,
    roles_held,
    roles,
    sessions,
    bulk_sessions,
    clients,
    initial_access,
    rules,
    rules_in_force,
    events,
    webhooks,
    reports,
    queries,
    keys,
)
OPERATIONS: tuple[Operation, ...] = tuple(one for module in _MODULES for one in module.OPERATIONS)


def routes(context: WebContext) -> list[Route]:
    """A route for each address, with a handler for each method; fixed addresses before others."""
    # "{" sorts behind every letter, so that "reset" is no id.
    ordered = sorted(OPERATIONS, key=lambda one: one.path)
    return [
        json_api.api_route(
            context, ROOT + path, {one.method: partial(carry_out, one) for one in same}
        )
        for path, same in groupby(ordered, key=lambda one: one.path)
    ]

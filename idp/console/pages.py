"""Every page of the administrators: the one list of what has routes."""

from starlette.routing import Route

from idp.console import (
    apps,
    event_list,
    home,
    keys,
    new_app,
    people,
    person,
    queries,
    registration,
    reports,
    rules,
    session_list,
    session_page,
    sign_out,
    webhooks,
)
from idp.web.http import WebContext

# Fixed addresses before those with an id in them.
_MODULES = (
    home, session_list, sign_out, session_page, people, person, new_app, registration, apps, rules,
    event_list, webhooks, reports, queries, keys,
)  # fmt: skip


def routes(context: WebContext) -> list[Route]:
    """The routes of all of them."""
    return [one for module in _MODULES for one in module.routes(context)]

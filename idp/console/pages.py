"""Every page of the administrators: the one list of what has routes."""

from starlette.routing import Route

from idp.console import home, people, person, reports
from idp.web.http import WebContext

_MODULES = (home, people, person, reports)


def routes(context: WebContext) -> list[Route]:
    """The routes of all of them."""
    return [one for module in _MODULES for one in module.routes(context)]

"""What the pages of links share: whose link it is, using it up, and the page for a dead one.

Opening a link shows a page and changes nothing (mail scanners open links); the form on it carries
the token and the token of the browser it was shown to, so it is used by the browser that opened it
(MF-14). Every reason why a link is dead gets one answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from idp.errors import Refused
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.users import links
from idp.users.links import Link, Purpose
from idp.users.model import ACTIVE, User
from idp.web import errors, visitor
from idp.web.http import PageRequest, WebContext

FIELD = "token"
RECOVER = "/recover"


@dataclass(frozen=True, slots=True)
class Opened:
    """A living link of a person who may sign in."""

    token: str
    link: Link
    user: User


def find(unit: UnitOfWork, fields: Mapping[str, str], purpose: Purpose) -> Opened | None:
    """The link whose token stands in a query or form; changes nothing."""
    token = fields.get(FIELD, "")
    link = links.look(unit, token, purpose)
    if link is None or link.user_id is None:
        return None
    user = unit.orm.get(User, link.user_id)
    return Opened(token, link, user) if user is not None and user.status == ACTIVE else None


def use(unit: UnitOfWork, opened: Opened, purpose: Purpose) -> User | None:
    """Uses a link up, and gives its person, locked; None when it is dead by now.

    The person is locked first, as by everything that makes or voids their links: two orders are a
    deadlock on PostgreSQL.
    """
    user = unit.orm.get(User, opened.user.id, with_for_update=LOCKED)
    if user is None or user.status != ACTIVE:
        return None
    return user if links.use(unit, opened.token, purpose) is not None else None


def dead(context: WebContext, request: PageRequest, purpose: Purpose) -> Response:
    """The page for a link that was used, is too old, was replaced, or never was one."""
    way_on = [("Go to sign-in", visitor.SIGN_IN)]
    if purpose == "reset_password":
        way_on.insert(0, ("Ask for a new link", RECOVER))
    return errors.page(
        context,
        Refused(
            "link_not_valid",
            "It was used already, is too old, or a newer one was sent. Nothing was changed.",
            410,
        ),
        language=request.language,
        title="This link no longer works",
        links=way_on,
    )

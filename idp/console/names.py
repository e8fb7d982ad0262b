"""Names for ids that pages of administrators show: of apps, of people.

One rule: the name of a person is shown to whoever may read users, and to others their id. (A session
is its person's: whoever may read sessions reads whose each is.)
"""

from collections.abc import Iterable

from sqlalchemy import select

from idp.oauth.model import Client
from idp.storage.unit_of_work import UnitOfWork
from idp.users.model import User


def of_apps(unit: UnitOfWork, client_ids: Iterable[str | None]) -> dict[str, str]:
    """The names of apps that there are, by id."""
    wanted = {one for one in client_ids if one}
    rows = unit.connection.execute(select(Client.id, Client.name).where(Client.id.in_(wanted)))
    return {row.id: row.name for row in rows}


def are_shown(rights: frozenset[str]) -> bool:
    """Whether somebody with these rights is shown the names of people."""
    return "users:read" in rights


def of_people(
    unit: UnitOfWork, rights: frozenset[str], user_ids: Iterable[str | None]
) -> dict[str, str]:
    """The user names of people that there are, by id; none for whoever may not read users."""
    wanted = {one for one in user_ids if one} if are_shown(rights) else set()
    rows = unit.connection.execute(select(User.id, User.username).where(User.id.in_(wanted)))
    return {row.id: row.username for row in rows}

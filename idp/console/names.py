"""Names for ids that lists of administrators show: of apps, of people."""

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


def of_people(unit: UnitOfWork, user_ids: Iterable[str | None]) -> dict[str, str]:
    """The user names of people that there are, by id."""
    wanted = {one for one in user_ids if one}
    rows = unit.connection.execute(select(User.id, User.username).where(User.id.in_(wanted)))
    return {row.id: row.username for row in rows}

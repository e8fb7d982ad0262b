"""Finding users for a list: by the beginning of a name or address, by status, by role.

In order of their canonical user names or, of those found by their address, of that. A list is cut by
where it stopped (keyset), so that its last page costs what its first does. Beginnings are ranges of
the primary key of the names; status and role are looked at row by row on the way.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Text, and_, exists, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, aliased

from idp.storage.unit_of_work import UnitOfWork
from idp.users import names
from idp.users.model import User, UserIdentifier


@dataclass(frozen=True, slots=True)
class Found:
    """One user of a list, and the name they stand there by."""

    user: User
    key: str


def search(
    unit: UnitOfWork,
    *,
    beginning: str | None = None,
    status: str | None = None,
    role: str | None = None,
    after: str = "",
    limit: int = 50,
) -> list[Found]:
    """At most `limit` users behind the name `after`."""
    wanted = (
        select(User, UserIdentifier.key)
        .join(UserIdentifier, UserIdentifier.user_id == User.id)
        .where(UserIdentifier.key > after)
        .order_by(UserIdentifier.key)
        .limit(limit)
    )
    if beginning is None:
        wanted = wanted.where(UserIdentifier.kind == "username")
    else:
        prefix = names.key(beginning)
        if prefix is None:
            return []  # nobody has such a name
        wanted = wanted.where(_begins(UserIdentifier.key, prefix), _stands_once(prefix))
    if status is not None:
        wanted = wanted.where(User.status == status)
    if role is not None:
        # As text, because the column's own type would make the pattern a JSON string.
        wanted = wanted.where(type_coerce(User.roles, Text).contains(f'"{role}"', autoescape=True))
    return [Found(user, key) for user, key in unit.orm.execute(wanted)]


def _begins(key: InstrumentedAttribute[str], prefix: str) -> ColumnElement[bool]:
    # U+10FFFF is no character and stands behind all of them.
    return and_(key >= prefix, key < prefix + "\U0010ffff")


def _stands_once(prefix: str) -> ColumnElement[bool]:
    """Of somebody whose name and address both begin so, only the name counts."""
    name = aliased(UserIdentifier)
    return or_(
        UserIdentifier.kind == "username",
        ~exists().where(
            name.user_id == UserIdentifier.user_id,
            name.kind == "username",
            _begins(name.key, prefix),
        ),
    )

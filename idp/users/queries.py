"""Users and roles: finding, creating and changing them.

The only writer of users, their identifiers and roles, but for the password's re-hash at sign-in.
Every change is recorded in the same transaction. Ending sessions is not done here (sessions stand
above users): whoever disables or deletes a user, or changes a password, ends the sessions as well.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Text, delete, select, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.selectable import ForUpdateArg

from idp import ids
from idp.errors import Refused
from idp.events.actor import SYSTEM, Actor
from idp.events.catalogue import (
    EmailChanged,
    PasswordChanged,
    RuleChanged,
    UserChanged,
    UserCreated,
    UserDeleted,
)
from idp.storage.unit_of_work import UnitOfWork
from idp.users import names
from idp.users.model import (
    ACTIVE,
    DISABLED,
    LOCKED,
    Permission,
    Role,
    User,
    UserIdentifier,
)

STATUSES = (ACTIVE, DISABLED, LOCKED)
_BATCH = 500
_SHARED = ForUpdateArg(read=True)
_NO_KEY = ForUpdateArg(key_share=True)
# Scopes with a meaning of their own (OpenID Connect Core sections 5.4 and 11, and ours): a role
# that could give one of these would hand out more than its name says.
RESERVED_SCOPES = frozenset(
    {"openid", "profile", "email", "address", "phone", "offline_access", "roles", "sessions"}
)


def create_user(
    unit: UnitOfWork,
    *,
    username: str,
    email: str | None = None,
    password_hash: str | None = None,
    roles: Iterable[str] = (),
    claims: dict[str, Any] | None = None,
    actor: Actor = SYSTEM,
) -> User:
    """Creates an active user.

    Raises `Refused`: `invalid_name`, `invalid_email`, `unknown_role`, and `name_taken` (409) when
    the user name or the address already leads to somebody.
    """
    shown = names.username(username)
    address = names.email(email) if email else None
    identifiers = {names.canonical(shown): "username"}
    if address is not None:
        identifiers.setdefault(names.canonical(address), "email")
    if "@" in names.canonical(shown) and len(identifiers) + (address is None) > 1:
        raise Refused(
            "invalid_name", "A user name with '@' in it must be the person's own e-mail address."
        )
    held = known_roles(unit, roles)
    user = User(
        id=ids.new("usr"),
        username=shown,
        email=address,
        email_verified=0,
        status=ACTIVE,
        password_hash=password_hash,
        password_changed_at=unit.now if password_hash else None,
        roles=[role.name for role in held],
        permissions=_permissions(held),
        created_at=unit.now,
        updated_at=unit.now,
    )
    if claims:
        _put_claims(unit, user, claims)
    unit.orm.add(user)
    unit.flush()
    for key, kind in identifiers.items():
        unit.orm.add(UserIdentifier(key=key, kind=kind, user_id=user.id))
    _flush_names(unit)
    unit.record(UserCreated(actor=actor.kind, actor_id=actor.id, user_id=user.id))
    return user


def by_identifier(unit: UnitOfWork, text: str) -> User | None:
    """The user with this user name or e-mail address, however it is spelled."""
    key = names.key(text)
    if key is None:
        return None
    return unit.orm.scalar(
        select(User)
        .join(UserIdentifier, UserIdentifier.user_id == User.id)
        .where(UserIdentifier.key == key)
    )


def by_id(unit: UnitOfWork, user_id: str) -> User | None:
    return unit.orm.get(User, user_id)


def listed(unit: UnitOfWork, *, after: str = "", limit: int = 100) -> list[User]:
    """Users in order of their canonical user names, from the one behind `after`."""
    return list(
        unit.orm.scalars(
            select(User)
            .join(UserIdentifier, UserIdentifier.user_id == User.id)
            .where(UserIdentifier.kind == "username", UserIdentifier.key > after)
            .order_by(UserIdentifier.key)
            .limit(limit)
        )
    )


def set_status(unit: UnitOfWork, user: User, status: str, actor: Actor) -> None:
    """Lets a user sign in ("active") or not; the caller ends the sessions of one who may not."""
    if status not in STATUSES:
        raise Refused("invalid_status", f"A status is one of: {', '.join(STATUSES)}.")
    if user.status == status:
        return
    user.status = status
    _changed(unit, user, actor, "status")


def set_roles(unit: UnitOfWork, user: User, roles: Iterable[str], actor: Actor) -> None:
    """Gives a user exactly these roles; raises `Refused` (`unknown_role`)."""
    hold_roles(unit)
    # As they are now: what a role's change has made of them meanwhile would be kept otherwise.
    unit.orm.refresh(user, with_for_update=_NO_KEY)
    held = known_roles(unit, roles)
    user.roles = [role.name for role in held]
    user.permissions = _permissions(held)
    _changed(unit, user, actor, "roles")


def set_password(
    unit: UnitOfWork, user: User, password_hash: str, actor: Actor, *, ip: str | None = None
) -> None:
    """Replaces the password; the caller ends the sessions that rest on the old one.

    `ip` is where it came from, for the notice, where no session says so.
    """
    user.password_hash = password_hash
    user.password_changed_at = unit.now
    user.updated_at = unit.now
    unit.record(PasswordChanged(actor=actor.kind, actor_id=actor.id, user_id=user.id, ip=ip))


def set_email(
    unit: UnitOfWork, user: User, email: str | None, actor: Actor, *, ip: str | None = None
) -> None:
    """Replaces the address, which is unverified then; `ip` as for `set_password`.

    Raises `Refused` as `create_user` does.
    """
    address = names.email(email) if email else None
    previous = user.email
    name_key = names.canonical(user.username)
    key = names.canonical(address) if address is not None else None
    if "@" in name_key and key != name_key:
        raise Refused(
            "invalid_name",
            "This address is also the user name; change the user name first.",
            409,
        )
    unit.orm.execute(
        delete(UserIdentifier).where(
            UserIdentifier.user_id == user.id, UserIdentifier.kind == "email"
        )
    )
    if key is not None and key != name_key:
        unit.orm.add(UserIdentifier(key=key, kind="email", user_id=user.id))
    user.email = address
    user.email_verified = 0
    _flush_names(unit)
    _changed(unit, user, actor, "email")
    if address != previous:
        # Sealed: the log is kept for ever, and only whoever tells the old address need read it.
        sealed = unit.vault.seal_text(previous, f"email.changed:{user.id}") if previous else None
        unit.record(
            EmailChanged(
                actor=actor.kind, actor_id=actor.id, user_id=user.id, ip=ip, previous=sealed
            )
        )


def mark_email_verified(unit: UnitOfWork, user: User, actor: Actor) -> None:
    """Notes that the user was shown to read mail at their address."""
    if user.email is None:
        raise Refused("no_email", "This user has no e-mail address.", 409)
    user.email_verified = 1
    _changed(unit, user, actor, "email_verified")


def delete_user(unit: UnitOfWork, user: User, actor: Actor) -> None:
    """Deletes a user with everything that hangs on them; the caller ends the sessions before.

    The audit log keeps what it knows, under the user's id.
    """
    unit.record(UserDeleted(actor=actor.kind, actor_id=actor.id, user_id=user.id))
    unit.orm.expunge(user)
    unit.orm.execute(delete(User).where(User.id == user.id))


def claims_of(unit: UnitOfWork, user: User) -> dict[str, Any]:
    """The standard claims kept for a user (OpenID Connect Core section 5.1), opened."""
    if user.claims is None:
        return {}
    values: dict[str, Any] = orjson.loads(unit.vault.open_text(user.claims, _context(user)))
    return values


def set_claims(unit: UnitOfWork, user: User, claims: dict[str, Any], actor: Actor = SYSTEM) -> None:
    """Replaces the standard claims kept for a user."""
    _put_claims(unit, user, claims)
    _changed(unit, user, actor, "claims")


def reseal(unit: UnitOfWork, *, after: str) -> tuple[int, str | None]:
    """Seals one batch of users' claims, behind the id `after`, with the newest secret key.

    Gives how many were changed, and the id to go on from, or None at the end.
    """
    people = unit.orm.scalars(
        select(User).where(User.id > after).order_by(User.id).limit(_BATCH).with_for_update()
    ).all()
    changed = 0
    for user in people:
        if user.claims is not None and not unit.vault.is_current(user.claims):
            opened = unit.vault.open_text(user.claims, _context(user))
            user.claims = unit.vault.seal_text(opened, _context(user))
            changed += 1
    return changed, people[-1].id if len(people) == _BATCH else None


def define_role(
    unit: UnitOfWork, name: str, permissions: Iterable[str], actor: Actor = SYSTEM
) -> Role:
    """Makes a role or changes its permissions, and with them those of everybody who has it.

    Raises `Refused` (`invalid_role`) when the name or a permission is not a scope token (RFC 6749
    section 3.3), or the permission is a scope with a meaning of its own.
    """
    wanted = sorted(set(permissions))
    if not _is_scope_token(name) or len(name) > 64:
        raise Refused("invalid_role", "A role name has 1 to 64 ASCII characters, no spaces.")
    for permission in wanted:
        if not _is_scope_token(permission) or len(permission) > 128:
            raise Refused("invalid_role", "A permission has 1 to 128 ASCII characters, no spaces.")
        if permission in RESERVED_SCOPES:
            raise Refused("invalid_role", f"{permission!r} is a scope and cannot be a permission.")
    hold_roles(unit, to_define=True)
    role = unit.orm.get(Role, name)
    before = None if role is None else {"permissions": role.permissions}
    if role is None:
        role = Role(name=name)
        unit.orm.add(role)
    role.permissions = wanted
    _govern(unit, wanted)
    unit.record(
        RuleChanged(
            actor=actor.kind,
            actor_id=actor.id,
            kind="role",
            applies_to={"role": name},
            before=before,
            after={"permissions": wanted},
        )
    )
    _carry_to_holders(unit, name)
    return role


def _govern(unit: UnitOfWork, permissions: Iterable[str]) -> None:
    """Notes what only roles give from now on; else an app that may ask for what the last role lost
    would have it of everybody. The caller holds the roles (`hold_roles`)."""
    for name in permissions:
        if unit.orm.get(Permission, name) is None:
            unit.orm.add(Permission(name=name))


def roles(unit: UnitOfWork, *, after: str = "", limit: int | None = None) -> list[Role]:
    """Roles by name, all of them or at most `limit` behind the name `after`."""
    behind = select(Role).where(Role.name > after).order_by(Role.name).limit(limit)
    return list(unit.orm.scalars(behind))


def hold_roles(unit: UnitOfWork, *, to_define: bool = False) -> None:
    """Keeps every role as it is until the end of this transaction; there are few.

    All of them, in one order, and before any person: with those somebody had, those they get and
    those of others who hold the same, every other order ends in a deadlock on PostgreSQL.
    """
    lock = _NO_KEY if to_define else _SHARED
    held = (
        select(Role).order_by(Role.name).with_for_update(read=lock.read, key_share=lock.key_share)
    )
    unit.orm.scalars(held.execution_options(populate_existing=True)).all()


def known_roles(unit: UnitOfWork, wanted: Iterable[str]) -> list[Role]:
    """These roles, which nobody redefines until the end of this transaction.

    Otherwise whoever is given one meanwhile would keep what it gave before. Called before a person
    is locked, because two orders are a deadlock on PostgreSQL. Raises `Refused` (`unknown_role`).
    """
    held = []
    for name in sorted(set(wanted)):
        role = unit.orm.get(Role, name, with_for_update=_SHARED, populate_existing=True)
        if role is None:
            raise Refused("unknown_role", f"There is no role {name!r}.", 404)
        held.append(role)
    return held


def holders_of(unit: UnitOfWork, role: str) -> Sequence[User]:
    """Everybody who has a role, held until the end of this transaction."""
    # A role name is ASCII without quotes or backslashes, so it stands in the JSON text as it is.
    # As text, because the column's own type would make the pattern a JSON string.
    roles_text = type_coerce(User.roles, Text)
    return unit.orm.scalars(
        select(User)
        .where(roles_text.contains(f'"{role}"', autoescape=True))
        .order_by(User.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()


def _carry_to_holders(unit: UnitOfWork, name: str) -> None:
    holders = holders_of(unit, name)
    # Read only now: whoever held one of them up may have been given a role that was new.
    defined = {role.name: role for role in roles(unit)}
    for user in holders:
        user.permissions = _permissions(defined[held] for held in user.roles)


def _permissions(held: Iterable[Role]) -> list[str]:
    return sorted({permission for role in held for permission in role.permissions})


def _is_scope_token(text: str) -> bool:
    return bool(text) and all("!" <= one <= "~" and one not in '"\\' for one in text)


def _put_claims(unit: UnitOfWork, user: User, claims: dict[str, Any]) -> None:
    user.claims = unit.vault.seal_text(orjson.dumps(claims).decode(), _context(user))
    locale = claims.get("locale")
    user.locale = locale[:35] if isinstance(locale, str) else None


def _context(user: User) -> str:
    return f"user.claims:{user.id}"


def _flush_names(unit: UnitOfWork) -> None:
    """The primary key decides who has a name, also between two who ask at the same moment."""
    try:
        unit.flush()
    except IntegrityError:
        raise Refused(
            "name_taken", "This user name or e-mail address is already in use.", 409
        ) from None


def _changed(unit: UnitOfWork, user: User, actor: Actor, *fields: str) -> None:
    user.updated_at = unit.now
    unit.record(
        UserChanged(actor=actor.kind, actor_id=actor.id, user_id=user.id, changed=list(fields))
    )

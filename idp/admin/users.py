"""Users over the management API: finding, creating, changing, and keeping them out.

Nobody chooses a password for somebody else here (ASVS 6.4.6): people choose theirs by a link, which
goes to their address and is shown to nobody. What people prove themselves with is
`idp.admin.credentials`.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from idp.admin import access, paging
from idp.admin.operation import Call, Operation
from idp.admin.outcomes import SignedOut, signed_out
from idp.admin.schemas import (
    Because,
    Line,
    Model,
    Moment,
    Nothing,
    Page,
    PageQuery,
    Reason,
    changes,
    moment,
    moment_or_none,
)
from idp.errors import Refused
from idp.notify import mailed_links
from idp.oauth.userinfo import insufficient_scope
from idp.sessions import accounts, lifecycle
from idp.users import queries, search
from idp.users.model import ACTIVE
from idp.users.model import User as UserRow

Status = Literal["active", "disabled", "locked"]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Email = Annotated[str, Field(min_length=3, max_length=254, description="One plain address.")]
RoleName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!#-\[\]-~]+$")]
Roles = Annotated[list[RoleName], Field(max_length=50)]
# Null takes it away.
Value = Line | None


class Address(Model):
    """The address claim (OpenID Connect Core section 5.1.1)."""

    formatted: Value = None
    street_address: Value = None
    locality: Value = None
    region: Value = None
    postal_code: Value = None
    country: Value = None


class Claims(Model):
    """Standard claims that apps may be told (OpenID Connect Core section 5.1)."""

    name: Value = None
    given_name: Value = None
    family_name: Value = None
    middle_name: Value = None
    nickname: Value = None
    profile: Value = None
    picture: Value = None
    website: Value = None
    gender: Value = None
    birthdate: Value = None
    zoneinfo: Value = None
    locale: (
        Annotated[str, Field(min_length=2, max_length=35, pattern=r"^[A-Za-z0-9-]+$")] | None
    ) = None
    phone_number: Value = None
    phone_number_verified: bool | None = None
    address: Address | None = None


class User(Model):
    """A person who may sign in."""

    id: str
    username: str
    email: str | None
    email_verified: bool
    status: Status
    roles: list[str]
    permissions: list[str]
    claims: dict[str, Any]
    has_password: bool
    created_at: Moment
    updated_at: Moment
    password_changed_at: Moment | None


class UserPage(Page):
    """Users, in order of the names they were found by."""

    items: list[User]


class UserQuery(PageQuery):
    """Which users are wanted."""

    q: (
        Annotated[
            str,
            Field(min_length=1, max_length=255, description="The beginning of a name or address."),
        ]
        | Nothing
    ) = None
    status: Status | Nothing = None
    role: RoleName | Nothing = None


class NewUser(Model):
    """A user to be created. Without an invitation they cannot sign in until they get a link."""

    username: Name
    email: Email | Nothing = None
    claims: Claims | Nothing = None
    roles: Roles = Field(default=[], description="Needs the scope roles:write.")
    invite: bool = Field(default=False, description="Mail them a link to choose a password.")


class UserChange(Model):
    """What is changed of a user; what is left out stays. A claim that is null goes away."""

    email: Email | None = Field(default=None, description="Unverified then. null takes it away.")
    email_verified: Literal[True] = Field(default=True, description="The address is theirs.")
    claims: Claims = Field(default=Claims())


class Deletion(Model):
    """Why a user is deleted."""

    reason: Reason


def list_users(call: Call, query: UserQuery) -> UserPage:
    """List users, or find them by the beginning of a name or address."""
    after = paging.after(call, query)
    found = search.search(
        call.unit,
        beginning=query.q,
        status=query.status,
        role=query.role,
        after=after[0] if after else "",
        limit=query.page_size + 1,
    )
    shown = found[: query.page_size]
    last = [shown[-1].key] if len(found) > len(shown) else None
    return UserPage(
        items=[described(call, one.user) for one in shown],
        next_page_token=paging.next_token(call, query, last),
    )


def create_user(call: Call, new: NewUser) -> User:
    """Create a user, and invite them if asked to."""
    if new.roles and "roles:write" not in call.rights:
        raise insufficient_scope("roles:write")
    access.grantable_roles(call, new.roles)
    user = queries.create_user(
        call.unit,
        username=new.username,
        email=new.email,
        roles=new.roles,
        claims=_merged({}, new.claims) if new.claims is not None else None,
        actor=call.actor,
    )
    if new.invite:
        _invite(call, user)
    return described(call, user)


def get_user(call: Call, _: None) -> User:
    """Show one user."""
    user = call.unit.orm.get(UserRow, call.params["id"])
    if user is None:
        raise access.no_such_user()
    return described(call, user)


def change_user(call: Call, change: UserChange) -> User:
    """Change a user's address or claims; the old and the new address are told."""
    user = access.person_below(call, call.params["id"])
    wanted = changes(change)
    if "email" in wanted:
        queries.set_email(call.unit, user, change.email, call.actor)
    if "email_verified" in wanted and not user.email_verified:
        queries.mark_email_verified(call.unit, user, call.actor)
    if "claims" in wanted:
        merged = _merged(queries.claims_of(call.unit, user), change.claims)
        queries.set_claims(call.unit, user, merged, call.actor)
    return described(call, user)


def delete_user(call: Call, _: Deletion) -> SignedOut:
    """Delete a user with all their sessions and grants; the audit log stays."""
    user = access.person_below(call, call.params["id"])
    access.require_other(call, user)
    return signed_out(call.unit, accounts.delete(call.unit, user, call.actor))


def disable_user(call: Call, _: Because) -> SignedOut:
    """Keep a user from signing in; ends all their sessions."""
    user = access.person_below(call, call.params["id"])
    access.require_other(call, user)
    return signed_out(call.unit, accounts.disable(call.unit, user, call.actor))


def enable_user(call: Call, _: Because) -> User:
    """Let a disabled or locked user sign in again."""
    user = access.person_below(call, call.params["id"])
    access.require_other(call, user)
    queries.set_status(call.unit, user, ACTIVE, call.actor)
    return described(call, user)


def log_out_user(call: Call, _: Because) -> SignedOut:
    """End every session of a user, and every grant that outlived one."""
    user = access.person_below(call, call.params["id"])
    ended = lifecycle.end_all_of(call.unit, user.id, reason="admin", actor=call.actor)
    return signed_out(call.unit, ended)


def invite_user(call: Call, _: None) -> User:
    """Mail a user without a password a link to choose one."""
    user = access.person_below(call, call.params["id"])
    if user.password_hash is not None:
        raise Refused("has_password", "This user has a password already.", 409)
    _invite(call, user)
    return described(call, user)


def described(call: Call, user: UserRow) -> User:
    return User(
        id=user.id,
        username=user.username,
        email=user.email,
        email_verified=bool(user.email_verified),
        status=cast(Status, user.status),
        roles=user.roles,
        permissions=user.permissions,
        claims=queries.claims_of(call.unit, user),
        has_password=user.password_hash is not None,
        created_at=moment(user.created_at),
        updated_at=moment(user.updated_at),
        password_changed_at=moment_or_none(user.password_changed_at),
    )


def _invite(call: Call, user: UserRow) -> None:
    access.require_mailable(call, user, "invitation")
    mailed_links.mail_invitation(call.unit, user, language=None, actor=call.actor)


def _merged(claims: dict[str, Any], change: Claims) -> dict[str, Any]:
    """The claims after a change (RFC 7396 for their members; an address is replaced whole)."""
    wanted = {
        name: _present(value) if isinstance(value, Address) else value
        for name, value in changes(change).items()
    }
    return {name: value for name, value in (claims | wanted).items() if value is not None}


def _present(address: Address) -> dict[str, Any]:
    return address.model_dump(exclude_none=True)


OPERATIONS = (
    Operation(
        method="GET", path="/users", scope="users:read", carry_out=list_users,
        takes=UserQuery, gives=UserPage,
    ),
    Operation(
        method="POST", path="/users", scope="users:write", carry_out=create_user,
        takes=NewUser, gives=User, status=201, proof="fresh", repeat="keyed",
    ),
    Operation(method="GET", path="/users/{id}", scope="users:read", carry_out=get_user, gives=User),
    Operation(
        method="PATCH", path="/users/{id}", scope="users:write", carry_out=change_user,
        takes=UserChange, gives=User, proof="fresh",
    ),
    Operation(
        method="DELETE", path="/users/{id}", scope="users:write", carry_out=delete_user,
        takes=Deletion, gives=SignedOut, proof="fresh",
    ),
    Operation(
        method="POST", path="/users/{id}/disable", scope="users:write", carry_out=disable_user,
        takes=Because, gives=SignedOut,
    ),
    Operation(
        method="POST", path="/users/{id}/enable", scope="users:write", carry_out=enable_user,
        takes=Because, gives=User, proof="fresh",
    ),
    Operation(
        method="POST", path="/users/{id}/logout", scope="sessions:revoke", carry_out=log_out_user,
        takes=Because, gives=SignedOut,
    ),
    Operation(
        method="POST", path="/users/{id}/invitation", scope="users:write", carry_out=invite_user,
        gives=User,
    ),
)  # fmt: skip

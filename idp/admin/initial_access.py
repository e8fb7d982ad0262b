"""Initial access tokens over the management API: leave for apps to register themselves (RFC 7591).

What a token may allow is checked by `idp.oauth.initial_access`, the same as on the command line.
"""

from typing import Annotated

from pydantic import Field

from idp.admin.operation import Call, Operation
from idp.admin.schemas import Because, Line, Model, Moment, moment, moment_or_none
from idp.errors import Refused
from idp.oauth import initial_access
from idp.oauth.model import InitialAccessToken as TokenRow
from idp.storage.columns import LOCKED

Host = Annotated[str, Field(min_length=1, max_length=255)]
GrantType = Annotated[str, Field(max_length=80)]


class NewInitialAccess(Model):
    """Leave for apps to register themselves; what is left out is as usual."""

    name: Line = Field(description="For administrators: whom it is given to.")
    scope: Annotated[str, Field(max_length=2_000)] = "openid profile email"
    grant_types: Annotated[list[GrantType], Field(max_length=10)] = Field(
        default=["authorization_code", "refresh_token"]
    )
    redirect_hosts: Annotated[list[Host], Field(max_length=initial_access.HOSTS_MAXIMUM)] = Field(
        default=[],
        description="Hosts of every address that such an app names: app.example.com; "
        ".example.com for all below it; com.example.app: for the scheme of a native app.",
    )
    uses: Annotated[int, Field(ge=1, le=initial_access.USES_MAXIMUM)] = 1
    expires_in: Annotated[int, Field(ge=60, le=initial_access.SECONDS_MAXIMUM)] = Field(
        default=7 * 86_400, description="Seconds."
    )


class InitialAccess(Model):
    """An initial access token; its text is shown when it is made, and never again."""

    id: str
    name: str
    scope: str
    grant_types: list[str]
    redirect_hosts: list[str]
    uses: int
    uses_left: int
    is_good: bool
    created_at: Moment
    created_by: str
    expires_at: Moment
    revoked_at: Moment | None


class NewlyAllowed(InitialAccess):
    """A token with its text."""

    initial_access_token: str


class InitialAccesses(Model):
    """Every initial access token that was made, the newest first."""

    items: list[InitialAccess]


def list_initial_access(call: Call, _: None) -> InitialAccesses:
    """List the initial access tokens; never their text, of which only a digest is kept."""
    return InitialAccesses(
        items=[_described(one, call.unit.now) for one in initial_access.all_of(call.unit)]
    )


def allow_registration(call: Call, new: NewInitialAccess) -> NewlyAllowed:
    """Make a token with which apps may register themselves; it is shown this once."""
    made, text = initial_access.allow(
        call.unit,
        name=new.name,
        scope=new.scope,
        grant_types=new.grant_types,
        redirect_hosts=new.redirect_hosts,
        uses=new.uses,
        seconds=new.expires_in,
        actor=call.actor,
    )
    return NewlyAllowed(**dict(_described(made, call.unit.now)), initial_access_token=text)


def revoke_initial_access(call: Call, _: Because) -> InitialAccess:
    """Let nobody register with a token any more; apps that did so stay, and can be disabled."""
    token = call.unit.orm.get(TokenRow, call.params["id"], with_for_update=LOCKED)
    if token is None:
        raise Refused("initial_access_not_found", "There is no such token.", 404)
    initial_access.revoke(call.unit, token, call.actor)
    return _described(token, call.unit.now)


def _described(token: TokenRow, now: int) -> InitialAccess:
    return InitialAccess(
        id=token.id,
        name=token.name,
        scope=token.scope,
        grant_types=token.grant_types,
        redirect_hosts=token.redirect_hosts,
        uses=token.uses,
        uses_left=token.uses_left,
        is_good=initial_access.is_good(token, now),
        created_at=moment(token.created_at),
        created_by=token.created_by,
        expires_at=moment(token.expires_at),
        revoked_at=moment_or_none(token.revoked_at),
    )


OPERATIONS = (
    Operation(
        method="GET", path="/initial-access", scope="clients:read",
        carry_out=list_initial_access, gives=InitialAccesses,
    ),
    Operation(
        method="POST", path="/initial-access", scope="clients:write",
        carry_out=allow_registration, takes=NewInitialAccess, gives=NewlyAllowed, status=201,
        proof="fresh", repeat="keyed",
    ),
    Operation(
        method="POST", path="/initial-access/{id}/revoke", scope="clients:write",
        carry_out=revoke_initial_access, takes=Because, gives=InitialAccess,
    ),
)  # fmt: skip

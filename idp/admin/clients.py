"""Apps over the management API: registered, changed, kept out, given new secrets.

What metadata may say is checked by `idp.oauth.clients`, the same as on the command line. Scopes of
the management API are given only by whoever has them (AD-04), and only to a client marked for it.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import not_, or_, select

from idp.admin import access, paging
from idp.admin.answering import require_match
from idp.admin.operation import Call, Operation
from idp.admin.schemas import (
    Because,
    Line,
    Model,
    Moment,
    Nothing,
    Page,
    PageQuery,
    changes,
    moment,
)
from idp.errors import Refused
from idp.oauth import clients
from idp.oauth.model import Client as ClientRow

Uri = Annotated[str, Field(min_length=1, max_length=clients.URI_MAXIMUM)]
Uris = Annotated[list[Uri], Field(max_length=clients.URIS_MAXIMUM)]
Scope = Annotated[str, Field(max_length=2_000, description="Scopes, with spaces between them.")]
Grants = Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=10)]
Word = Annotated[str, Field(min_length=1, max_length=40)]
Seconds = Annotated[int, Field(ge=30, le=400 * 86_400)]
Keys = Annotated[dict[str, Any], Field(description="A JSON Web Key Set of public keys.")]


class ClientChange(Model):
    """What is changed of a client; what is left out stays, a list is replaced as a whole."""

    name: Line = ""
    redirect_uris: Uris = Field(default=[])
    post_logout_redirect_uris: Uris = Field(default=[])
    grant_types: Grants = Field(default=[])
    scope: Scope = ""
    management: bool = Field(default=False, description="May have scopes of this API.")
    audience: Uris = Field(default=[])
    backchannel_logout_uri: Uri | None = None
    client_uri: Uri | None = None
    jwks: Keys | None = None
    jwks_uri: Uri | None = None
    allowed_origins: Uris = Field(default=[])
    access_token_format: Literal["opaque", "jwt"] = "opaque"  # noqa: S105
    id_token_signed_response_alg: Literal["ES256", "RS256"] = "ES256"  # noqa: S105
    access_token_lifetime: Seconds | None = None
    refresh_token_lifetime: Seconds | None = None
    assertion_audience: Literal["issuer", "lenient"] = "issuer"
    minimum_acr: Word | None = None
    require_pkce: bool = True
    first_party: bool = False
    introspects_all: bool = False


class NewClient(ClientChange):
    """A client to be registered; what is left out is as usual."""

    name: Line
    token_endpoint_auth_method: Word = "client_secret_basic"  # noqa: S105
    application_type: Literal["web", "native"] = "web"


class Client(Model):
    """An app; its secret is shown when it is made, and never again."""

    id: str
    name: str
    application_type: str
    token_endpoint_auth_method: str
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    grant_types: list[str]
    scope: str
    management: bool
    audience: list[str]
    backchannel_logout_uri: str | None
    client_uri: str | None
    jwks: dict[str, Any] | None
    jwks_uri: str | None
    allowed_origins: list[str]
    access_token_format: str
    id_token_signed_response_alg: str
    access_token_lifetime: int | None
    refresh_token_lifetime: int | None
    assertion_audience: str
    minimum_acr: str | None
    require_pkce: bool
    first_party: bool
    introspects_all: bool
    enabled: bool
    created_at: Moment
    registered_with: Annotated[
        str | None,
        Field(description="The initial access token that it registered itself with, if it did."),
    ]


class NewlyMade(Client):
    """A client with its secret, if it has one."""

    client_secret: str | None


class ClientPage(Page):
    """Clients, by name."""

    items: list[Client]


class ClientQuery(PageQuery):
    """Which clients are wanted."""

    q: (
        Annotated[
            str, Field(min_length=1, max_length=120, description="A part of a name, or an id.")
        ]
        | Nothing
    ) = None
    origin: (
        Annotated[
            Literal["registered", "administrator"],
            Field(description="Those that registered themselves, or those that did not."),
        ]
        | Nothing
    ) = None


class Rotation(Model):
    """How a secret is replaced."""

    overlap: bool = Field(
        default=True,
        description="The present secret works on until the next rotation; false if it has leaked.",
    )


class Secret(Model):
    """A client's new secret."""

    client_secret: str


FLAGS = ("management", "require_pkce", "first_party", "introspects_all")


def list_clients(call: Call, query: ClientQuery) -> ClientPage:
    """List the clients, by name."""
    after = paging.after(call, query)
    wanted = select(ClientRow).order_by(ClientRow.name, ClientRow.id)
    if query.q is not None:
        wanted = wanted.where(
            or_(ClientRow.id == query.q, ClientRow.name.contains(query.q, autoescape=True))
        )
    if query.origin is not None:
        is_own = ClientRow.registered_with.is_not(None)
        wanted = wanted.where(is_own if query.origin == "registered" else not_(is_own))
    if after is not None:
        wanted = wanted.where(paging.above((ClientRow.name, ClientRow.id), after))
    found = list(call.unit.orm.scalars(wanted.limit(query.page_size + 1)))
    shown = found[: query.page_size]
    last = (shown[-1].name, shown[-1].id) if len(found) > len(shown) else None
    return ClientPage(
        items=[_described(one) for one in shown],
        next_page_token=paging.next_token(call, query, last),
    )


def create_client(call: Call, new: NewClient) -> NewlyMade:
    """Register an app."""
    values = values_of(changes(new))
    access.require_scopes(call, values.get("scope", ""))
    client, secret = clients.create(call.unit, actor=call.actor, **values)
    access.require_insight(call, client)
    call.unit.flush()
    return NewlyMade(**dict(_described(client)), client_secret=secret)


def get_client(call: Call, _: None) -> Client:
    """Show one client; never its secret, of which only a digest is kept."""
    client = call.unit.orm.get(ClientRow, call.params["id"])
    if client is None:
        raise Refused("client_not_found", "There is no such client.", 404)
    return _described(client)


def change_client(call: Call, change: ClientChange) -> Client:
    """Change an app's metadata."""
    client = access.client_below(call, call.params["id"])
    require_match(call, _described(client))
    values = values_of(changes(change))
    access.require_scopes(call, values.get("scope", ""))
    clients.change(call.unit, client, actor=call.actor, **values)
    access.require_insight(call, client)
    return _described(client)


def disable_client(call: Call, _: Because) -> Client:
    """Refuse a client and every token of it."""
    return _set_enabled(call, is_enabled=False)


def enable_client(call: Call, _: Because) -> Client:
    """Let a disabled client go on."""
    return _set_enabled(call, is_enabled=True)


def rotate_client_secret(call: Call, rotation: Rotation) -> Secret:
    """Make a new secret for a client; it is shown this once."""
    client = access.client_below(call, call.params["id"])
    secret = clients.rotate_secret(
        call.unit, client, actor=call.actor, overlap="keep" if rotation.overlap else "none"
    )
    return Secret(client_secret=secret)


def _set_enabled(call: Call, *, is_enabled: bool) -> Client:
    client = access.client_below(call, call.params["id"])
    clients.set_enabled(call.unit, client, is_enabled=is_enabled, actor=call.actor)
    return _described(client)


def values_of(given: dict[str, Any]) -> dict[str, Any]:
    """As `idp.oauth.clients` takes them: flags are numbers."""
    return {name: int(one) if name in FLAGS else one for name, one in given.items()}


def _described(client: ClientRow) -> Client:
    same = {
        name: getattr(client, name)
        for name in Client.model_fields
        if name not in (*FLAGS, "enabled", "created_at")
    }
    return Client(
        **same,
        management=bool(client.management),
        require_pkce=bool(client.require_pkce),
        first_party=bool(client.first_party),
        introspects_all=bool(client.introspects_all),
        enabled=client.disabled_at is None,
        created_at=moment(client.created_at),
    )


OPERATIONS = (
    Operation(
        method="GET", path="/clients", scope="clients:read", carry_out=list_clients,
        takes=ClientQuery, gives=ClientPage,
    ),
    Operation(
        method="POST", path="/clients", scope="clients:write", carry_out=create_client,
        takes=NewClient, gives=NewlyMade, status=201, proof="fresh", repeat="keyed",
    ),
    Operation(
        method="GET", path="/clients/{id}", scope="clients:read", carry_out=get_client,
        gives=Client, tag="shown",
    ),
    Operation(
        method="PATCH", path="/clients/{id}", scope="clients:write", carry_out=change_client,
        takes=ClientChange, gives=Client, proof="fresh", tag="required",
    ),
    Operation(
        method="POST", path="/clients/{id}/disable", scope="clients:write",
        carry_out=disable_client, takes=Because, gives=Client, proof="fresh",
    ),
    Operation(
        method="POST", path="/clients/{id}/enable", scope="clients:write",
        carry_out=enable_client, takes=Because, gives=Client, proof="fresh",
    ),
    Operation(
        method="POST", path="/clients/{id}/secret", scope="clients:write",
        carry_out=rotate_client_secret, takes=Rotation, gives=Secret, proof="fresh",
        repeat="keyed",
    ),
)  # fmt: skip

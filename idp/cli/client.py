"""`idp client`: the apps that sign people in through us, and APIs that check tokens."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from idp.cli.client_options import (
    AccessLifetime,
    AssertionAudience,
    Audience,
    Backchannel,
    ClientUri,
    GrantTypes,
    IdTokenAlg,
    JwksFile,
    JwksUri,
    LogoutUris,
    ManagementScopes,
    MinimumAcr,
    Origins,
    RedirectUris,
    RefreshLifetime,
    Scope,
    TokenFormat,
)
from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.errors import Refused
from idp.oauth import clients
from idp.oauth.model import Client
from idp.policy import management
from idp.storage.unit_of_work import UnitOfWork

app = typer.Typer(
    no_args_is_help=True, help="Clients: create, change, show, disable, delete, secrets, tokens."
)

ClientId = Annotated[str, typer.Argument(help="The client's id.")]
_SHOWN = (
    "name",
    "application_type",
    "token_endpoint_auth_method",
    "grant_types",
    "redirect_uris",
    "post_logout_redirect_uris",
    "scope",
    "audience",
    "minimum_acr",
    "backchannel_logout_uri",
    "client_uri",
    "jwks_uri",
    "allowed_origins",
    "access_token_format",
    "id_token_signed_response_alg",
    "access_token_lifetime",
    "refresh_token_lifetime",
    "assertion_audience",
)
_MAY_BE_MISSING = frozenset(
    {
        "backchannel_logout_uri",
        "client_uri",
        "jwks_uri",
        "access_token_lifetime",
        "refresh_token_lifetime",
        "minimum_acr",
    }
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name people see.")],
    redirect_uri: RedirectUris = None,
    post_logout_redirect_uri: LogoutUris = None,
    backchannel_logout_uri: Backchannel = None,
    grant_type: GrantTypes = None,
    auth_method: Annotated[
        str,
        typer.Option(
            help="client_secret_basic, client_secret_post, private_key_jwt, or none (public)."
        ),
    ] = "client_secret_basic",
    scope: Scope = "openid profile email",
    management_scope: ManagementScopes = None,
    audience: Audience = None,
    application_type: Annotated[str, typer.Option(help="web or native.")] = "web",
    client_uri: ClientUri = None,
    allowed_origin: Origins = None,
    jwks_file: JwksFile = None,
    jwks_uri: JwksUri = None,
    access_token_format: TokenFormat = "opaque",  # noqa: S107
    id_token_alg: IdTokenAlg = "ES256",  # noqa: S107
    access_token_lifetime: AccessLifetime = None,
    refresh_token_lifetime: RefreshLifetime = None,
    assertion_audience: AssertionAudience = "issuer",
    minimum_acr: MinimumAcr = None,
    client_id: Annotated[str | None, typer.Option(help="An id to keep, for imports.")] = None,
    first_party: Annotated[
        bool, typer.Option("--first-party", help="Our own app: people are not asked for consent.")
    ] = False,
    introspects_all: Annotated[
        bool, typer.Option("--introspects-all", help="An API that checks tokens of any client.")
    ] = False,
    without_pkce: Annotated[
        bool, typer.Option("--without-pkce", help="Confidential clients that have none.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register an app; its secret, if it has one, is shown this once.

    Without --grant-type it may sign people in and refresh: authorization_code, refresh_token.
    """
    with change() as unit:
        client, secret = clients.create(
            unit,
            name=name,
            redirect_uris=redirect_uri or (),
            post_logout_redirect_uris=post_logout_redirect_uri or (),
            grant_types=grant_type or ("authorization_code", "refresh_token"),
            token_endpoint_auth_method=auth_method,
            scope=" ".join([*(scope or "").split(), *(management_scope or ())]),
            management=1 if management_scope else 0,
            audience=audience or (),
            jwks=_read_keys(jwks_file) if jwks_file is not None else None,
            jwks_uri=jwks_uri,
            backchannel_logout_uri=backchannel_logout_uri,
            access_token_format=access_token_format or "",
            id_token_signed_response_alg=id_token_alg or "",
            access_token_lifetime=access_token_lifetime,
            refresh_token_lifetime=refresh_token_lifetime,
            require_pkce=0 if without_pkce else 1,
            assertion_audience=assertion_audience or "",
            minimum_acr=minimum_acr,
            first_party=1 if first_party else 0,
            application_type=application_type,
            introspects_all=1 if introspects_all else 0,
            allowed_origins=allowed_origin or (),
            client_uri=client_uri,
            client_id=client_id,
            actor=ADMIN,
        )
        data = _described(client)
    if secret is not None:
        data["client_secret"] = secret
    answer(data, fields(data), as_json=as_json)


@app.command(name="change")
def change_(
    client_id: ClientId,
    name: Annotated[str | None, typer.Option(help="The name people see.")] = None,
    redirect_uri: RedirectUris = None,
    post_logout_redirect_uri: LogoutUris = None,
    backchannel_logout_uri: Backchannel = None,
    grant_type: GrantTypes = None,
    scope: Scope = None,
    management_scope: ManagementScopes = None,
    audience: Audience = None,
    client_uri: ClientUri = None,
    allowed_origin: Origins = None,
    jwks_file: JwksFile = None,
    jwks_uri: JwksUri = None,
    access_token_format: TokenFormat = None,
    id_token_alg: IdTokenAlg = None,
    access_token_lifetime: AccessLifetime = None,
    refresh_token_lifetime: RefreshLifetime = None,
    assertion_audience: AssertionAudience = None,
    minimum_acr: MinimumAcr = None,
    first_party: Annotated[
        bool | None,
        typer.Option("--first-party/--third-party", help="Whether consent is not asked, or is."),
    ] = None,
    introspects_all: Annotated[
        bool | None,
        typer.Option("--introspects-all/--introspects-own", help="Whose tokens it may check."),
    ] = None,
    pkce: Annotated[
        bool | None, typer.Option("--with-pkce/--without-pkce", help="Whether PKCE is required.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is named, and nothing else; a list is replaced as a whole.

    An empty text takes a value away ("", for example --minimum-acr ""), and 0 a lifetime of its own.
    """
    given: dict[str, Any] = {
        "name": name,
        "redirect_uris": _list(redirect_uri),
        "post_logout_redirect_uris": _list(post_logout_redirect_uri),
        "backchannel_logout_uri": backchannel_logout_uri,
        "grant_types": _list(grant_type),
        "scope": scope,
        "audience": _list(audience),
        "client_uri": client_uri,
        "allowed_origins": _list(allowed_origin),
        "jwks": _read_keys(jwks_file) if jwks_file is not None else None,
        "jwks_uri": jwks_uri,
        "access_token_format": access_token_format,
        "id_token_signed_response_alg": id_token_alg,
        "access_token_lifetime": access_token_lifetime,
        "refresh_token_lifetime": refresh_token_lifetime,
        "assertion_audience": assertion_audience,
        "minimum_acr": minimum_acr,
        "first_party": None if first_party is None else int(first_party),
        "introspects_all": None if introspects_all is None else int(introspects_all),
        "require_pkce": None if pkce is None else int(pkce),
    }
    values = {
        one: None if one in _MAY_BE_MISSING and not value else value
        for one, value in given.items()
        if value is not None
    }
    if not values and management_scope is None:
        raise typer.BadParameter("say what to change")
    # The one way to give keys takes the place of the other.
    if values.get("jwks") is not None:
        values.setdefault("jwks_uri", None)
    elif values.get("jwks_uri") is not None:
        values["jwks"] = None
    with change() as unit:
        client = _found(unit, client_id)
        values |= _management(client, values.get("scope"), _list(management_scope))
        clients.change(unit, client, actor=ADMIN, **values)
        data = _described(client)
    answer(data, fields(data), as_json=as_json)


@app.command(name="revoke-tokens")
def revoke_tokens(client_id: ClientId, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Refuse every token a client got for itself (client_credentials) until now.

    Those it got for people end with their sessions, or with `idp client disable`.
    """
    confirm(f"Refuse every token that {client_id} got for itself?", confirmed=yes)
    with change() as unit:
        clients.revoke_own_tokens(unit, _found(unit, client_id), actor=ADMIN)
    data = {"client_id": client_id, "revoked": True}
    answer(data, fields(data), as_json=as_json)


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the clients by name."""
    with look() as unit:
        data = [_described(client) for client in clients.all_of(unit)]
    shown = ("client_id", "name", "token_endpoint_auth_method", "enabled", "redirect_uris")
    rows = [[one[column] for column in shown] for one in data]
    answer(data, table(("ID", "NAME", "METHOD", "ENABLED", "REDIRECT URIS"), rows), as_json=as_json)


@app.command()
def show(client_id: ClientId, as_json: AsJson = False) -> None:
    """Show one client; never its secret, of which only a digest is kept."""
    with look() as unit:
        data = _described(_found(unit, client_id))
    answer(data, fields(data), as_json=as_json)


@app.command(name="rotate-secret")
def rotate_secret(
    client_id: ClientId,
    at_once: Annotated[
        bool, typer.Option("--now", help="Refuse the present secret at once: it has leaked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new secret; the present one works on until the next rotation."""
    with change() as unit:
        secret = clients.rotate_secret(
            unit,
            _found(unit, client_id),
            actor=ADMIN,
            overlap="none" if at_once else "keep",
        )
    data = {"client_id": client_id, "client_secret": secret}
    answer(data, fields(data), as_json=as_json)


@app.command()
def disable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Refuse a client and every token of it."""
    with change() as unit:
        client = _found(unit, client_id)
        clients.set_enabled(unit, client, is_enabled=False, actor=ADMIN)
    data = {"client_id": client_id, "enabled": False}
    answer(data, fields(data), as_json=as_json)


@app.command()
def enable(client_id: ClientId, as_json: AsJson = False) -> None:
    """Let a disabled client go on."""
    with change() as unit:
        client = _found(unit, client_id)
        clients.set_enabled(unit, client, is_enabled=True, actor=ADMIN)
    data = {"client_id": client_id, "enabled": True}
    answer(data, fields(data), as_json=as_json)


@app.command()
def delete(client_id: ClientId, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Delete a client with every grant and consent of it."""
    with look() as unit:
        name = _found(unit, client_id).name
    confirm(f"Delete {name} ({client_id}) for good?", confirmed=yes)
    with change() as unit:
        clients.delete(unit, _found(unit, client_id), actor=ADMIN)
    data = {"client_id": client_id, "deleted": True}
    answer(data, fields(data), as_json=as_json)


def _found(unit: UnitOfWork, client_id: str) -> Client:
    client = clients.by_id(unit, client_id)
    if client is None:
        raise Refused("unknown_client", f"There is no client {client_id!r}.", 404)
    return client


def _management(client: Client, scope: str | None, wanted: list[str] | None) -> dict[str, Any]:
    """What becomes of a client's scope when either part of it is named: the other part stays."""
    if scope is None and wanted is None:
        return {}
    present = client.scope.split()
    rights = management.rights_in(present)
    others = [one for one in present if one not in rights] if scope is None else scope.split()
    kept = [one for one in present if one in rights] if wanted is None else wanted
    return {"scope": " ".join([*others, *kept]), "management": int(bool(kept))}


def _list(given: list[str] | None) -> list[str] | None:
    """A list as it was given, where one empty text means an empty list; None when it was not."""
    return None if not given else [one for one in given if one]


def _read_keys(file: Path) -> dict[str, Any]:
    try:
        keys = orjson.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise Refused("invalid_jwks", f"{file} cannot be read: {error}") from None
    if not isinstance(keys, dict):
        raise Refused("invalid_jwks", f"{file} is not a JSON Web Key Set.")
    return keys


def _described(client: Client) -> dict[str, Any]:
    data: dict[str, Any] = {"client_id": client.id}
    data.update((name, getattr(client, name)) for name in _SHOWN)
    data["first_party"] = bool(client.first_party)
    data["management"] = bool(client.management)
    data["introspects_all"] = bool(client.introspects_all)
    data["require_pkce"] = bool(client.require_pkce)
    data["enabled"] = client.disabled_at is None
    data["created_at"] = moment(client.created_at)
    data["registered_with"] = client.registered_with
    return data

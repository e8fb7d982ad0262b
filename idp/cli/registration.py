"""`idp registration`: leave for apps to register themselves (RFC 7591)."""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.clock import Instant
from idp.errors import Refused
from idp.oauth import initial_access
from idp.oauth.model import InitialAccessToken
from idp.storage.columns import LOCKED

app = typer.Typer(
    no_args_is_help=True, help="Initial access tokens, with which apps register themselves."
)


@app.command()
def allow(
    name: Annotated[str, typer.Argument(help="Whom it is given to.")],
    redirect_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host of the addresses such apps may name: app.example.com, .example.com (all "
            "below), com.example.app: (a native app's scheme); repeatable."
        ),
    ] = None,
    scope: Annotated[str, typer.Option(help="The most they may ask for.")] = "openid profile email",
    grant_type: Annotated[
        list[str] | None,
        typer.Option(help="Grant types; without: authorization_code, refresh_token. Repeatable."),
    ] = None,
    uses: Annotated[int, typer.Option(help="How many apps may register with it.")] = 1,
    days: Annotated[int, typer.Option(help="Days it is good for.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Make a token with which apps may register themselves; it is shown this once.

    IDP_REGISTRATION must be switched on for the server to take it.
    """
    with change() as unit:
        made, text = initial_access.allow(
            unit,
            name=name,
            scope=scope,
            grant_types=grant_type or ("authorization_code", "refresh_token"),
            redirect_hosts=redirect_host or (),
            uses=uses,
            seconds=days * 86_400,
            actor=ADMIN,
        )
        data = _described(made, unit.now) | {"initial_access_token": text}
    answer(data, fields(data), as_json=as_json)


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the tokens that were made, the newest first; never their text."""
    with look() as unit:
        data = [_described(one, unit.now) for one in initial_access.all_of(unit)]
    shown = ("id", "name", "is_good", "uses_left", "expires_at", "redirect_hosts")
    rows = [[one[column] for column in shown] for one in data]
    heads = ("ID", "NAME", "GOOD", "LEFT", "EXPIRES", "HOSTS")
    answer(data, table(heads, rows), as_json=as_json)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id (ini_…).")],
    as_json: AsJson = False,
) -> None:
    """Let nobody register with a token any more; apps that did so stay."""
    with change() as unit:
        token = unit.orm.get(InitialAccessToken, token_id, with_for_update=LOCKED)
        if token is None:
            raise Refused("initial_access_not_found", f"There is no token {token_id!r}.", 404)
        initial_access.revoke(unit, token, ADMIN)
        data = _described(token, unit.now)
    answer(data, fields(data), as_json=as_json)


def _described(token: InitialAccessToken, now: Instant) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "grant_types": token.grant_types,
        "redirect_hosts": token.redirect_hosts,
        "uses": token.uses,
        "uses_left": token.uses_left,
        "is_good": initial_access.is_good(token, now),
        "created_at": moment(token.created_at),
        "created_by": token.created_by,
        "expires_at": moment(token.expires_at),
        "revoked_at": moment(token.revoked_at),
    }

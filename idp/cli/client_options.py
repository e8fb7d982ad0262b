"""Options by which `idp client create` and `idp client change` both take a client's metadata."""

from pathlib import Path
from typing import Annotated

import typer

from idp.policy import management

RedirectUris = Annotated[
    list[str] | None, typer.Option("--redirect-uri", help="Where sign-ins return to; repeatable.")
]
LogoutUris = Annotated[
    list[str] | None,
    typer.Option("--post-logout-redirect-uri", help="Where sign-outs may return to; repeatable."),
]
Backchannel = Annotated[
    str | None, typer.Option("--backchannel-logout-uri", help="Where we report ended sessions.")
]
GrantTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--grant-type", help="authorization_code, refresh_token, client_credentials; repeatable."
    ),
]
Scope = Annotated[str | None, typer.Option("--scope", help="What it may ask for.")]
Audience = Annotated[
    list[str] | None, typer.Option("--audience", help="An API its tokens are for; repeatable.")
]


def _rights(given: list[str] | None) -> list[str] | None:
    unknown = set(given or ()) - management.ALL - {""}
    if unknown:
        raise typer.BadParameter(f"one of: {', '.join(management.SCOPES)}")
    return given


ManagementScopes = Annotated[
    list[str] | None,
    typer.Option(
        "--management-scope",
        callback=_rights,
        help="What it may do over the management API, such as users:read; repeatable.",
    ),
]
ClientUri = Annotated[str | None, typer.Option("--client-uri", help="The app's own address.")]
Origins = Annotated[
    list[str] | None,
    typer.Option("--allowed-origin", help="A browser origin that may call us; repeatable."),
]
JwksFile = Annotated[
    Path | None, typer.Option("--jwks-file", help="Its public keys, for private_key_jwt.")
]
JwksUri = Annotated[str | None, typer.Option("--jwks-uri", help="Where its public keys are.")]
TokenFormat = Annotated[str | None, typer.Option("--access-token-format", help="opaque or jwt.")]
IdTokenAlg = Annotated[
    str | None,
    typer.Option("--id-token-alg", help="ES256 or RS256, for its ID, logout and access tokens."),
]
AccessLifetime = Annotated[int | None, typer.Option("--access-token-lifetime", help="Seconds.")]
RefreshLifetime = Annotated[int | None, typer.Option("--refresh-token-lifetime", help="Seconds.")]
AssertionAudience = Annotated[
    str | None,
    typer.Option("--assertion-audience", help="issuer (strict) or lenient, for private_key_jwt."),
]
MinimumAcr = Annotated[
    str | None,
    typer.Option(
        "--minimum-acr",
        help="The least its people must prove: aal1, aal2, aal3; 0: a remembered browser will do.",
    ),
]

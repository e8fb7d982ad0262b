"""`idp` and `python -m idp`: one command line over the nouns of `idp.cli`."""

import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from idp.cli import (
    apply,
    backup,
    client,
    config,
    db,
    doctor,
    events,
    factors,
    geo,
    keys,
    openapi,
    queries,
    registration,
    role,
    rules,
    serve,
    sessions,
    user,
    webhook,
)
from idp.errors import Refused
from idp.settings import SettingsError

REFUSED = 1

app = typer.Typer(
    name="idp",
    help="A self-hosted OAuth 2 / OpenID Connect provider whose sessions are the product.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(serve.demo)
app.command()(serve.healthcheck)
app.command()(doctor.doctor)
app.command()(openapi.openapi)
app.command()(apply.apply)
app.command()(apply.export)
app.add_typer(user.app, name="user")
app.add_typer(role.app, name="role")
app.add_typer(client.app, name="client")
app.add_typer(registration.app, name="registration")
app.add_typer(factors.app, name="factors")
app.add_typer(sessions.app, name="sessions")
app.add_typer(rules.app, name="rules")
app.add_typer(keys.app, name="keys")
app.add_typer(geo.app, name="geo")
app.add_typer(events.app, name="events")
app.add_typer(webhook.app, name="webhook")
app.add_typer(queries.app, name="queries")
app.add_typer(db.app, name="db")
app.add_typer(backup.app, name="backup")
app.add_typer(config.app, name="config")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code: 0 done, 1 refused, 2 misused."""
    try:
        app(args=None if arguments is None else list(arguments))
    except Refused as refusal:
        _refuse(refusal.sentence, refusal.detail)
    except SettingsError as error:
        _refuse(str(error))
    sys.exit(0)


def _refuse(sentence: str, detail: str | None = None) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    # Whoever types commands on the server runs it, and may see the reason that pages keep back.
    if detail is not None:
        sys.stderr.write(f"({detail})\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()

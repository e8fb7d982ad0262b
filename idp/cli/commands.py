"""Every command of `idp`: one command line over the nouns of `idp.cli`."""

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
    healthcheck,
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

app = typer.Typer(
    name="idp",
    help="A self-hosted OAuth 2 / OpenID Connect provider whose sessions are the product.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(serve.demo)
app.command()(healthcheck.healthcheck)
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

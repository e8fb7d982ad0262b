"""`idp backup`: a copy of the database in one file, and putting it back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from idp import settings as deployment
from idp.cli import schema
from idp.cli.opened import product
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields
from idp.clock import to_rfc3339
from idp.errors import Refused
from idp.oauth import restored
from idp.settings import Settings
from idp.storage import backup, migrations
from idp.storage.database import Database
from idp.storage.vault import Vault

app = typer.Typer(no_args_is_help=True, help="Backups: make one, check one, put one back.")

File = Annotated[Path, typer.Argument(help="The backup, such as idp-2026-11-28.zip.")]
_AS_IT_WAS = (
    "Everybody is signed out. What people changed since the backup is as it was: passwords, passkeys, "
    "used recovery codes, roles, client secrets, signing keys. Change what was changed for a reason."
)


@app.command()
def create(file: File, as_json: AsJson = False) -> None:
    """Write a backup while the product runs. It needs IDP_SECRET_KEY to be of use: keep that apart."""
    with product() as work:
        made_at = to_rfc3339(work.clock.now())
        try:
            manifest = backup.create(work.database, file, made_at=made_at, vault=work.vault)
        except OSError as error:
            said = f"{file} cannot be written: {error.strerror or error}."
            raise Refused("backup", said) from None
    answer({"file": str(file), **asdict(manifest)}, fields(asdict(manifest)), as_json=as_json)


@app.command()
def verify(file: File, as_json: AsJson = False) -> None:
    """Check that a backup is as it was made, and that this version can put it back."""
    with backup.opened(file, _vault(deployment.load())) as (manifest, copy):
        problem = backup.problem_with(manifest, copy)
    if problem is not None:
        raise Refused("backup", problem)
    data = {**asdict(manifest), "ok": True}
    answer(data, fields(data), as_json=as_json)


@app.command()
def restore(file: File, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Put a backup in the place of the database; stop every node first. Signs everybody out."""
    settings = deployment.load()
    confirm(
        "Are all nodes stopped? The database is replaced, and everybody is signed out.",
        confirmed=yes,
    )
    with backup.opened(file, _vault(settings)) as (manifest, copy):
        problem = backup.problem_with(manifest, copy)
        if problem is not None:
            raise Refused("backup", problem)
        backup.put_back(manifest, copy, settings.database_url)
    database = Database(settings.database_url, pool_size=1)
    try:
        if schema.is_behind(database):
            migrations.upgrade(database)
    finally:
        database.close()
    from idp.app import assemble

    work = assemble(settings)
    try:
        ended = restored.revoke_everything(work)
        migrations.finish(work.database)
    finally:
        work.database.close()
    data = {"made_at": manifest.made_at, "revision": migrations.head(), "sessions_ended": ended}
    answer(data, [*fields(data), _AS_IT_WAS], as_json=as_json)


def _vault(settings: Settings) -> Vault:
    previous = tuple(one.get_secret_value() for one in settings.previous_secret_keys)
    return Vault(settings.secret_key.get_secret_value(), previous)

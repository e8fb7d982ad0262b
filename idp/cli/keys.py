"""`idp keys`: the keys that sign tokens, and the secret key that seals what is stored."""

from typing import Any

import typer
from sqlalchemy import select

from idp.cli.opened import ADMIN, change, look, product
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.oauth.model import SigningKey

app = typer.Typer(no_args_is_help=True, help="Signing keys: list, rotate; re-encrypt what is kept.")


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the signing keys, oldest first."""
    with look() as unit:
        keys = unit.orm.scalars(select(SigningKey).order_by(SigningKey.created_at, SigningKey.kid))
        data = [_described(key) for key in keys]
    shown = ("kid", "alg", "state", "created_at", "activated_at", "retired_at")
    rows = [[one[column] for column in shown] for one in data]
    answer(
        data,
        table(("KID", "ALG", "STATE", "CREATED", "ACTIVATED", "RETIRED"), rows),
        as_json=as_json,
    )


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Sign with the next keys from now on; tokens signed by the old ones stay valid."""
    from idp.oauth import keys

    with change() as unit:
        data = {"active": keys.rotate(unit, actor=ADMIN.kind, actor_id=ADMIN.id)}
    answer(data, fields(data), as_json=as_json)


@app.command()
def reencrypt(as_json: AsJson = False) -> None:
    """Seal everything stored with the newest secret key, so that an older one can be dropped.

    Recovery codes are digests and cannot be made anew: those from before the newest key die with
    the older one.
    """
    from idp.oauth import keys
    from idp.sessions import sealing
    from idp.users import queries as users
    from idp.users import totp

    with product() as work:
        with work.begin() as unit:
            data = {"keys": keys.reseal(unit), "users": 0, "sessions": 0, "codes": 0}
        # In batches, because a million sealed rows in one transaction would hold up every writer.
        for name, reseal in (
            ("users", users.reseal),
            ("sessions", sealing.reseal),
            ("codes", totp.reseal),
        ):
            after: str | None = ""
            while after is not None:
                with work.begin() as unit:
                    changed, after = reseal(unit, after=after)
                data[name] += changed
    answer(data, fields(data), as_json=as_json)


def _described(key: SigningKey) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": key.state,
        "created_at": moment(key.created_at),
        "activated_at": moment(key.activated_at),
        "retired_at": moment(key.retired_at),
    }

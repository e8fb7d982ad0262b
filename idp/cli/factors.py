"""`idp factors`: what somebody proves themselves with besides a password, and taking it away.

Nothing here shows or makes a secret: administrators never see a code (row D8), and what somebody
lost they enrol again themselves. Specs: OWASP ASVS 5.0 section 6.4.4.
"""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, Confirmed, answer, confirm, fields, moment, table
from idp.cli.user import Name, found
from idp.errors import Refused
from idp.sessions import accounts
from idp.storage.unit_of_work import UnitOfWork
from idp.users import passkeys, recovery_codes, totp, trusted_devices
from idp.users.model import User

app = typer.Typer(no_args_is_help=True, help="Second factors of a user: list, remove, reset.")


@app.command(name="list")
def list_(name: Name, as_json: AsJson = False) -> None:
    """List a user's passkeys, code generators, trusted devices, and how many codes are left."""
    with look() as unit:
        data = _described(unit, found(unit, name))
    shown = ("kind", "id", "name", "created_at", "last_used_at", "suspended_at")
    rows = [[one.get(column) for column in shown] for one in data["factors"]]
    lines = [
        *table(("KIND", "ID", "NAME", "CREATED", "LAST USED", "SUSPENDED"), rows),
        f"recovery codes left: {data['recovery_codes_left']}",
    ]
    answer(data, lines, as_json=as_json)


@app.command()
def remove(
    name: Name,
    factor_id: Annotated[str, typer.Argument(help="A passkey, code generator or trusted device.")],
    yes: Confirmed = False,
    as_json: AsJson = False,
) -> None:
    """Remove one factor; what it proved in running sessions counts for the lowest level."""
    with look() as unit:
        user = found(unit, name)
        shown = _one(_described(unit, user), factor_id)
    confirm(f"Remove {shown['name']} ({shown['kind']}) of {user.username}?", confirmed=yes)
    with change() as unit:
        user = found(unit, user.id)
        accounts.remove_factor(unit, user, factor_id, ADMIN)
    data = {"id": user.id, "removed": factor_id}
    answer(data, fields(data), as_json=as_json)


@app.command()
def reset(name: Name, yes: Confirmed = False, as_json: AsJson = False) -> None:
    """Remove every second factor of somebody who lost theirs; ends all their sessions.

    They sign in by password alone until they enrol again: make sure first that it is they who ask,
    as surely as when they enrolled.
    """
    with look() as unit:
        user = found(unit, name)
    confirm(
        f"Remove every second factor of {user.username} ({user.id})? "
        "Be sure that it is they who ask.",
        confirmed=yes,
    )
    with change() as unit:
        user = found(unit, user.id)
        reset = accounts.reset_factors(unit, user, ADMIN)
    data = {
        "id": user.id,
        "removed": reset.removed,
        "devices_forgotten": reset.devices_forgotten,
        "sessions_ended": len(reset.ended),
    }
    answer(data, fields(data), as_json=as_json)


def _one(described: dict[str, Any], factor_id: str) -> dict[str, Any]:
    for one in described["factors"]:
        if one["id"] == factor_id:
            shown: dict[str, Any] = one
            return shown
    raise _unknown(factor_id)


def _unknown(factor_id: str) -> Refused:
    return Refused("unknown_factor", f"This user has no factor {factor_id!r}.", 404)


def _described(unit: UnitOfWork, user: User) -> dict[str, Any]:
    kinds = (
        ("passkey", passkeys.of(unit, user.id)),
        ("totp", totp.of(unit, user.id)),
        ("trusted_device", trusted_devices.of(unit, user.id)),
    )
    return {
        "id": user.id,
        "factors": [
            {
                "kind": kind,
                "id": one.id,
                "name": one.name,
                "created_at": moment(one.created_at),
                "last_used_at": moment(one.last_used_at),
                "suspended_at": moment(getattr(one, "suspended_at", None)),
            }
            for kind, all_of_kind in kinds
            for one in all_of_kind
        ],
        "recovery_codes_left": recovery_codes.left(unit, user.id),
    }

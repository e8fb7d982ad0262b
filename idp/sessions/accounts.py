"""What is done to an account and reaches its sessions: disabling, deleting, setting back its factors.

One place for the command line and the management API. Who may do it is asked before.
"""

from dataclasses import dataclass

from idp.errors import Refused
from idp.events.actor import Actor
from idp.sessions import lifecycle
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, passkeys, queries, totp, trusted_devices
from idp.users.model import DISABLED, User


@dataclass(frozen=True, slots=True)
class FactorsReset:
    """What setting back somebody's factors took away; `ended` are the ids of sessions."""

    removed: int
    devices_forgotten: int
    ended: list[str]


def disable(unit: UnitOfWork, user: User, actor: Actor) -> list[str]:
    """Keeps somebody from signing in; gives the ids of the sessions that ended."""
    queries.set_status(unit, user, DISABLED, actor)
    return lifecycle.end_all_of(unit, user.id, reason="user_disabled", actor=actor)


def delete(unit: UnitOfWork, user: User, actor: Actor) -> list[str]:
    """Deletes somebody with everything that hangs on them; gives the ids of the sessions that ended.

    Two steps, so that every app is told of the ends before the rows are gone.
    """
    ended = disable(unit, user, actor)
    queries.delete_user(unit, user, actor)
    return ended


def reset_factors(unit: UnitOfWork, user: User, actor: Actor) -> FactorsReset:
    """Takes away every second factor of somebody who lost theirs; ends all their sessions.

    Raises `Refused` (`last_factor`) for somebody who could not sign in any more.
    """
    factors.hold(unit, user.id)
    theirs = passkeys.of(unit, user.id)
    generators = totp.of(unit, user.id)
    if theirs and user.password_hash is None:
        raise Refused(
            "last_factor",
            f"{user.username} signs in with a passkey alone. They need a password first: "
            "send them a link to set one.",
            409,
        )
    ended = lifecycle.end_all_of(unit, user.id, reason="admin", actor=actor)
    devices = trusted_devices.forget_all(unit, user.id, actor)
    for passkey in theirs:
        passkeys.remove(unit, passkey, actor)
    for generator in generators:
        totp.remove(unit, generator, actor)
    # With the last factor the recovery codes went; of somebody who had none, they go here.
    factors.tidy(unit, user.id, actor)
    return FactorsReset(len(theirs) + len(generators), devices, ended)


def remove_factor(unit: UnitOfWork, user: User, factor_id: str, actor: Actor) -> None:
    """Takes away one passkey, code generator or trusted device; raises `Refused` (`unknown_factor`).

    What it proved in running sessions counts for the lowest level from then on.
    """
    passkey = passkeys.one_of(unit, user.id, factor_id)
    if passkey is not None:
        passkeys.remove(unit, passkey, actor)
        return
    generator = totp.one_of(unit, user.id, factor_id)
    if generator is not None:
        totp.remove(unit, generator, actor)
        return
    device = trusted_devices.one_of(unit, user.id, factor_id)
    if device is None:
        raise Refused("unknown_factor", f"This user has no factor {factor_id!r}.", 404)
    trusted_devices.forget(unit, device, actor)

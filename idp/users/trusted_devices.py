"""Trusted devices: browsers in which a person need not show a second factor at sign-in (row T8).

Owns the rows of `trusted_devices`; a device is known by a cookie of its own, of which only the
digest gets here. Does not decide what being recognised excuses from. One that has expired
(`assurance.trusted_device_days`) is as if it were gone.
"""

from sqlalchemy import bindparam, delete, select, update

from idp import ids
from idp.clock import DAY
from idp.events.actor import Actor
from idp.events.catalogue import DeviceForgotten, DeviceRenamed, DeviceTrusted, PasswordChanged
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users.credentials import TrustedDevice
from idp.users.labels import label
from idp.users.person import Person

DEFAULT_NAME = "Browser"
BATCH = 1_000


def trust(
    unit: UnitOfWork, user: Person, *, device_hash: str, name: str, actor: Actor
) -> TrustedDevice:
    """Trusts a browser for this person from now on; raises `Refused` (`invalid_label`).

    A cookie belongs to one person's trust: whose it was before is asked again.
    """
    shown = label(name, default=DEFAULT_NAME)
    for before in unit.orm.scalars(
        select(TrustedDevice).where(TrustedDevice.device_hash == device_hash)
    ).all():
        forget(unit, before, actor)
    device = TrustedDevice(
        id=ids.new("dev"),
        user_id=user.id,
        device_hash=device_hash,
        name=shown,
        created_at=unit.now,
        last_used_at=unit.now,
        expires_at=unit.now + unit.settings.assurance.trusted_device_days * DAY,
    )
    unit.orm.add(device)
    unit.record(DeviceTrusted(actor=actor.kind, actor_id=actor.id, user_id=user.id, device=shown))
    return device


_NOTE_USE = HotStatement(
    update(TrustedDevice)
    .where(
        TrustedDevice.device_hash == bindparam("device"),
        TrustedDevice.user_id == bindparam("person"),
        TrustedDevice.expires_at > bindparam("now"),
    )
    .values(last_used_at=bindparam("now"))
    .returning(TrustedDevice.id)
)


def recognises(unit: UnitOfWork, user_id: str, device_hash: str | None) -> bool:
    """Whether this is a browser that this very person trusts; notes that it was used."""
    if device_hash is None:
        return False
    values = {"device": device_hash, "person": user_id, "now": unit.now}
    return bool(unit.run(_NOTE_USE, values))


_IN_BROWSER = HotStatement(
    select(TrustedDevice.id).where(
        TrustedDevice.device_hash == bindparam("device"),
        TrustedDevice.user_id == bindparam("person"),
        TrustedDevice.expires_at > bindparam("now"),
    )
)


def in_browser(unit: UnitOfWork, user_id: str, device_hash: str | None) -> str | None:
    """The id of the trusted device that this browser is, if this very person trusts it."""
    if device_hash is None:
        return None
    values = {"device": device_hash, "person": user_id, "now": unit.now}
    rows = unit.run(_IN_BROWSER, values)
    return str(rows[0][0]) if rows else None


def of(unit: UnitOfWork, user_id: str) -> list[TrustedDevice]:
    """The browsers somebody trusts, the one used last first."""
    return list(
        unit.orm.scalars(
            select(TrustedDevice)
            .where(TrustedDevice.user_id == user_id, TrustedDevice.expires_at > unit.now)
            .order_by(TrustedDevice.last_used_at.desc(), TrustedDevice.id)
        )
    )


def one_of(unit: UnitOfWork, user_id: str, device_id: str) -> TrustedDevice | None:
    """The trusted device with this id, if it is theirs."""
    return unit.orm.scalar(
        select(TrustedDevice).where(
            TrustedDevice.id == device_id,
            TrustedDevice.user_id == user_id,
            TrustedDevice.expires_at > unit.now,
        )
    )


def rename(unit: UnitOfWork, device: TrustedDevice, name: str, actor: Actor) -> None:
    """Gives a trusted device another name; raises `Refused` (`invalid_label`)."""
    shown = label(name, default=DEFAULT_NAME)
    if shown == device.name:
        return
    unit.orm.execute(update(TrustedDevice).where(TrustedDevice.id == device.id).values(name=shown))
    unit.record(
        DeviceRenamed(
            actor=actor.kind,
            actor_id=actor.id,
            user_id=device.user_id,
            device=shown,
            credential=device.id,
        )
    )


def forget(unit: UnitOfWork, device: TrustedDevice, actor: Actor) -> None:
    """Asks for a second factor in this browser again."""
    unit.flush()
    gone = unit.connection.execute(
        delete(TrustedDevice).where(TrustedDevice.id == device.id)
    ).rowcount
    if gone:
        _forgotten(unit, device.user_id, device.name, actor)


def forget_all(unit: UnitOfWork, user_id: str, actor: Actor) -> int:
    """Asks somebody for a second factor in every browser again; gives how many were trusted."""
    unit.flush()
    gone = unit.connection.execute(
        delete(TrustedDevice)
        .where(TrustedDevice.user_id == user_id)
        .returning(TrustedDevice.name, TrustedDevice.expires_at)
    ).all()
    trusted = [row.name for row in gone if row.expires_at > unit.now]
    for name in trusted:
        _forgotten(unit, user_id, name, actor)
    return len(trusted)


def forget_after_password(unit: UnitOfWork, event: PasswordChanged) -> None:
    """Subscriber: a trust given to whoever knew the old password is given again, or not."""
    if event.user_id is not None:
        forget_all(unit, event.user_id, Actor(event.actor, event.actor_id))


def forget_past(unit: UnitOfWork) -> int:
    """Deletes what expired a day ago or longer; gives how many. The worker calls it.

    A day, so that a node whose clock is ahead takes nothing that still counts on another.
    """
    past = select(TrustedDevice.id).where(TrustedDevice.expires_at <= unit.now - DAY).limit(BATCH)
    return unit.connection.execute(delete(TrustedDevice).where(TrustedDevice.id.in_(past))).rowcount


def _forgotten(unit: UnitOfWork, user_id: str, name: str, actor: Actor) -> None:
    unit.record(DeviceForgotten(actor=actor.kind, actor_id=actor.id, user_id=user_id, device=name))

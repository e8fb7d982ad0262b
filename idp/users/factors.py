"""What a person has enrolled, all kinds together: the question sign-in and step-up ask.

One statement, because it stands in the way of every sign-in. Also what all kinds need when one is
added or removed.
"""

from sqlalchemy import bindparam, delete, func, null, select, union_all

from idp.events.actor import Actor
from idp.policy.assurance import PROVED
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.users import trusted_devices
from idp.users.credentials import Passkey, RecoveryCode, Totp
from idp.users.model import User

# No method of `idp.policy.assurance`: it can be asked for, not shown.
SUSPENDED = "suspended_passkey"
_USABLE = (Passkey.user_id == bindparam("person"), Passkey.suspended_at == null())
_ENROLLED = HotStatement(
    select(
        select(User.password_hash).where(User.id == bindparam("person")).scalar_subquery(),
        # By what the best of them can earn alone.
        select(func.count()).select_from(Passkey).where(*_USABLE).scalar_subquery(),
        select(func.count())
        .select_from(Passkey)
        .where(*_USABLE, Passkey.user_verified == 1)
        .scalar_subquery(),
        select(func.count())
        .select_from(Passkey)
        .where(*_USABLE, Passkey.user_verified == 1, Passkey.backup_eligible == 0)
        .scalar_subquery(),
        # Suspended ones too.
        select(func.count())
        .select_from(Passkey)
        .where(Passkey.user_id == bindparam("person"))
        .scalar_subquery(),
        select(func.count())
        .select_from(Totp)
        .where(Totp.user_id == bindparam("person"))
        .scalar_subquery(),
        select(func.count())
        .select_from(RecoveryCode)
        .where(RecoveryCode.user_id == bindparam("person"), RecoveryCode.used_at == null())
        .scalar_subquery(),
    )
)


def enrolled(unit: UnitOfWork, user_id: str) -> dict[str, str]:
    """The methods somebody can prove themselves by, each with the most it can earn alone.

    Recovery codes count only beside a second factor: they stand in for one that was lost. A
    suspended passkey is named too, as `SUSPENDED`: it proves nothing and is still a second factor,
    so that whoever copied a passkey does not get rid of it thereby.
    """
    password, passkeys, verified, bound, held, totps, codes = unit.run(
        _ENROLLED, {"person": user_id}
    )[0]
    able: dict[str, str] = {}
    if passkeys:
        able["passkey"] = "aal3" if bound else "aal2" if verified else PROVED
    if password is not None:
        able["password"] = PROVED
    if totps:
        able["totp"] = PROVED
    if codes and (held or totps):
        able["recovery_code"] = PROVED
    if held > passkeys:
        able[SUSPENDED] = PROVED
    return able


def has_second(able: dict[str, str]) -> bool:
    """Whether these methods include one beside the password, so that every sign-in asks for it."""
    return "passkey" in able or "totp" in able or SUSPENDED in able


_TAKEN = HotStatement(
    union_all(
        select(Passkey.id).where(Passkey.id == bindparam("credential"), *_USABLE),
        select(Totp.id).where(
            Totp.id == bindparam("credential"), Totp.user_id == bindparam("person")
        ),
    )
)


def is_taken(unit: UnitOfWork, user_id: str, credential: str) -> bool:
    """Whether this passkey or code generator is theirs and proves something now."""
    return bool(unit.run(_TAKEN, {"credential": credential, "person": user_id}))


def hold(unit: UnitOfWork, user_id: str) -> None:
    """Makes others who add or remove factors of this person wait until this transaction is over.

    Called before any row of theirs is changed, because two orders are a deadlock on PostgreSQL.
    """
    unit.orm.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def tidy(unit: UnitOfWork, user_id: str, actor: Actor) -> None:
    """After a factor was removed: without a second one, nothing of what hangs on it stays.

    Recovery codes stand in for a second factor and trusted devices excuse from it; left behind,
    they would come back to life with the next one.
    """
    hold(unit, user_id)  # so that of two who remove the last two, the later sees both gone
    if has_second(enrolled(unit, user_id)):
        return
    unit.connection.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    trusted_devices.forget_all(unit, user_id, actor)

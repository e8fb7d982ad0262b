"""Recovery codes: ten that stand in for a second factor that was lost, each of them once.

Owns the rows of `recovery_codes`. Shown when they are made and never again: of each only a keyed
digest over person and code is kept, so that a copy of the database is worth nothing without the
secret key. Does not count attempts (`throttle`).
Specs: NIST SP 800-63B-4 section 3.1.2 (look-up secrets), ASVS 6.5.1 to 6.5.4, Crockford's base32.
"""

import secrets
import unicodedata

from sqlalchemy import bindparam, delete, func, null, select, update

from idp.events.actor import Actor
from idp.events.catalogue import RecoveryCodesMade, RecoveryCodeUsed
from idp.policy.assurance import Authentication
from idp.storage.database import HotStatement
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault
from idp.users import factors
from idp.users.credentials import RecoveryCode
from idp.users.model import User

COUNT = 10
# Without i, l, o and u: 32 characters that nobody takes for one another, five bits each.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 16
_GROUP = 4
_TYPED_MAXIMUM = 64
_LOOK_ALIKES = str.maketrans("ilo", "110")


def make(unit: UnitOfWork, user: User, actor: Actor) -> list[str]:
    """A new set for somebody; whatever is left of an older one is worth nothing from now on."""
    factors.hold(unit, user.id)  # two sets made at once would both be good
    unit.connection.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    codes = [new_code() for _ in range(COUNT)]
    unit.orm.add_all(
        RecoveryCode(
            code_hash=_digest(unit.vault, user.id, code.replace("-", "")),
            user_id=user.id,
            created_at=unit.now,
        )
        for code in codes
    )
    unit.record(
        RecoveryCodesMade(actor=actor.kind, actor_id=actor.id, user_id=user.id, count=len(codes))
    )
    return codes


def burn(
    unit: UnitOfWork, user_id: str, code: str, *, ip: str | None = None
) -> Authentication | None:
    """The proof that an unused code of somebody's is, used up with it; None when it is none.

    Spaces, dashes, case and look-alikes in what was typed do not matter; `ip` is where it was, for
    the notice. Whoever also changes the user's own row locks that first.
    """
    typed = _normalised(code)
    if typed is None:
        return None
    # Under each key, because a digest cannot be made anew when the secret key changes.
    digests = [_digest(vault, user_id, typed) for vault in unit.vault.each_key()]
    unit.flush()
    burned = unit.connection.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.code_hash.in_(digests),
            RecoveryCode.user_id == user_id,
            RecoveryCode.used_at == null(),
        )
        .values(used_at=unit.now)
    ).rowcount
    if not burned:
        return None
    unit.record(
        RecoveryCodeUsed(
            actor="user", actor_id=user_id, user_id=user_id, ip=ip, left=left(unit, user_id)
        )
    )
    return Authentication("recovery_code", ("otp",), "aal1")


_LEFT = HotStatement(
    select(func.count())
    .select_from(RecoveryCode)
    .where(RecoveryCode.user_id == bindparam("person"), RecoveryCode.used_at == null())
)


def left(unit: UnitOfWork, user_id: str) -> int:
    """How many codes somebody has not used yet."""
    return int(unit.run(_LEFT, {"person": user_id})[0][0])


def new_code() -> str:
    """One code of 80 random bits, such as `7f3k-9m2q-c4xt-0b8h`."""
    characters = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
    return "-".join(characters[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))


def _normalised(typed: str) -> str | None:
    """The characters of a code however it was typed; None when it cannot be one."""
    if len(typed) > _TYPED_MAXIMUM:
        return None
    # Of any kind: word processors make another dash of the one they are given.
    kept = "".join(one for one in typed.lower() if not _is_separator(one))
    code = kept.translate(_LOOK_ALIKES)
    return code if len(code) == _LENGTH and set(code) <= set(ALPHABET) else None


def _is_separator(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Pd"


def _digest(vault: Vault, user_id: str, code: str) -> str:
    return vault.mac(f"{user_id}:{code}".encode(), "recovery code").hex()

"""People with more than a password, and what they prove it with."""

import os
from dataclasses import dataclass, field

import pyotp

from idp.clock import SECOND
from idp.events.actor import SYSTEM
from idp.users import passkeys, recovery_codes, totp
from idp.users.model import User
from tests.harness.authenticator import Authenticator
from tests.harness.provider import Idp


@dataclass
class Factors:
    """What one person has enrolled."""

    idp: Idp
    user: User
    secrets: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def code(self) -> str:
        """The code that their generator shows now."""
        return pyotp.TOTP(self.secrets[0]).at(self.idp.clock.now() // SECOND)


def with_totp(idp: Idp, user: User) -> Factors:
    """Enrols a code generator and recovery codes; its present code is used up by that."""
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        secret = totp.propose(idp.settings, fresh).secret
        code = pyotp.TOTP(secret).at(idp.clock.now() // SECOND)
        totp.enrol(unit, fresh, secret=secret, code=code, name="App", actor=SYSTEM)
        codes = recovery_codes.make(unit, fresh, SYSTEM)
    idp.clock.advance(31 * SECOND)
    return Factors(idp, user, [secret], codes)


def with_passkey(idp: Idp, user: User, *, backup: str = "none") -> Authenticator:
    """Enrols a passkey; `backup` as in `Authenticator`."""
    device = Authenticator(backup=backup)
    challenge = os.urandom(32)
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        options = passkeys.registration_options(unit, fresh, challenge=challenge)
        passkeys.register(
            unit,
            fresh,
            credential=device.create(options),
            challenge=challenge,
            name="Key",
            actor=SYSTEM,
        )
    return device

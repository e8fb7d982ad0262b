"""A sign-in under way: what has been proved so far, on its way to a session.

No session exists before everything is proved, and nothing is stored: the ceremony travels sealed in
the form, bound to the browser that began it, and is spent when a session comes of it. So a flood of
half sign-ins leaves nothing behind, and no state can be walked into by another door: what a sealed
ceremony says was proved, was.

The challenge of a passkey is a keyed digest of the sealed ceremony: it is as random, as short-lived
and as bound as that, and cannot be chosen by whoever answers it (MF-16). An answer spends it, right
or wrong.
Specs: WebAuthn Level 3 section 13.4.3 (challenges), NIST SP 800-63B-4 section 5.1.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from idp import ids
from idp.clock import MINUTE, Duration, Instant
from idp.policy.assurance import Authentication
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable, Vault
from idp.users import spent

LIFETIME: Duration = 10 * MINUTE
SEALED_MAXIMUM = 4_096
_CONTEXT = "ceremony"


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What one browser has proved, and for what: a sign-in, or a step-up of a session."""

    key: str
    # The pages it may be continued on: "sign_in", "choose", "step_up", "enrol".
    purpose: str
    browser_hash: str
    expires_at: Instant
    # Whose it is, once a password said so; None while a passkey may still name anybody.
    user_id: str | None = None
    session_id: str | None = None
    proved: tuple[Authentication, ...] = ()
    # Of the user when their password was right: a change of it ends every ceremony under way.
    password_changed_at: Instant | None = None
    # In which epoch all was proved (`sessions.epoch`), where a session may begin without more.
    epoch: int | None = None

    @property
    def begun_at(self) -> Instant:
        """When the page it began with was made."""
        return self.expires_at - LIFETIME


def begin(
    now: Instant,
    *,
    purpose: str,
    browser_hash: str,
    user_id: str | None = None,
    session_id: str | None = None,
) -> Ceremony:
    """A ceremony that begins now."""
    return Ceremony(
        key=ids.new_secret(),
        purpose=purpose,
        browser_hash=browser_hash,
        expires_at=now + LIFETIME,
        user_id=user_id,
        session_id=session_id,
    )


def again(ceremony: Ceremony) -> Ceremony:
    """The same under a new key, for the next page; it runs out when the first would have."""
    return replace(ceremony, key=ids.new_secret())


def seal(ceremony: Ceremony, vault: Vault) -> str:
    """The ceremony as it travels in a form."""
    values = {
        "key": ceremony.key,
        "purpose": ceremony.purpose,
        "browser": ceremony.browser_hash,
        "expires": ceremony.expires_at,
        "user": ceremony.user_id,
        "session": ceremony.session_id,
        "proved": [[one.method, one.amr, one.acr, one.credential] for one in ceremony.proved],
        "password": ceremony.password_changed_at,
        "epoch": ceremony.epoch,
    }
    return vault.seal_text(orjson.dumps(values).decode(), _CONTEXT)


def opened(
    sealed: str, vault: Vault, *, purpose: str, browser_hash: str, now: Instant
) -> Ceremony | None:
    """What a form carried, if it is of this purpose and browser and has not run out."""
    if not sealed or len(sealed) > SEALED_MAXIMUM:
        return None
    try:
        values: dict[str, Any] = orjson.loads(vault.open_text(sealed, _CONTEXT))
    except Unreadable:
        return None
    ceremony = Ceremony(
        key=values["key"],
        purpose=values["purpose"],
        browser_hash=values["browser"],
        expires_at=values["expires"],
        user_id=values["user"],
        session_id=values["session"],
        proved=tuple(
            Authentication(method, tuple(amr), acr, credential)
            for method, amr, acr, credential in values["proved"]
        ),
        password_changed_at=values["password"],
        epoch=values.get("epoch"),
    )
    if ceremony.purpose != purpose or ceremony.browser_hash != browser_hash:
        return None
    return ceremony if now < ceremony.expires_at else None


def challenge(ceremony: Ceremony, vault: Vault) -> bytes:
    """The WebAuthn challenge of this ceremony: 32 bytes."""
    said = f"{ceremony.purpose}:{ceremony.browser_hash}:{ceremony.key}"
    return vault.mac(said.encode(), "webauthn challenge")


def take_back(unit: UnitOfWork, ceremony: Ceremony) -> None:
    """Undoes `spend`, in the same transaction: the answer was wrong and may be given again."""
    spent.take_back(unit, ids.digest(ceremony.key))


def spend(unit: UnitOfWork, ceremony: Ceremony) -> bool:
    """Whether this ceremony was not spent before; see `idp.users.spent`."""
    return spent.spend(unit, ids.digest(ceremony.key), expires_at=ceremony.expires_at)

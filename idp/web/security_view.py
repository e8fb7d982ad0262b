"""What the security page shows: ready facts, no sentences.

Owns how strong a sign-in is called, and which one thing to do next is the most worth it. Sentences
are made in the templates, where translators find them.
Specs: WebAuthn Level 3 section 5.1.10 (signal methods).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from idp.clock import MINUTE, Duration, Instant
from idp.events import queries as events
from idp.policy import assurance
from idp.storage.unit_of_work import UnitOfWork
from idp.users import factors, passkeys, queries, recovery_codes, totp, trusted_devices
from idp.users.credentials import Passkey, Totp, TrustedDevice
from idp.users.model import User
from idp.web import factor_changes
from idp.web.visitor import Visitor

CHANGE_SHOWN: Duration = 5 * MINUTE
FEW_CODES = 3
# Of one instant; more than anybody changes with one click.
_EVENTS_READ = 40

# password: one proof is all · two_steps: password and a second · passkey: both in one
Strength = Literal["password", "two_steps", "passkey"]
Advice = Literal[
    "remove_suspended", "add_passkey", "add_passkey_too", "make_codes", "few_codes", "add_spare"
]


@dataclass(frozen=True, slots=True)
class Overview:
    """What somebody signs in with."""

    strength: Strength
    advice: Advice | None
    has_password: bool
    # Whether recovery codes and trusted devices have something to stand in for.
    has_second: bool
    password_changed_at: Instant | None
    email: str | None
    is_verified: bool
    passkeys: Sequence[Passkey]
    totps: Sequence[Totp]
    codes_left: int
    codes: int
    devices: Sequence[TrustedDevice]
    # Running sessions, this one among them, and apps that have access without one.
    active: int

    @property
    def others(self) -> int:
        return self.active - 1


@dataclass(frozen=True, slots=True)
class Changed:
    """What was changed at one instant: factors as (kind, name) each."""

    added: Sequence[tuple[str, str]] = ()
    removed: Sequence[tuple[str, str]] = ()
    renamed: Sequence[tuple[str, str]] = ()
    # Of trusted devices, the new names, and those that are trusted no more.
    named: Sequence[str] = ()
    devices: Sequence[str] = ()
    # Browsers in which they do not stay signed in any more.
    browsers: Sequence[str] = ()
    # Whether the other devices were signed out with it.
    has_signed_out: bool = False
    has_new_password: bool = False

    @property
    def anything(self) -> bool:
        factors = (self.added, self.removed, self.renamed)
        return self.has_new_password or any((*factors, self.named, self.devices, self.browsers))

    @property
    def passkeys(self) -> bool:
        """Whether authenticators should be told of a removed or renamed passkey."""
        return any(kind == "passkey" for kind, _ in [*self.removed, *self.renamed])


def overview(unit: UnitOfWork, visitor: Visitor) -> Overview:
    """What protects the account of a visitor."""
    user = unit.orm.get_one(User, visitor.user.id)
    able = factors.enrolled(unit, user.id)
    mine = passkeys.of(unit, user.id)
    apps = totp.of(unit, user.id)
    left = recovery_codes.left(unit, user.id)
    return Overview(
        strength=_strength(able),
        advice=_advice(able, mine, apps, left),
        has_password="password" in able,
        has_second=factors.has_second(able),
        password_changed_at=user.password_changed_at,
        email=user.email,
        is_verified=bool(user.email_verified),
        passkeys=mine,
        totps=apps,
        codes_left=left,
        codes=recovery_codes.COUNT,
        devices=trusted_devices.of(unit, user.id),
        active=1 + factor_changes.others(unit, visitor),
    )


def changed_at(unit: UnitOfWork, visitor: Visitor, at: Instant, what: str | None) -> Changed:
    """What the visitor changed at an instant; nothing for one that is long past, or is not theirs.

    `what` is "password" where the page for it sent the browser here.
    """
    since = unit.now - CHANGE_SHOWN
    is_new = what == "password" and (visitor.user.password_changed_at or 0) > since
    if at <= since:
        return Changed(has_new_password=is_new)
    rows = [
        row
        for row in events.newest(unit, user_id=visitor.user.id, limit=_EVENTS_READ)
        if row.at == at
    ]

    def factors_of(kind: str) -> list[tuple[str, str]]:
        return [(row.data["kind"], row.data["name"]) for row in rows if row.type == kind]

    return Changed(
        added=factors_of("factor.added"),
        removed=factors_of("factor.removed"),
        renamed=factors_of("factor.renamed"),
        named=[row.data["device"] for row in rows if row.type == "device.renamed"],
        devices=[row.data["device"] for row in rows if row.type == "device.forgotten"],
        browsers=[row.data["browser"] for row in rows if row.type == "remember.forgotten"],
        has_signed_out=any(row.type == "user.signed_out_everywhere" for row in rows),
        has_new_password=is_new,
    )


def signal(unit: UnitOfWork, visitor: Visitor, shown: Overview) -> dict[str, Any]:
    """What a browser tells its authenticators, so that they offer no passkey we do not take.

    Suspended ones are in it: they can still be seen here, and are the person's to remove.
    """
    user = visitor.user
    name = queries.claims_of(unit, user).get("name")
    return {
        "rpId": passkeys.rp_id(unit.settings),
        "userId": base64.urlsafe_b64encode(user.id.encode()).rstrip(b"=").decode(),
        "accepted": [one.credential_id for one in shown.passkeys],
        "name": user.username,
        "displayName": name if isinstance(name, str) and name else user.username,
    }


def _strength(able: dict[str, str]) -> Strength:
    if assurance.reaches(able.get("passkey", "aal1"), "aal2"):
        return "passkey"
    return "two_steps" if factors.has_second(able) else "password"


def _advice(
    able: dict[str, str], mine: Sequence[Passkey], apps: Sequence[Totp], left: int
) -> Advice | None:
    """The one thing most worth doing, if there is one."""
    usable = [one for one in mine if one.suspended_at is None]
    if len(usable) < len(mine):
        return "remove_suspended"
    if not factors.has_second(able):
        return "add_passkey"
    if not usable:
        return "add_passkey_too"
    if "password" not in able:
        # Codes stand in for a second proof, beside a password: here only another passkey helps.
        return "add_spare" if len(usable) == 1 else None
    if left == 0:
        return "make_codes"
    if left <= FEW_CODES:
        return "few_codes"
    return "add_spare" if len(usable) == 1 and not apps else None

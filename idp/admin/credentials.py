"""What people prove themselves with, over the management API: seen, taken away, sent a way back.

Never a secret, and never a link: whoever could read one here could sign in as somebody else. What is
taken away is told to its owner by mail (`idp.notify.notices`). Specs: OWASP ASVS 5.0 sections 6.4.4
and 6.4.6.
"""

from typing import Literal

from idp.admin import access
from idp.admin.operation import Call, Operation
from idp.admin.outcomes import AppTold, apps_told
from idp.admin.schemas import Because, Model, Moment, Reason, moment, moment_or_none
from idp.notify import mailed_links
from idp.sessions import accounts
from idp.users import passkeys, recovery_codes, totp, trusted_devices
from idp.users.model import User


class Factor(Model):
    """Something somebody proves themselves with, or a browser they trust."""

    kind: Literal["passkey", "totp", "trusted_device"]
    id: str
    name: str
    created_at: Moment
    last_used_at: Moment | None
    suspended_at: Moment | None


class Factors(Model):
    """Everything somebody has besides a password."""

    items: list[Factor]
    recovery_codes_left: int


class FactorRemoval(Model):
    """Why a factor is removed."""

    reason: Reason


class FactorsReset(Model):
    """What setting back somebody's factors took away."""

    factors_removed: int
    devices_forgotten: int
    sessions_ended: int
    apps: list[AppTold]


class LinkSent(Model):
    """A link is on its way to this address; nobody else sees it."""

    email: str
    expires_in: int


def list_factors(call: Call, _: None) -> Factors:
    """List somebody's passkeys, code generators and trusted devices; never a secret."""
    user = call.unit.orm.get(User, call.params["id"])
    if user is None:
        raise access.no_such_user()
    return _described(call, user)


def remove_factor(call: Call, _: FactorRemoval) -> Factors:
    """Remove one factor; what it proved in running sessions counts for the lowest level."""
    user = access.person_below(call, call.params["id"])
    accounts.remove_factor(call.unit, user, call.params["factor_id"], call.actor)
    call.unit.flush()
    return _described(call, user)


def reset_factors(call: Call, _: Because) -> FactorsReset:
    """Remove every second factor of somebody who lost theirs; ends all their sessions."""
    user = access.person_below(call, call.params["id"])
    reset = accounts.reset_factors(call.unit, user, call.actor)
    call.unit.flush()
    return FactorsReset(
        factors_removed=reset.removed,
        devices_forgotten=reset.devices_forgotten,
        sessions_ended=len(reset.ended),
        apps=apps_told(call.unit, reset.ended),
    )


def send_password_link(call: Call, _: Because) -> LinkSent:
    """Mail somebody a link to set a new password; it opens no session and spares no factor."""
    user = access.person_below(call, call.params["id"])
    email = access.require_mailable(call, user, "reset_password")
    mailed_links.mail_reset(call.unit, user, language=None, actor=call.actor)
    return LinkSent(email=email, expires_in=call.unit.settings.links.reset)


def send_email_verification(call: Call, _: None) -> LinkSent:
    """Mail somebody a link by which they confirm their address."""
    user = access.person_below(call, call.params["id"])
    email = access.require_mailable(call, user, "verify_email")
    mailed_links.mail_verification(call.unit, user, email, language=None, actor=call.actor)
    return LinkSent(email=email, expires_in=call.unit.settings.links.verify)


def _described(call: Call, user: User) -> Factors:
    unit = call.unit
    items = [
        Factor(
            kind="passkey",
            id=one.id,
            name=one.name,
            created_at=moment(one.created_at),
            last_used_at=moment_or_none(one.last_used_at),
            suspended_at=moment_or_none(one.suspended_at),
        )
        for one in passkeys.of(unit, user.id)
    ]
    items += [
        Factor(
            kind="totp",
            id=one.id,
            name=one.name,
            created_at=moment(one.created_at),
            last_used_at=moment_or_none(one.last_used_at),
            suspended_at=None,
        )
        for one in totp.of(unit, user.id)
    ]
    items += [
        Factor(
            kind="trusted_device",
            id=one.id,
            name=one.name,
            created_at=moment(one.created_at),
            last_used_at=moment(one.last_used_at),
            suspended_at=None,
        )
        for one in trusted_devices.of(unit, user.id)
    ]
    return Factors(items=items, recovery_codes_left=recovery_codes.left(unit, user.id))


OPERATIONS = (
    Operation(
        method="GET", path="/users/{id}/factors", scope="users:read", carry_out=list_factors,
        gives=Factors,
    ),
    Operation(
        method="DELETE", path="/users/{id}/factors/{factor_id}", scope="credentials:write",
        carry_out=remove_factor, takes=FactorRemoval, gives=Factors, proof="fresh",
    ),
    Operation(
        method="POST", path="/users/{id}/factors/reset", scope="credentials:write",
        carry_out=reset_factors, takes=Because, gives=FactorsReset, proof="fresh",
    ),
    Operation(
        method="POST", path="/users/{id}/password-link", scope="credentials:write",
        carry_out=send_password_link, takes=Because, gives=LinkSent, proof="fresh",
    ),
    Operation(
        method="POST", path="/users/{id}/email-verification", scope="credentials:write",
        carry_out=send_email_verification, gives=LinkSent,
    ),
)  # fmt: skip

"""Links that travel by mail: made, and owed as mail, in one transaction.

Owns which page a link leads to, how long it is good, and which message carries it. What a link is
worth is `idp.users.links`; what a mail looks like is `idp.notify.messages`.
"""

from urllib.parse import urlencode

from idp.events.actor import Actor
from idp.notify import messages
from idp.settings import Settings
from idp.storage.unit_of_work import UnitOfWork
from idp.users import links
from idp.users.links import Purpose
from idp.users.model import User

RESET = "/recover/reset"
VERIFY = "/verify-email"
INVITATION = "/invitation"
SET_UP = "/setup"
_PAGES: dict[Purpose, str] = {
    "reset_password": RESET,
    "verify_email": VERIFY,
    "invitation": INVITATION,
    "set_up": SET_UP,
}
# Mails that one person is sent within an hour, whoever asks for them.
MOST_AN_HOUR = 3


def address(settings: Settings, purpose: Purpose, token: str) -> str:
    """Where the link of a token leads."""
    return f"{settings.issuer}{_PAGES[purpose]}?{urlencode({'token': token})}"


def reset_link(unit: UnitOfWork, user: User, *, actor: Actor) -> str:
    """A link by which a person sets a new password, not mailed; gives its address."""
    token = links.make(
        unit,
        purpose="reset_password",
        user_id=user.id,
        lifetime_seconds=unit.settings.links.reset,
        actor=actor,
    )
    return address(unit.settings, "reset_password", token)


def mail_reset(unit: UnitOfWork, user: User, *, language: str | None, actor: Actor) -> None:
    """Mails a reset link to a person who has an address."""
    link = reset_link(unit, user, actor=actor)
    minutes = unit.settings.links.reset // 60
    _owe(unit, user, user.email, "reset_password", language, link=link, minutes=minutes)


def mail_verification(
    unit: UnitOfWork, user: User, email: str, *, language: str | None, actor: Actor
) -> str:
    """Mails a link to `email`, by which the person makes it theirs; gives the link."""
    token = links.make(
        unit,
        purpose="verify_email",
        user_id=user.id,
        lifetime_seconds=unit.settings.links.verify,
        data={"email": email},
        actor=actor,
    )
    link = address(unit.settings, "verify_email", token)
    hours = _hours(unit.settings.links.verify)
    _owe(unit, user, email, "verify_email", language, link=link, hours=hours)
    return link


def mail_invitation(unit: UnitOfWork, user: User, *, language: str | None, actor: Actor) -> str:
    """Mails a link by which a person without a password chooses one; gives the link."""
    token = links.make(
        unit,
        purpose="invitation",
        user_id=user.id,
        lifetime_seconds=unit.settings.links.invitation,
        actor=actor,
    )
    link = address(unit.settings, "invitation", token)
    hours = _hours(unit.settings.links.invitation)
    product = unit.settings.name
    _owe(unit, user, user.email, "invitation", language, link=link, hours=hours, product=product)
    return link


def set_up_link(unit: UnitOfWork, *, actor: Actor) -> str:
    """A link by which the first administrator makes their account; gives its address."""
    token = links.make(
        unit,
        purpose="set_up",
        user_id=None,
        lifetime_seconds=unit.settings.links.set_up,
        actor=actor,
    )
    return address(unit.settings, "set_up", token)


def _owe(
    unit: UnitOfWork,
    user: User,
    to: str | None,
    message: str,
    language: str | None,
    **values: str | int,
) -> None:
    if to is None:
        raise ValueError("a person without an address cannot be mailed to")
    messages.owe(
        unit,
        to=to,
        message=message,
        values=dict(values),
        language=user.locale or language,
        user_id=user.id,
    )


def _hours(seconds: int) -> int:
    return max(1, round(seconds / 3_600))

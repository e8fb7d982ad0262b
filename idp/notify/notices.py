"""Notices: what changes how somebody signs in (ASVS 6.3.7), lets a device in, or signs one out.

Owns which events are told, to which addresses, and what of them. Subscribed to the events by
`idp.app`, so that a notice is owed in the transaction of the change: neither exists without the
other. Security notices cannot be turned off. Somebody without an address gets none.
"""

from typing import Any

from idp.events.catalogue import (
    AccountSecured,
    DeviceTrusted,
    EmailChangeAsked,
    EmailChanged,
    Event,
    FactorAdded,
    FactorRemoved,
    FactorSuspended,
    LimitReached,
    PairingConsumed,
    PairingReported,
    PasswordChanged,
    RecoveryCodesMade,
    RecoveryCodeUsed,
    RememberCopied,
)
from idp.notify import messages
from idp.sessions import queries as sessions
from idp.sessions.model import Session
from idp.sessions.place import UNKNOWN
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable
from idp.users import queries as users
from idp.users.model import User

# The message each event becomes; an address that changed is told by two.
_MESSAGES: dict[type[Event], str] = {
    PasswordChanged: "password_changed",
    EmailChanged: "email_changed",
    EmailChangeAsked: "email_change_asked",
    FactorAdded: "factor_added",
    FactorRemoved: "factor_removed",
    FactorSuspended: "factor_suspended",
    RecoveryCodesMade: "recovery_codes_made",
    RecoveryCodeUsed: "recovery_code_used",
    DeviceTrusted: "device_trusted",
    RememberCopied: "remember_copied",
    LimitReached: "signed_out_by_limit",
    PairingConsumed: "device_let_in",
    PairingReported: "request_reported",
    AccountSecured: "account_secured",
}
TOLD = tuple(_MESSAGES)


def tell(unit: UnitOfWork, event: Event) -> None:
    """Owes the notice of one of the events in `TOLD`."""
    user = users.by_id(unit, event.user_id) if event.user_id is not None else None
    if user is None or (isinstance(event, LimitReached) and not _is_news(unit, event)):
        return
    values = _circumstances(unit, event) | _particulars(unit, event)
    if user.email is not None:
        _owe(unit, event, user, to=user.email, message=_MESSAGES[type(event)], values=values)
    if isinstance(event, EmailChanged) and event.previous is not None:
        # Whoever took over an account would change the address first: the owner reads the old one.
        previous = unit.vault.open_text(event.previous, f"email.changed:{user.id}")
        _owe(unit, event, user, to=previous, message="email_left", values=values)


def _is_news(unit: UnitOfWork, event: LimitReached) -> bool:
    """Whether a rule signed somebody out for a browser that nobody had seen them in.

    Whoever chose knows. Whoever goes back and forth between browsers of theirs is spared a letter
    each time; a stranger comes with one that is new.
    """
    session = unit.orm.get(Session, event.session_id) if event.session_id is not None else None
    if session is None or event.at_limit != "end_oldest":
        return False
    return not sessions.was_here_before(unit, session)


def _owe(
    unit: UnitOfWork, event: Event, user: User, *, to: str, message: str, values: dict[str, Any]
) -> None:
    messages.owe(
        unit,
        to=to,
        message=message,
        values=values,
        language=user.locale,
        user_id=user.id,
        event_id=event.event_id,
    )


def _circumstances(unit: UnitOfWork, event: Event) -> dict[str, Any]:
    """When, where and by whom, as far as it is known."""
    device, ip, place = None, event.ip, UNKNOWN
    session_id = event.session_id
    if session_id is None and event.actor == "user":
        session_id = event.actor_id
    if session_id is not None and event.user_id is not None:
        session = sessions.one_of(unit, event.user_id, session_id)
        if session is not None:
            try:
                details = sessions.details(unit, session)
            except Unreadable:  # a notice without a place is better than a change that fails
                details = None
            if details is not None:
                # Not the name the person gave it, which might be a stranger's by now.
                device, ip = details.default_label, ip or details.ip
                # Of the address that is named, which may be another than where it was begun.
                place = details.place if ip == details.ip else UNKNOWN
    return {
        "at": unit.now,
        "device": device,
        "ip": ip,
        "city": place.city,
        "country": place.country,
        "actor": event.actor,
    }


def _particulars(unit: UnitOfWork, event: Event) -> dict[str, Any]:
    if isinstance(event, FactorAdded | FactorRemoved | FactorSuspended):
        return {"kind": event.kind, "name": event.name}
    if isinstance(event, RecoveryCodesMade):
        return {"count": event.count}
    if isinstance(event, RecoveryCodeUsed):
        return {"left": event.left}
    if isinstance(event, RememberCopied):
        return {"browser": event.browser}
    if isinstance(event, AccountSecured):
        return event.data()
    if isinstance(event, LimitReached):
        return {"limit": event.limit, "ended": event.ended}
    if isinstance(event, DeviceTrusted):
        days = unit.settings.assurance.trusted_device_days
        return {"trusted": event.device, "days": days}
    if isinstance(event, PairingConsumed):
        return {"kind": event.kind, "name": event.device}
    if isinstance(event, PairingReported):
        # The address is that of whoever asked, so no device of the person stands beside it.
        return {"device": None}
    return {}

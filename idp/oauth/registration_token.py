"""Registration access tokens: by which an app manages what it registered (RFC 7592 section 3).

Every update gives a new one, by the rule of refresh tokens: the token that was replaced is good while
its successor was not seen, and for `GRACE` at most, so that an answer that was lost locks nobody out.
It then gives the same successor: of two who hold it none gets one of their own. Whenever else it comes
back there is a copy, of it or of its successor, and neither is good any more. Older ones are unknown.

Kept are digests; of the newest the token itself, sealed, until it is seen.
"""

import hmac
from dataclasses import dataclass

from idp import ids
from idp.clock import MINUTE, Duration
from idp.events.catalogue import RegistrationReuseDetected
from idp.oauth import clients
from idp.oauth.model import Client
from idp.oauth.userinfo import BearerError
from idp.storage.columns import LOCKED
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Unreadable

PREFIX = "idp_reg_"
GRACE: Duration = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Held:
    """An app that is managed now, and whether that is by a token that was replaced."""

    client: Client
    is_again: bool


def is_of(client: Client, token: str) -> bool:
    """Whether this is, or was just before, the token of an app that may manage itself."""
    if client.registration_hash is None or client.disabled_at is not None:
        return False
    known = (client.registration_hash, client.previous_registration_hash or "")
    return any(hmac.compare_digest(ids.digest(token), one) for one in known)


def held(unit: UnitOfWork, client_id: str, token: str) -> Held | None:
    """The app of this id, held until the end of the unit, if this is a good token for it.

    Raises `BearerError`; an app that is not there is as unknown as another's. None: there is a copy,
    which was written down, so the unit must be committed.
    """
    client = unit.orm.get(Client, client_id, with_for_update=LOCKED)
    if client is None or not is_of(client, token):
        raise invalid()
    if _is_newest(client, token):
        client.unseen_registration_token = None
        return Held(client, is_again=False)
    if client.registration_rotated_at is None:
        # Replaced by a version that did not write down when: refused, and no sign of a copy.
        raise invalid()
    is_unseen = client.unseen_registration_token is not None
    if is_unseen and unit.now < client.registration_rotated_at + GRACE:
        if not _is_newest(client, unseen(unit, client)):
            # Replaced once more by a version that does not write that down, or sealed with a key that
            # was dropped: nothing to give, and no sign of a copy.
            raise invalid()
        return Held(client, is_again=True)
    clients.forget_registration(client)
    unit.record(RegistrationReuseDetected(client_id=client.id))
    return None


def first(client: Client) -> str:
    """The token of an app that has just registered."""
    token = PREFIX + ids.new_secret()
    client.registration_hash = ids.digest(token)
    return token


def following(unit: UnitOfWork, client: Client) -> str:
    """The token that replaces the present one."""
    client.previous_registration_hash = client.registration_hash
    token = first(client)
    client.unseen_registration_token = unit.vault.seal_text(token, _context(client))
    client.registration_rotated_at = unit.now
    return token


def unseen(unit: UnitOfWork, client: Client) -> str:
    """The newest token, for whoever was given it and may not have got it; "" when it cannot be read."""
    try:
        return unit.vault.open_text(client.unseen_registration_token or "", _context(client))
    except Unreadable:
        return ""


def _is_newest(client: Client, token: str) -> bool:
    return hmac.compare_digest(ids.digest(token), client.registration_hash or "")


def invalid() -> BearerError:
    """What whoever has no good token is told, whyever it is none."""
    return BearerError(401, "invalid_token", "The token is not valid here.")


def _context(client: Client) -> str:
    return f"registration:{client.id}"

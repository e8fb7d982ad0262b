"""Messages owed to people, each in the transaction of its cause.

Owns which messages there are, what is kept of one until it is sent, and how often somebody gets the
same one. The address, the values and so the links are sealed: whoever reads the database gets
nothing that can be used. The receiver of the delivery is a keyed digest of the address. A letter is
written when it is sent (`idp.notify.channel`).
"""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select

from idp import ids
from idp.clock import HOUR
from idp.events import delivery
from idp.events.delivery import Claimed
from idp.events.model import DELIVERED, GIVEN_UP, OWED, Delivery
from idp.notify import letters
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault

CHANNEL = "mail"
AN_HOUR_AT_MOST = 10
MESSAGES = frozenset(
    {
        "reset_password", "verify_email", "invitation",
        "password_changed", "email_change_asked", "email_changed", "email_left",
        "factor_added", "factor_removed", "factor_suspended",
        "recovery_codes_made", "recovery_code_used", "device_trusted", "remember_copied",
        "signed_out_by_limit", "device_let_in", "request_reported", "account_secured",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owed:
    """A message as it was owed, opened."""

    message: str
    to: str
    values: dict[str, Any]
    language: str


def owe(
    unit: UnitOfWork,
    *,
    to: str,
    message: str,
    values: dict[str, Any],
    language: str | None,
    user_id: str | None,
    event_id: str | None = None,
) -> None:
    """Owes one letter to the address `to`, in the unit's transaction.

    `event_id` is the event behind it, if there is one. The eleventh of the same kind to the same
    address within an hour is left out, without a sign: whoever asks for it learns nothing.
    """
    if message not in MESSAGES:
        raise ValueError(f"there is no message {message!r}")
    receiver = _receiver(unit.vault, to)
    if _sent_lately(unit, receiver, message) >= AN_HOUR_AT_MOST:
        return
    event_id = event_id or ids.new("evt")
    content = {"to": to, "values": values, "language": letters.choose(language)}
    sealed = unit.vault.seal_text(orjson.dumps(content).decode(), _context(event_id, receiver))
    delivery.owe(
        unit,
        [receiver],
        event_id=event_id,
        channel=CHANNEL,
        session_id=None,
        payload={"message": message, "user_id": user_id, "sealed": sealed},
    )


def opened(vault: Vault, claimed: Claimed) -> Owed:
    """What is owed; raises `Unreadable` when the key it was sealed with is gone."""
    context = _context(claimed.event_id, claimed.receiver)
    content = orjson.loads(vault.open_text(claimed.payload["sealed"], context))
    return Owed(
        message=claimed.payload["message"],
        to=content["to"],
        values=content["values"],
        language=content["language"],
    )


def _receiver(vault: Vault, address: str) -> str:
    # However it is spelled: capitals must not make another receiver to be counted.
    return vault.mac(address.strip().casefold().encode(), "mail receiver").hex()


def _context(event_id: str, receiver: str) -> str:
    return f"deliveries.payload:{event_id}:{receiver}"


def _sent_lately(unit: UnitOfWork, receiver: str, message: str) -> int:
    """How many of this message were owed to the receiver within the last hour."""
    payloads = unit.connection.scalars(
        select(Delivery.payload).where(
            # An attempt is never due before its delivery was made: these two lines are for the
            # index, so that only the last hour is read; what is asked stands below.
            Delivery.state.in_((OWED, DELIVERED, GIVEN_UP)),
            Delivery.next_attempt_at > unit.now - HOUR,
            Delivery.channel == CHANNEL,
            Delivery.receiver == receiver,
            Delivery.created_at > unit.now - HOUR,
        )
    )
    return sum(payload["message"] == message for payload in payloads)

"""The sealed part of a pairing: its codes as they are shown, and the device that asks.

Sealed, because whoever reads the database must get no code, and addresses and places are people's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from idp.sessions import place
from idp.sessions.device import Visit
from idp.sessions.model import Pairing
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Details:
    """The codes (`qr` is what stands in a QR code of ours), the asking device, and what it asks for.

    `onward` says where its browser goes on, `wish` what its person wished when they approved.
    """

    user_code: str
    qr: str | None = None
    asker: Visit | None = None
    onward: Mapping[str, str] = field(default_factory=dict)
    wish: str | None = None


def sealed(vault: Vault, pairing_id: str, details: Details) -> str:
    """The details as they are stored."""
    values = {
        "user_code": details.user_code,
        "qr": details.qr,
        "asker": _stored(details.asker) if details.asker is not None else None,
        "onward": dict(details.onward),
        "wish": details.wish,
    }
    return vault.seal_text(orjson.dumps(values).decode(), _context(pairing_id))


def of(unit: UnitOfWork, pairing: Pairing) -> Details:
    """The details of a pairing."""
    opened = unit.vault.open_text(pairing.details, _context(pairing.id))
    values: dict[str, Any] = orjson.loads(opened)
    asker = values.pop("asker")
    return Details(**values, asker=_restored(asker) if asker is not None else None)


def _stored(asker: Visit) -> dict[str, Any]:
    at = asker.place
    return {
        "ip": asker.ip,
        "agent": asker.agent,
        "hints": dict(asker.hints),
        "place": [place.sealed(at), at.country, at.asn],
    }


def _restored(values: dict[str, Any]) -> Visit:
    """The asking device as it was, where it was then."""
    kept, country, asn = values.pop("place")
    at = place.restored(kept, country=country, asn=asn)
    return Visit(**values, locate=lambda _: at)


def _context(pairing_id: str) -> str:
    return f"pairing:{pairing_id}"

"""How near two devices seem to be that are to share a sign-in (RFC 10027, establish proximity).

Pure. An address says little: a phone on its mobile network is "elsewhere" beside the laptop it lies
on. So a relation is shown to the person who decides, and rules ask for more where it is far.
"""

from typing import Literal

from idp.policy.selection import Subject

Relation = Literal["same_network", "other_network", "other_country", "unknown"]

_MAPPED = "0" * 20 + "ffff"
_NETWORK_OF_SIX = 16  # hexadecimal digits of a /64, which is what one household is given


def relation(asker: Subject, approver: Subject) -> Relation:
    """How two devices stand to each other by their addresses and, where known, their countries."""
    if asker.address is None or approver.address is None:
        return "unknown"
    if _network(asker.address) == _network(approver.address):
        return "same_network"
    if asker.country and approver.country and asker.country != approver.country:
        return "other_country"
    return "other_network"


def _network(address: str) -> str:
    return address if address.startswith(_MAPPED) else address[:_NETWORK_OF_SIX]

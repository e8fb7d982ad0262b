"""What rules are chosen by: of a session that was read, whatever read it, and of one that begins."""

from collections.abc import Iterable
from typing import Protocol

from idp.policy import network
from idp.policy.selection import Subject
from idp.sessions.device import Device, Visit, describe
from idp.sessions.place import Place


class Placed(Protocol):
    """What a session knows of its device and of where it was begun."""

    @property
    def device_type(self) -> str: ...
    @property
    def address(self) -> str | None: ...
    @property
    def asn(self) -> int | None: ...
    @property
    def country(self) -> str | None: ...


def subject(session: Placed, roles: Iterable[str], client_id: str | None = None) -> Subject:
    """The subject of a session, of a person with `roles`, as far as an app is concerned."""
    return Subject(
        roles=tuple(roles),
        client_id=client_id,
        device_type=session.device_type,
        address=session.address,
        asn=session.asn,
        country=session.country,
    )


def arriving(device: Device, ip: str | None, place: Place, roles: Iterable[str]) -> Subject:
    """The subject of somebody with `roles` who signs in: the device, the address, and its place."""
    return Subject(
        roles=tuple(roles),
        device_type=device.type,
        address=network.key(ip),
        asn=place.asn,
        country=place.country,
    )


def visiting(visit: Visit, roles: Iterable[str] = ()) -> Subject:
    """The subject of somebody with `roles`, or of anybody, as they visit a page."""
    return arriving(describe(visit), visit.ip, visit.place, roles)

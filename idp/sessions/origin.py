"""Where a session came from, when nobody signed in with its browser: another device of its person.

Owns what such a session has that others have not: who let it in, its name, how long it may last.
"""

from dataclasses import dataclass, replace
from typing import Literal

from idp.clock import Duration
from idp.sessions.device import Device

Kind = Literal["browser", "device", "handoff"]


@dataclass(frozen=True, slots=True)
class Origin:
    """`device` is an app's (RFC 8628), `handoff` a browser's that another device let in.

    `parent_id` is the session it ends with; `via` names the device that approved it and `approver_id`
    its session. `label` and `device_type` stand in for what a browser would say of itself; `longest`
    makes it temporary.
    """

    kind: Kind = "browser"
    parent_id: str | None = None
    via: str | None = None
    approver_id: str | None = None
    label: str | None = None
    device_type: str | None = None
    longest: Duration | None = None

    def naming(self, device: Device) -> Device:
        """The device as it is listed."""
        return replace(
            device, label=self.label or device.label, type=self.device_type or device.type
        )


BROWSER = Origin()

"""Who does something, as every event records it.

It stands this low so that users, sessions and the protocol can all name their actor.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: "user", "admin", "client" or "system", and which one."""

    kind: str
    id: str | None = None


# What happens by time or by rule, with nobody behind it.
SYSTEM = Actor("system")

"""Where a forked server is told to die. Installed in the child before it serves; the product knows
nothing of it.
"""

from typing import Any

from idp.work import dispatch


def install(doom: dict[str, Any]) -> None:
    """Does what the order says: shorter leases for now."""
    if "lease_seconds" in doom:
        dispatch.LEASE_BEYOND_TIMEOUT = int(doom["lease_seconds"] * 1_000_000)

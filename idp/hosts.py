"""What the name of a host says by itself, without asking anybody."""

import ipaddress


def is_loopback_host(host: str) -> bool:
    """Whether a host name or IP literal can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

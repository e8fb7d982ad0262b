"""The address a request came from, behind proxies or not (OP-01).

`X-Forwarded-For` is written by whoever likes to: only what our own proxies added is believed. From
the right, the first hop that is not a trusted proxy is the client; anything further left is its own
claim. A hop that is no address means the chain cannot be followed, and the peer is all we know.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WITH_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?")


def networks(blocks: Iterable[str]) -> tuple[Network, ...]:
    """The trusted networks of the settings, parsed once."""
    return tuple(ipaddress.ip_network(block) for block in blocks)


def client_address(
    peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]
) -> str | None:
    """The client's address; `forwarded` are the values of X-Forwarded-For in order of arrival.

    None when the peer has no address (a Unix socket): then nothing is believed.
    """
    address = _parsed(peer or "")
    if address is None:
        return None
    if not _within(address, trusted):
        return str(address)
    hops = [hop for value in forwarded for hop in value.split(",")]
    furthest = address
    for hop in reversed(hops):
        parsed = _parsed(hop.strip())
        if parsed is None:
            return str(address)
        furthest = parsed
        if not _within(parsed, trusted):
            break
    return str(furthest)


def _within(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parsed(text: str) -> Address | None:
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match["six"] or match["four"]
    elif "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

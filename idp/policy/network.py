"""Addresses and networks as rules, lists and searches compare them.

Pure. Every address is one of 128 bits, an IPv4 address as `::ffff:a.b.c.d` (RFC 4291 section
2.5.5.2), so that one column and one comparison serve both.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED = 0xFFFF << 32
_MAPPED_KEY = f"{_MAPPED:032x}"[:24]


def number(address: str) -> int | None:
    """The 128-bit number of an address; None when it is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return int(parsed) | _MAPPED if parsed.version == 4 else int(parsed)


@lru_cache(maxsize=4_096)
def key(address: str | None) -> str | None:
    """An address as 32 hexadecimal digits, which sort as addresses do; None when it is none."""
    found = number(address) if address is not None else None
    return f"{found:032x}" if found is not None else None


def parsed(text: str) -> Network | None:
    """A network in CIDR notation, or a single address; None when it is neither.

    Bits behind the prefix make it refused: "10.0.0.1/8" is a slip of somebody who meant one of two.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


@lru_cache(maxsize=4_096)
def spans(network: Network) -> tuple[tuple[str, str], ...]:
    """The keys of the first and the last address of a network, in one stretch or in two.

    Whoever writes `::/0` means IPv6, though the number of every IPv4 address lies in it: they are
    left out of whatever is wider than all of them.
    """
    first, last = _ends(network)
    if network.version == 4:
        return (_keys(first | _MAPPED, last | _MAPPED),)
    if network.prefixlen < 96 and first <= _MAPPED <= last:
        return _keys(first, _MAPPED - 1), _keys(_MAPPED + (1 << 32), last)
    return (_keys(first, last),)


def counted_as(address_key: str | None) -> str | None:
    """What is one address where addresses are counted: IPv4 whole, IPv6 by /64, which is what one
    person is given; None when it is unknown."""
    if address_key is None or address_key.startswith(_MAPPED_KEY):
        return address_key
    return address_key[:16]


def are_covered(networks: Iterable[Network], by: Iterable[Network]) -> bool:
    """Whether every address of some networks lies in one of the others."""
    covering = sorted((one.version, *_ends(one)) for one in by)
    for network in networks:
        first, last = _ends(network)
        for version, low, high in covering:
            if version == network.version and low <= first <= high:
                first = high + 1
        if first <= last:
            return False
    return True


def contains(network: Network, address_key: str | None) -> bool:
    """Whether the address with this key lies in a network; an unknown one lies in none."""
    if address_key is None:
        return False
    return any(first <= address_key <= last for first, last in spans(network))


def _keys(first: int, last: int) -> tuple[str, str]:
    return f"{first:032x}", f"{last:032x}"


def _ends(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)

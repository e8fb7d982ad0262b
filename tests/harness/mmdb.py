"""Writes small MMDB files, good ones and hostile ones (MaxMind DB File Format Specification 2.0).

Good ones come from networks and records. For hostile ones a record may also be `Raw` bytes of the
data section, and any part of the metadata may be replaced.
"""

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.workbench import NOON

MARKER = b"\xab\xcd\xefMaxMind.com"
# Nodes that lead an IPv4 address through the first 96 bits of a tree of IPv6.
_V4_BITS = 96


@dataclass(frozen=True)
class Raw:
    """Bytes of the data section, as they are."""

    data: bytes


@dataclass(frozen=True)
class Unsigned:
    """A whole number of a kind of its own: 5 is uint16, 6 uint32, 9 uint64, 10 uint128."""

    value: int
    kind: int


def city(
    name: str | None,
    country: str | None,
    *,
    region: str | None = None,
    at: tuple[float, float] | None = None,
    radius: int | None = None,
    **names: str,
) -> dict[str, Any]:
    """A record laid out as MaxMind and DB-IP do; `names` are the city's in other languages."""
    record: dict[str, Any] = {}
    if name is not None:
        record["city"] = {"names": {"en": name, **names}}
    if country is not None:
        record["country"] = {"iso_code": country, "names": {"en": "not read"}}
    if region is not None:
        record["subdivisions"] = [{"names": {"en": region}}]
    if at is not None:
        record["location"] = {"latitude": at[0], "longitude": at[1]}
        if radius is not None:
            record["location"]["accuracy_radius"] = radius
    return record


def network(number: int, name: str) -> dict[str, Any]:
    """A record of an ASN file."""
    return {"autonomous_system_number": number, "autonomous_system_organization": name}


def write(path: Path, records: Mapping[str, Any], **metadata: Any) -> Path:
    """Puts a whole file at `path`, as an atomic rename does."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(made(records, **metadata))
    return fresh.rename(path)


def made(records: Mapping[str, Any], *, ip_version: int = 6, **metadata: Any) -> bytes:
    """The bytes of a file that gives each network (in CIDR) its record.

    Networks must not overlap. `metadata` replaces or adds members; a member of None is left out.
    """
    nodes: list[list[int | str]] = [[-1, -1]]
    for block in records:
        _plant(nodes, ipaddress.ip_network(block), block, ip_version)
    data, places = bytearray(), dict[str, int]()
    for block, record in records.items():
        places[block] = len(data)
        data += encoded(record)
    count = len(nodes)
    tree = b"".join(
        struct.pack(">I", _target(one, count, places)) for node in nodes for one in node
    )
    told = {
        "node_count": Unsigned(count, 6),
        "record_size": Unsigned(32, 5),
        "ip_version": Unsigned(ip_version, 5),
        "database_type": "Test-City",
        "languages": ["en"],
        "binary_format_major_version": Unsigned(2, 5),
        "binary_format_minor_version": Unsigned(0, 5),
        "build_epoch": Unsigned(NOON // 1_000_000, 9),
        "description": {"en": "made by tests"},
        **metadata,
    }
    kept = {name: value for name, value in told.items() if value is not None}
    return tree + bytes(16) + bytes(data) + MARKER + encoded(kept)


def encoded(value: Any) -> bytes:
    """A value of the data section."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, Unsigned):
        return _control(value.kind, (size := (value.value.bit_length() + 7) // 8)) + (
            value.value.to_bytes(size, "big")
        )
    if isinstance(value, bool):
        return _control(14, int(value))
    if isinstance(value, int):
        return encoded(Unsigned(value, 6 if value < 2**32 else 9))
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        parts = (encoded(one) for pair in value.items() for one in pair)
        return _control(7, len(value)) + b"".join(parts)
    return _control(11, len(value)) + b"".join(encoded(one) for one in value)


def pointer(to: int) -> Raw:
    """A pointer to an offset of the data section."""
    return Raw(bytes([0b001_11_000]) + struct.pack(">I", to))


def _control(kind: int, size: int) -> bytes:
    if size < 29:
        short, more = size, b""
    elif size < 285:
        short, more = 29, bytes([size - 29])
    elif size < 65_821:
        short, more = 30, struct.pack(">H", size - 285)
    else:
        short, more = 31, (size - 65_821).to_bytes(3, "big")
    if kind < 8:
        return bytes([kind << 5 | short]) + more
    return bytes([short, kind - 7]) + more


def _plant(nodes: list[list[int | str]], block: Any, name: str, ip_version: int) -> None:
    is_inside = block.version == 4 and ip_version == 6
    number = int(block.network_address)
    width = 128 if ip_version == 6 else 32
    node, length = 0, block.prefixlen + (_V4_BITS if is_inside else 0)
    for depth in range(length):
        bit = number >> (width - 1 - depth) & 1
        if depth == length - 1:
            nodes[node][bit] = name
            return
        following = nodes[node][bit]
        if following == -1:
            nodes.append([-1, -1])
            following = nodes[node][bit] = len(nodes) - 1
        assert isinstance(following, int), "networks overlap"
        node = following


def _target(one: int | str, count: int, places: Mapping[str, int]) -> int:
    if isinstance(one, str):
        return count + 16 + places[one]
    return count if one == -1 else one

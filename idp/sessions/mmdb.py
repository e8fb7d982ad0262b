"""One MMDB file: opened, asked for an address, and what it says of itself.

Owns how a file is read, and that nothing in it can do harm: whatever the reader raises becomes
`Unusable` with a reason in one line. What is read is a copy without a name, mapped into memory: a
mapped file that somebody overwrites in place (`curl -o`, `cp`) ends the process with SIGBUS, one that
is held in memory whole costs as much as everything else we keep, and one that is read piece by piece
gives the other threads the turn at every piece. The copy takes disk and, once a month, a moment. The
reader is the one in Python: it answers within some 15 to 40 µs, its faster sister in C within 2 to 7,
but that would meet in C whatever a third party wrote.

Specs: MaxMind DB File Format Specification 2.0.
"""

import ipaddress
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import maxminddb

from idp.clock import SECOND, Instant
from idp.sessions import place
from idp.sessions.place import Address, Place

# The largest city files that are sold are half of this.
SIZE_MAXIMUM = 2**30
# How much of a file is looked at to see what it gives.
SAMPLES = 64
SAMPLE_STEPS = 4_096
# The year 9999, beyond which no moment can be written.
_LAST_SECOND = 253_402_300_799
_TEXT_MAXIMUM = 200
_DESCRIPTION_MAXIMUM = 2_000


class Unusable(Exception):  # noqa: N818
    """The file cannot be used; `reason` says why in one printable line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attribution:
    """What the licence of a file wants said where its places are shown, and the link of it."""

    text: str
    url: str | None

    @classmethod
    def of(cls, setting: str) -> "Attribution":
        """Text, and behind it the address that it links to, if it has one."""
        text, _, last = setting.strip().rpartition(" ")
        return cls(text, last) if text and last.startswith("https://") else cls(setting, None)


# By what their files are called, inside or outside; the licences of others ask for nothing, or the
# operator says it (`IDP_GEO__ATTRIBUTION`).
_SOURCES = (
    (re.compile(r"db-?ip"), Attribution("IP Geolocation by DB-IP", "https://db-ip.com")),
    (
        re.compile(r"geolite"),
        Attribution(
            "This product includes GeoLite Data created by MaxMind", "https://www.maxmind.com"
        ),
    ),
    (re.compile(r"ipinfo"), Attribution("IP address data powered by IPinfo", "https://ipinfo.io")),
    (re.compile(r"whois"), Attribution("IP address data of the NRO", "https://www.nro.net")),
)


@dataclass(frozen=True, slots=True)
class About:
    """What a file is: who made it and when, the parts of places it gives, for which IP versions."""

    name: str
    kind: str
    built_at: Instant | None
    gives: tuple[str, ...]
    versions: tuple[int, ...]
    attribution: Attribution | None


class GeoFile:
    """An open file; raises `Unusable` when it cannot be opened or read. Close it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._reader = maxminddb.open_database(_copied(path), maxminddb.MODE_MMAP)
        except Unusable:
            raise
        except OSError as error:
            raise Unusable(error.strerror or type(error).__name__) from None
        except Exception:  # whatever a broken file makes a reader raise
            raise Unusable("it is not a whole MMDB file") from None
        metadata = self._reader.metadata()
        if metadata.ip_version not in (4, 6):
            self.close()
            raise Unusable("it is of no version of IP")
        self.ip_version = metadata.ip_version
        self.kind = _printable(metadata.database_type)
        built = metadata.build_epoch
        is_moment = type(built) is int and 0 < built <= _LAST_SECOND
        self.built_at: Instant | None = built * SECOND if is_moment else None
        described = str(metadata.description)[:_DESCRIPTION_MAXIMUM]
        self.attribution = _attribution(f"{self.name} {self.kind} {described}")

    def place(self, address: Address, *, language: str = place.DEFAULT_LANGUAGE) -> Place:
        """What the file says of an address; raises `Unusable` when that part of it is broken."""
        return place.read(self._record(address)[0], language=language)

    def about(self) -> About:
        """What the file is, by a look at its first places.

        Raises `Unusable` at a record that cannot be read.
        """
        gives, versions = set[str](), set[int]()
        for version, known in self._first_places():
            versions.add(version)
            gives |= known.gives
        return About(
            name=self.name,
            kind=self.kind,
            built_at=self.built_at,
            gives=tuple(part for part in place.PARTS if part in gives),
            versions=tuple(sorted(versions)),
            attribution=self.attribution,
        )

    def close(self) -> None:
        """Closes the file; nobody may be asking it."""
        self._reader.close()

    def _first_places(self) -> Iterator[tuple[int, Place]]:
        """Places with the IP version of their addresses, from network to network.

        In the order of addresses, so that it ends however the tree was made.
        """
        for first in (ipaddress.IPv4Address(0), ipaddress.IPv6Address("2000::")):
            at, found = int(first), 0
            for _ in range(SAMPLE_STEPS):
                if first.version > self.ip_version or at >> first.max_prefixlen or found == SAMPLES:
                    break
                record, length = self._record(type(first)(at))
                known = place.read(record)
                if known != place.UNKNOWN:
                    found += 1
                    yield first.version, known
                rest = first.max_prefixlen - length
                at = ((at >> rest) + 1) << rest

    def _record(self, address: Address) -> tuple[object, int]:
        if address.version > self.ip_version:
            return None, 0
        try:
            return self._reader.get_with_prefix_len(address)
        except Exception as error:
            raise Unusable(_said(error)) from None


def _copied(path: Path) -> int:
    """A descriptor of a copy that nobody else can reach; whoever opens it closes it."""
    with path.open("rb") as original, tempfile.TemporaryFile() as copy:
        if os.fstat(original.fileno()).st_size > SIZE_MAXIMUM:
            raise Unusable(f"it is larger than {SIZE_MAXIMUM:,} bytes")
        shutil.copyfileobj(original, copy, 2**20)
        copy.flush()
        return os.dup(copy.fileno())


def _attribution(said: str) -> Attribution | None:
    lower = said.lower()
    return next((one for pattern, one in _SOURCES if pattern.search(lower)), None)


def _said(error: Exception) -> str:
    return _printable(str(error)) or type(error).__name__


def _printable(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(one for one in text[:_TEXT_MAXIMUM] if one.isprintable())

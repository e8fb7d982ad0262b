"""Where an address is, as far as one can tell: approximate, and often unknown (rows G1, S4).

Owns what a place is, which addresses have none, and what the records of MMDB files say in their
several layouts: the nested one of MaxMind and DB-IP, the flat one of npm `@ip-location-db/…-mmdb`,
and what IPinfo calls things. No I/O: the files are `idp.sessions.atlas`. Files are made by third
parties, so nothing in a record is taken on trust: texts are printable and short, numbers in range,
and whatever is otherwise is not there.

A place is a guess for people to read and for rules to lean on, never a proof.
"""

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from babel import Locale, UnknownLocaleError

NAME_MAXIMUM = 80
DEFAULT_LANGUAGE = "en"
# Half the way around the world.
ACCURACY_MAXIMUM = 20_038
# RFC 6793.
ASN_MAXIMUM = 2**32 - 1
_COUNTRY = re.compile(r"[A-Z]{2}")
# ISO 3166 leaves these to everybody; files use them for "we do not know".
_NO_COUNTRY = frozenset({"ZZ", "XX", "AA", "QQ"})
_AS_NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})")

_NETWORK_NAMES = ("autonomous_system_organization", "as_organization", "as_name", "isp")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of these no place can be said, whatever a file says. Documentation blocks are not among them: no
# visitor comes from there, and examples and tests do.
_NOWHERE_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_SOMEWHERE_V6 = ipaddress.IPv6Network("2000::/3")
# Teredo and 6to4 say where a relay is.
_NOWHERE_V6 = (ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("2002::/16"))


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of where an address is; each part may be unknown.

    `country` is ISO 3166-1 alpha-2, coordinates are WGS 84 degrees, `accuracy_km` the radius the
    file gives them. `asn` is the number of the network's autonomous system, `network` its name.
    """

    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    accuracy_km: int | None = None
    asn: int | None = None
    network: str | None = None

    @property
    def gives(self) -> frozenset[str]:
        """The names of the parts that are known."""
        return frozenset(name for name in PARTS if getattr(self, name) is not None)


UNKNOWN = Place()
# What a session keeps sealed of its place; the other parts are columns, for searching.
_SEALED = ("region", "city", "latitude", "longitude", "accuracy_km", "network")
PARTS = tuple(field.name for field in fields(Place))


def located(address: str | None) -> Address | None:
    """The address a place may be known of; None for what is private, reserved or no address."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            is_somewhere = parsed in _SOMEWHERE_V6 and not any(parsed in b for b in _NOWHERE_V6)
            return parsed if is_somewhere and parsed.scope_id is None else None
        parsed = parsed.ipv4_mapped
    return None if any(parsed in block for block in _NOWHERE_V4) else parsed


def merged(places: Iterable[Place]) -> Place:
    """One place out of what several files say of one address, the preferred file first.

    Country, region, city and coordinates come from one file, the one that knows most: half of one
    guess and half of another would be a place that nobody named.
    """
    found = list(places)
    if not found:
        return UNKNOWN
    best = max(found, key=_detail)
    network = next((one for one in found if one.asn or one.network), UNKNOWN)
    return replace(best, asn=network.asn, network=network.network)


def read(record: object, *, language: str = DEFAULT_LANGUAGE) -> Place:
    """What a record of any layout says; names in `language` where the file has them."""
    if not isinstance(record, Mapping):
        return UNKNOWN
    location = record.get("location")
    latitude, longitude, accuracy = _coordinates(
        location if isinstance(location, Mapping) else record
    )
    country = record.get("country")
    subdivisions = record.get("subdivisions")
    largest = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None
    city = record.get("city")
    return Place(
        country=_country(country.get("iso_code") if isinstance(country, Mapping) else country)
        or _country(record.get("country_code")),
        region=_name(largest, language) or _text(_first(record, "state1", "region")),
        city=_name(city, language) or _text(city),
        latitude=latitude,
        longitude=longitude,
        accuracy_km=accuracy,
        asn=_as_number(_first(record, "autonomous_system_number", "as_number", "asn")),
        network=_text(_first(record, *_NETWORK_NAMES)),
    )


def sealed(place: Place) -> dict[str, Any] | None:
    """What of a place is kept in the sealed part of a session; None when nothing is known."""
    if not place.gives:
        return None
    return {name: getattr(place, name) for name in _SEALED}


def restored(kept: Mapping[str, Any] | None, *, country: str | None, asn: int | None) -> Place:
    """The place of a session out of its sealed part and its columns."""
    return Place(country=country, asn=asn, **{name: (kept or {}).get(name) for name in _SEALED})


def country_name(code: str, *, language: str) -> str:
    """What a country is called in a language (CLDR); its code when it has no name."""
    try:
        named: str = Locale.parse(language, sep="-").territories.get(code, code)
    except (UnknownLocaleError, ValueError):
        return code
    return named


def _detail(place: Place) -> tuple[bool, bool, bool]:
    return place.city is not None, place.region is not None, place.country is not None


def _first(record: Mapping[Any, Any], *names: str) -> object:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _name(named: object, language: str) -> str | None:
    """The name of something that has one in several languages."""
    names = named.get("names") if isinstance(named, Mapping) else None
    if not isinstance(names, Mapping):
        return None
    wished = (language, language.partition("-")[0], DEFAULT_LANGUAGE)
    return next((text for tag in wished if (text := _text(names.get(tag)))), None)


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    words = " ".join(value[: 4 * NAME_MAXIMUM].split())
    return "".join(one for one in words if one.isprintable())[:NAME_MAXIMUM].strip() or None


def _country(value: object) -> str | None:
    if not isinstance(value, str) or not _COUNTRY.fullmatch(value) or value in _NO_COUNTRY:
        return None
    return value


def _coordinates(record: Mapping[Any, Any]) -> tuple[float | None, float | None, int | None]:
    latitude = _number(record.get("latitude"), 90)
    longitude = _number(record.get("longitude"), 180)
    # Zero and zero lie in the Gulf of Guinea: it is what a file without coordinates says.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None, None
    radius = record.get("accuracy_radius")
    is_radius = type(radius) is int and 0 < radius <= ACCURACY_MAXIMUM
    return latitude, longitude, radius if is_radius else None


def _number(value: Any, largest: float) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > largest:
        return None
    return round(float(value), 4)


def _as_number(value: object) -> int | None:
    if isinstance(value, str):
        match = _AS_NUMBER.fullmatch(value)
        value = int(match[1]) if match else None
    if type(value) is not int or not 0 < value <= ASN_MAXIMUM:
        return None
    return value

"""How far two places are apart, as far as their files know: for people to read, and for rules.

A file names a point and how far off it may be. So there are two answers: the way between the points,
and what is left of it when both are as near to each other as the files allow. Rules lean on the second:
a phone that is placed somewhere in its country is not far from anything in it.
"""

import math
from dataclasses import dataclass

from idp.sessions.place import Place

# Files that do not say how sure they are name towns.
UNSAID_KM = 50
_EARTH_KM = 6_371.0


@dataclass(frozen=True, slots=True)
class Distance:
    """Kilometres: between the points, and at least."""

    about: float
    at_least: float


def between(one: Place, other: Place) -> Distance | None:
    """The distance of two places; None where either has no coordinates."""
    if one.latitude is None or one.longitude is None:
        return None
    if other.latitude is None or other.longitude is None:
        return None
    about = _great_circle(one.latitude, one.longitude, other.latitude, other.longitude)
    unsure = sum(UNSAID_KM if at.accuracy_km is None else at.accuracy_km for at in (one, other))
    return Distance(about, max(about - unsure, 0.0))


def _great_circle(
    latitude: float, longitude: float, latitude_b: float, longitude_b: float
) -> float:
    """The haversine formula, on a ball: some half per cent off."""
    a, b = math.radians(latitude), math.radians(latitude_b)
    half_turn = math.radians(longitude_b - longitude) / 2
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(half_turn) ** 2
    return 2 * _EARTH_KM * math.asin(min(math.sqrt(chord), 1.0))

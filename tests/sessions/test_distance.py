"""How far apart two places are, and how sure that is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.sessions.distance import between
from idp.sessions.place import Place


def at(latitude: float, longitude: float, accuracy_km: int | None = None) -> Place:
    return Place(latitude=latitude, longitude=longitude, accuracy_km=accuracy_km)


@pytest.mark.parametrize(
    ("one", "other", "about"),
    [
        # Great-circle distances as published for the airports of these cities.
        (at(48.8566, 2.3522), at(45.7640, 4.8357), 392),  # Paris, Lyon
        (at(52.5200, 13.4050), at(40.7128, -74.0060), 6385),  # Berlin, New York
        (at(-36.8509, 174.7645), at(40.4168, -3.7038), 19_600),  # Auckland, Madrid
        (at(64.0, 179.9), at(64.0, -179.9), 10),  # Over the date line
        (at(90.0, 0.0), at(-90.0, 120.0), 20_015),
        (at(10.0, 10.0), at(10.0, 10.0), 0),
    ],
)
def test_the_way_between_two_points(one: Place, other: Place, about: float) -> None:
    found = between(one, other)
    assert found is not None
    assert math.isclose(found.about, about, rel_tol=0.01, abs_tol=1)


def test_what_files_are_unsure_of_is_no_distance() -> None:
    paris, lyon = (48.8566, 2.3522), (45.7640, 4.8357)
    for accuracies, at_least in (((20, 50), 322), ((None, None), 292), ((1_000, 5), 0)):
        found = between(at(*paris, accuracies[0]), at(*lyon, accuracies[1]))
        assert found is not None
        assert math.isclose(found.at_least, at_least, rel_tol=0.01)


def test_without_coordinates_nothing_is_said() -> None:
    assert between(Place(country="FR"), at(48.0, 2.0)) is None
    assert between(at(48.0, 2.0), Place(country="FR", latitude=1.0)) is None


COORDINATES = st.builds(at, st.floats(-90, 90), st.floats(-180, 180))


@given(COORDINATES, COORDINATES)
def test_it_is_the_same_both_ways_and_half_the_world_at_most(one: Place, other: Place) -> None:
    there, back = between(one, other), between(other, one)
    assert there is not None
    assert back is not None
    assert math.isclose(there.about, back.about, abs_tol=1e-3)
    assert 0 <= there.at_least <= there.about <= 20_016

"""What counts as growth."""

import pytest

from tests.soak.gauges import Gauge, has_grown

GAUGE = Gauge("memory", "MB", 8)


@pytest.mark.parametrize(
    "values",
    [
        [50.0] * 10 + [100.0] * 90,
        [100.0 + number % 20 for number in range(100)],
        [100.0 + number / 10 for number in range(100)],
        [200.0 - number for number in range(100)],
    ],
    ids=["it warmed up", "it wavers", "a little", "it fell"],
)
def test_what_did_not_grow(values: list[float]) -> None:
    assert not has_grown(values, GAUGE)


@pytest.mark.parametrize(
    "values",
    [
        [100.0 + number / 2 for number in range(100)],
        [100.0] * 50 + [130.0] * 50,
    ],
    ids=["steadily", "at once, and stayed"],
)
def test_what_grew(values: list[float]) -> None:
    assert has_grown(values, GAUGE)

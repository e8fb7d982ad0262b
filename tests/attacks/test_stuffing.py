"""A flood of wrong sign-ins beside honest use, for some seconds; `tests.bench.stuffing` measures it."""

from collections.abc import Callable

import pytest

from tests.bench import stuffing

MOST_MEGABYTES_MORE = 60


@pytest.mark.attack("BF-01")
def test_a_flood_of_wrong_sign_ins_costs_honest_apps_no_request(
    say: Callable[[str], None],
) -> None:
    """BF-01: memory stays bounded, no account is tried more often than allowed, nothing breaks."""
    result = stuffing.run(seconds=8, rate=50, calm=2)
    say(stuffing.report(result).replace("\n", "\n    "))
    for phase in (result.calm, result.flood):
        assert phase.refresh.success == 1
        assert phase.introspection.success == 1
        assert set(phase.sign_in.statuses) <= {"good", "503"}
    assert result.flood.wrong.statuses.keys() <= {"403", "429", "503"}
    assert result.flood.wrong.statuses["403"] > 0
    assert result.hashes_of_one <= 10
    assert result.memory_peak - result.memory_before < MOST_MEGABYTES_MORE
    assert "Traceback" not in result.log

"""Who stands above whom over the management API."""

import pytest

from idp.policy import management


def test_of_every_scope_it_is_decided_whether_it_gives_power() -> None:
    """A scope that is new stands in `POWER`, or here with what somebody gains who takes it over."""
    harmless = {
        # The texts of searches that they may ask anyway.
        "queries:read",
        # Other names and texts for those, each change in the audit log.
        "queries:write",
    }
    assert management.POWER | harmless == management.ALL
    assert not management.POWER & harmless


@pytest.mark.attack("AD-04")
@pytest.mark.parametrize("missing", sorted(management.POWER))
def test_whoever_lacks_one_power_stands_below_those_who_have_it(missing: str) -> None:
    rights = management.ALL - {missing}
    assert management.is_above([missing, "docs:write"], rights)
    assert management.gives_more([missing], rights)
    assert not management.is_above([*rights, "docs:write"], rights)


def test_a_right_without_power_is_handed_out_by_those_who_have_it_and_lifts_nobody() -> None:
    assert not management.is_above(management.ALL, management.POWER)
    assert management.gives_more(management.ALL, management.POWER)
    assert not management.gives_more([*management.POWER, "docs:write"], management.POWER)

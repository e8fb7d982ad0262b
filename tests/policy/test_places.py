from typing import Any

import pytest

from idp.policy import places


@pytest.mark.parametrize(
    "kind, applies_to, value, needed",
    [
        ("limits", {}, {"maximum": 3}, set()),
        ("limits", {"country": "FR"}, {"maximum": 3}, {"country"}),
        ("limits", {}, {"maximum": 3, "per": "country"}, {"country"}),
        ("limits", {}, {"maximum": 3, "per": "ip"}, set()),
        # Addresses are known without any file, numbers of networks are not.
        ("timeouts", {"network": "192.0.2.0/24"}, {"idle": 600}, set()),
        ("timeouts", {"network": "AS64496"}, {"idle": 600}, {"asn"}),
        ("networks", {}, {"allow": ["192.0.2.0/24"]}, set()),
        ("networks", {}, {"allow": ["192.0.2.0/24", "AS64496"]}, {"asn"}),
        ("networks", {"country": "FR"}, {"deny": ["AS64496"]}, {"asn", "country"}),
        ("changes", {}, {"ip": "end", "device": "end"}, set()),
        ("changes", {}, {"country": "continue", "network": "continue"}, set()),
        ("changes", {}, {"country": "end", "network": "mfa"}, {"asn", "country"}),
        ("handoff", {}, {"lasting": 600, "same_network": "type"}, set()),
        ("handoff", {}, {"other_country": "refuse", "far": "refuse"}, {"country", "latitude"}),
    ],
)
def test_what_a_rule_needs_to_be_known_of_places(
    kind: str, applies_to: dict[str, str], value: dict[str, Any], needed: set[str]
) -> None:
    assert places.needs(kind, applies_to, value) == needed


def test_only_what_no_file_gives_is_missing() -> None:
    rule: tuple[str, dict[str, str], dict[str, Any]]
    rule = ("networks", {"country": "FR"}, {"deny": ["AS64496"]})
    assert places.without([rule], ["city", "country", "asn"]) == []
    [leaning] = places.without([rule], ["country"])
    assert (leaning.kind, leaning.missing) == ("networks", ("asn",))

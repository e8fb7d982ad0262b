"""npm `express-openid-connect` as an app that is told of the end by back-channel logout."""

from typing import Any

import pytest

from tests.interop.conftest import Stage
from tests.interop.processes import run_script

pytestmark = pytest.mark.interop

SCRIPT = "express_openid_connect.mjs"


def _seen(stage: Stage, *ends: str) -> dict[str, dict[str, Any]]:
    return run_script(
        SCRIPT,
        stage.configuration(
            app_port=stage.app_port, client=stage.clients["express"], ends=list(ends)
        ),
    )


@pytest.fixture(scope="module")
def seen_at_ours(ours: Stage) -> dict[str, dict[str, Any]]:
    return _seen(ours, "account_page", "end_session")


@pytest.fixture(scope="module")
def seen_at_the_control(control: Stage) -> dict[str, dict[str, Any]]:
    return _seen(control, "end_session")


@pytest.mark.parametrize(
    "feature",
    ["sign_in", "backchannel_logout_from_account_page", "backchannel_logout_from_end_session"],
)
def test_an_express_app_signs_in_and_is_told_of_the_end_by_us(
    feature: str, seen_at_ours: dict[str, dict[str, Any]]
) -> None:
    line = seen_at_ours[feature]
    assert line["ok"], line["detail"]


@pytest.mark.parametrize("feature", ["sign_in", "backchannel_logout_from_end_session"])
def test_an_express_app_signs_in_and_is_told_of_the_end_by_the_control(
    feature: str, seen_at_the_control: dict[str, dict[str, Any]]
) -> None:
    line = seen_at_the_control[feature]
    assert line["ok"], line["detail"]

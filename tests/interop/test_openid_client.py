"""npm `openid-client` against our provider, and the same script against npm `oidc-provider`."""

import re
from typing import Any

import pytest

from tests.interop.conftest import Stage
from tests.interop.processes import FOLDER, run_script
from tests.interop.registrations import API

pytestmark = pytest.mark.interop

SCRIPT = "openid_client.mjs"
FEATURES = [
    "discovery",
    "discovery_rfc8414",
    "code_pkce",
    "code_is_single_use",
    "single_sign_on",
    "max_age",
    "public_client",
    "rs256_id_token",
    "userinfo",
    "refresh_rotation",
    "refresh_reuse_ends_the_family",
    "introspection",
    "revocation_of_an_access_token",
    "revocation_of_a_refresh_token",
    "client_credentials",
    "private_key_jwt",
    "jwt_access_token",
    "device_grant",
    "device_grant_denied",
    "dynamic_registration",
    "rp_initiated_logout",
]


def test_every_feature_of_the_script_is_named_here() -> None:
    script = (FOLDER / SCRIPT).read_text()
    assert re.findall(r"^  async (\w+)\(\) \{$", script, re.MULTILINE) == FEATURES


@pytest.fixture(scope="module")
def seen_at_ours(ours: Stage) -> dict[str, dict[str, Any]]:
    return run_script(SCRIPT, ours.configuration())


@pytest.fixture(scope="module")
def seen_at_the_control(control: Stage) -> dict[str, dict[str, Any]]:
    # RFC 8707 is how the control is asked for a token for an API; ours goes by registration.
    return run_script(SCRIPT, control.configuration(jwt_request={"resource": API}))


@pytest.mark.parametrize("feature", FEATURES)
def test_openid_client_works_with_us(feature: str, seen_at_ours: dict[str, dict[str, Any]]) -> None:
    line = seen_at_ours[feature]
    assert line["ok"], line["detail"]


@pytest.mark.parametrize("feature", FEATURES)
def test_openid_client_works_with_the_control(
    feature: str, seen_at_the_control: dict[str, dict[str, Any]]
) -> None:
    line = seen_at_the_control[feature]
    assert line["ok"], line["detail"]

"""Refreshes and introspections while the grant or its session is being ended (FT-12)."""

from collections.abc import Callable

import pytest

from tests.harness.deployment import SCOPE, Deployment
from tests.harness.load_clients import burst, json_of
from tests.races.conftest import LONGER
from tests.races.ends import ENDS, ending

ROUNDS = 3 * LONGER


@pytest.mark.attack("RT-02")
def test_nothing_survives_an_end_that_refreshes_and_introspections_run_against(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """Four ways to end a grant, each in the middle of thirty requests that use it."""
    deployment.person("alice")
    app = deployment.app("App")
    resource = deployment.app("API", introspects_all=1)
    for end in ENDS * ROUNDS:
        grant = deployment.grant(deployment.signed_in("alice"), app, scope=SCOPE)
        requests = [
            *[app.refreshing(grant.refresh_token)] * 12,
            *[resource.introspecting(grant.access_token)] * 8,
            ending(grant, end),
            *[app.refreshing(grant.refresh_token)] * 6,
            *[app.introspecting(grant.refresh_token)] * 6,
        ]
        made = burst(deployment.ports, requests)
        assert None not in made.answers
        assert not [status for status in made.statuses if status >= 500]
        assert made.statuses[20] in (200, 303)
        issued = [json_of(one) for one in made.answers if one is not None and one.status == 200]
        tokens = {grant.access_token, grant.refresh_token}
        for one in issued:
            tokens |= {str(one[name]) for name in ("access_token", "refresh_token") if name in one}
        assert [token for token in tokens if deployment.is_active(app, token)] == []
        for token in tokens:
            assert deployment.ask(app.refreshing(token)).status == 400
    assert deployment.count_events("session.ended") >= 3 * ROUNDS
    n = ROUNDS * len(ENDS)
    say(f"refresh and introspect against four ways to end: n={n}x33, survivors 0")


def test_an_access_token_revoked_twenty_times_at_once_is_recorded_once(
    deployment: Deployment,
) -> None:
    """I4: one row of the audit log for one fact."""
    deployment.person("alice")
    app = deployment.app("App")
    grant = deployment.grant(deployment.signed_in("alice"), app)

    made = burst(deployment.ports, [app.revoking(grant.access_token)] * 20)

    assert set(made.statuses) == {200}
    assert not deployment.is_active(app, grant.access_token)
    assert deployment.is_active(app, grant.refresh_token)
    assert deployment.count_events("token.revoked") == 1

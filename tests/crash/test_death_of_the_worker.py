"""A server that dies while it tells an app of a logout (FT-04).

Told at least once, under one id: never lost, and at most once more for each death.
"""

from pathlib import Path

import pytest

from tests.crash.conftest import MORTAL, Say, started
from tests.crash.failpoints import WORKER_POINTS
from tests.harness.deployment import SCOPE
from tests.harness.load_clients import Lost, claims_of
from tests.harness.receivers import Receivers
from tests.harness.server_process import Forking, until

TIMES_TOLD = {"after-claim": 1, "before-receipt": 2, "after-receipt": 1}

CASES = [
    *(("sqlite", point) for point in WORKER_POINTS),
    pytest.param("postgres", "before-receipt", marks=pytest.mark.postgres),
]


@pytest.mark.crash
@pytest.mark.attack("LO-11")
@pytest.mark.parametrize(("database_url", "point"), CASES, indirect=["database_url"])
def test_a_logout_is_delivered_although_its_server_dies_while_sending(
    database_url: str, tmp_path: Path, forking: Forking, receivers: Receivers, point: str, say: Say
) -> None:
    receiver = receivers.add()
    with started(database_url, tmp_path, forking, doom=MORTAL | {"worker": point}) as on:
        on.person("alice")
        app = on.app("App", receiver=receiver)
        grant = on.grant(on.signed_in("alice"), app, scope=SCOPE)
        sid = claims_of(grant.id_token)["sid"]
        try:
            answer = on.ask(
                app.asking("DELETE", f"/api/v1/users/sessions/{sid}", grant.access_token)
            )
            assert answer.status == 200
        except Lost:
            pass  # its worker was quicker than its answer
        on.server.wait_for_death()
        on.hang_up()
        on.server.start(doom=MORTAL)
        until(lambda: on.scalar("SELECT state FROM deliveries") == "delivered", "it is delivered")
        assert not on.is_active(app, grant.access_token)
        assert on.count_events("session.ended") == on.count_events("logout.delivered") == 1
    tokens = [claims_of(request.form["logout_token"][0]) for request in receiver.requests]
    assert len(tokens) == TIMES_TOLD[point]
    assert len({(token["jti"], token["sid"]) for token in tokens}) == 1
    say(f"worker dies {point}: told {len(tokens)} times, one id")

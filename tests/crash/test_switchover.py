"""FT-07: the primary is gone for good, and its replica takes over.

With a replica that is waited for, nothing that was acknowledged is missing; with one that is not, the
product says beforehand that something may be, and it is.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import MORTAL, Say, started
from tests.crash.storm import storm
from tests.harness.deployment import prepare
from tests.harness.history import shown
from tests.harness.postgres_pair import STANDBY, Pair, pair
from tests.harness.server_process import Forking, asked, until

pytestmark = [pytest.mark.crash, pytest.mark.postgres]
# How far the replica is behind; no row where none follows.
BEHIND = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication"


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """Whoever of them is the primary when a test begins is given the replica that the test is about."""
    with pair() as made:
        yield made


@pytest.mark.timeout(180)
def test_with_a_replica_that_nobody_waits_for_it_is_said_that_revocations_may_be_lost_and_they_are(
    servers: Pair, tmp_path: Path, forking: Forking, say: Say
) -> None:
    """The control; and a node finds the primary by itself, of the two servers its address names."""
    servers.new_database("not_waited_for")
    address = servers.address("not_waited_for") + "&target_session_attrs=any"
    prepare(address)
    with started(address, tmp_path, forking) as on:
        assert "revocations of the last moments may be lost" in on.server.log.read_text()
        servers.wait_for(STANDBY)
        until(lambda: on.work.database.failover_risk() is None, "one that is waited for is no risk")
        servers.wait_for("")
        on.person("alice")
        app = on.app("App")
        grant = on.grant(on.signed_in("alice"), app)
        # What is about the grant has arrived; what comes next will not.
        until(lambda: servers.primary.asked(BEHIND) == 0, "the replica has it all")
        servers.replica.follow_nobody()
        until(lambda: servers.primary.asked(BEHIND) is None, "it follows nobody")
        assert on.ask(app.revoking(grant.refresh_token)).status == 200
        assert not on.is_active(app, grant.access_token)
        servers.primary.die()
        # What can still be read knows nothing of the revocation, so nobody reads it.
        assert servers.replica.asked("SELECT pg_is_in_recovery()")
        for request in (app.introspecting(grant.access_token), app.revoking(grant.refresh_token)):
            answer = on.ask(request)
            assert answer.status == 503
            assert b"\r\nretry-after:" in answer.head.lower()
        servers.take_over()
        begun = time.monotonic()
        until(lambda: asked(on.port, "/healthz") == 200, "the replica is used", within=30)
        back = time.monotonic() - begun
        assert on.is_active(app, grant.access_token), "it could not know"
        assert on.ask(app.revoking(grant.refresh_token)).status == 200
        assert not on.is_active(app, grant.access_token)
    say(f"a replica nobody waited for: used after {back:.2f} s, n=1 revocation lost, as was said")


@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_when_a_replica_that_was_waited_for_takes_over(
    servers: Pair, tmp_path: Path, forking: Forking, say: Say
) -> None:
    """Two nodes, whose way leads to the new primary; `tests.crash --victim primary` for more."""
    servers.new_database("waited_for")
    url = servers.url("waited_for")
    prepare(url)
    report = storm(
        url, tmp_path, forking, nodes=2, kills=1, doom=MORTAL, victims=["primary"], pair=servers
    )
    for line in report.lines():
        say(line)
    assert not report.violations, shown(report.violations)
    assert report.ends_acknowledged > 3, "too little was done to prove anything"

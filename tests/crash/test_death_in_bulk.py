"""A server that dies in the middle of signing many out, before or after it commits a batch.

Whoever goes on goes on where the last batch was committed: everybody meant is signed out once, with one
event each, and the count is right.
"""

import contextlib
from pathlib import Path

import orjson
import pytest

from idp.sessions import beginning
from idp.sessions.device import Visit
from idp.sessions.prove import PASSWORD
from idp.users import queries
from tests.crash.conftest import MORTAL, Say, started
from tests.harness.deployment import Deployment
from tests.harness.load_clients import Lost
from tests.harness.server_process import Forking, until

MEANT, SPARED, BATCH = 35, 3, 10
# What the dead one was about to do is soon another's to do.
SOON = MORTAL | {"job_lease_seconds": 1}
CASES = [
    ("sqlite", "before-commit"),
    ("sqlite", "after-commit"),
    pytest.param("postgres", "before-commit", marks=pytest.mark.postgres),
]


def crowd(on: Deployment, count: int, ip: str) -> None:
    with on.work.begin() as unit:
        for number in range(count):
            person = queries.create_user(unit, username=f"p{number}-{ip}")
            beginning.start(unit, person, [PASSWORD], Visit(ip=ip))


def revoking(on: Deployment, token: str, meant: dict[str, str]) -> bytes:
    """The bytes of the request that signs out whoever is meant, the same each time."""
    body = orjson.dumps({"filter": meant, "reason": "breach"})
    head = (
        "POST /api/v1/admin/sessions/revoke HTTP/1.1",
        f"Host: localhost:{on.port}",
        f"Authorization: Bearer {token}",
        "Idempotency-Key: once",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.mark.crash
@pytest.mark.attack("AD-08")
@pytest.mark.parametrize(("database_url", "point"), CASES, indirect=["database_url"])
def test_many_are_signed_out_once_although_the_server_dies_in_between(
    database_url: str, tmp_path: Path, forking: Forking, point: str, say: Say
) -> None:
    # The request does the first batch, the worker the others: it dies in the third.
    doom = SOON | {"bulk": {"point": point, "number": 3, "batch": BATCH}}
    with started(database_url, tmp_path, forking, doom=doom) as on:
        crowd(on, MEANT, "10.1.1.1")
        crowd(on, SPARED, "192.0.2.1")
        robot = on.app(
            "Robot", management=1, scope="sessions:read sessions:revoke",
            grant_types=["client_credentials"], redirect_uris=[],
        )  # fmt: skip
        token = orjson.loads(on.ask(robot.posting("/token", grant_type="client_credentials")).body)
        request = revoking(on, token["access_token"], {"ip": "10.0.0.0/8"})
        with contextlib.suppress(Lost):  # its worker may be quicker than its answer
            assert on.ask(request).status == 200
        on.server.wait_for_death()
        on.hang_up()
        left = on.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
        assert left == SPARED + MEANT - (2 if point == "before-commit" else 3) * BATCH
        on.server.start(doom=SOON)
        until(
            lambda: on.scalar("SELECT count(*) FROM bulk_sign_outs WHERE finished_at IS NULL") == 0,
            "it is done",
        )
        # Whoever lost the answer asks again, and gets the same operation.
        again = on.ask(request)
        assert again.status == 200
        (order,) = on.rows("SELECT * FROM bulk_sign_outs")
        assert orjson.loads(again.body)["operation"]["id"] == order["id"]
        assert (order["matched"], order["ended"], order["state"]) == (MEANT, MEANT, "done")
        assert on.scalar("SELECT count(*) FROM bulk_sessions") == MEANT
        assert on.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == SPARED
        ended = on.rows("SELECT session_id, data FROM events WHERE type = 'session.ended'")
        assert len(ended) == len({one["session_id"] for one in ended}) == MEANT
        assert all(orjson.loads(one["data"])["because"] == "breach" for one in ended)
        assert on.count_events("bulk_sign_out.asked") == 1
        assert on.count_events("bulk_sign_out.done") == 1
        assert on.verify_chain()[1] is None
    say(f"bulk sign-out dies {point}: {MEANT} ended, each once")

"""Health and figures, on a port that is not the public one."""

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from idp.clock import HOUR, SECOND
from idp.events.actor import Actor
from idp.sessions import lifecycle
from idp.storage import migrations
from idp.web.management import SKEW_TOLERATED, Readiness, management
from idp.web.measures import Measures
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock


def looked(idp: Idp, path: str) -> tuple[int, str]:
    with TestClient(idp.app.management) as client:
        answer = client.get(path)
        return answer.status_code, answer.text


def figure(idp: Idp, line: str) -> float:
    """The number behind a metric's name and labels; 0 where it was never counted."""
    text = idp.app.measures.exposition().decode()
    found = re.search(rf"^{re.escape(line)} ([0-9.e+-]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("path", ["/health/live", "/health/started", "/health/ready", "/metrics"])
def test_the_management_port_answers_and_the_public_one_does_not(idp: Idp, path: str) -> None:
    assert looked(idp, path)[0] == 200
    assert idp.browser().get(path).status_code == 404


def test_a_node_on_its_way_out_takes_no_more_requests(idp: Idp) -> None:
    idp.app.readiness.is_leaving = True
    assert looked(idp, "/health/ready")[0] == 503
    assert looked(idp, "/health/live")[0] == 200


def at_revision(idp: Idp, revision: str) -> tuple[int, str]:
    """What a node says of being ready that looks for the first time."""
    with idp.work.begin() as unit:
        unit.connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    readiness = Readiness(idp.work, idp.app.provider.store)
    with TestClient(management(readiness, Measures(), "")) as client:
        answer = client.get("/health/ready")
        return answer.status_code, answer.text


def test_a_node_with_an_older_schema_is_not_ready(idp: Idp) -> None:
    status, said = at_revision(idp, "0001")
    assert status == 503
    assert "idp db upgrade" in said


def test_a_node_goes_on_when_a_newer_one_has_upgraded_the_schema(idp: Idp) -> None:
    """FT-22: else the first of two nodes to be upgraded takes the other one out."""
    assert at_revision(idp, "9999")[0] == 200
    with idp.work.begin() as unit:
        unit.connection.exec_driver_sql(f"CREATE TABLE {migrations.UNFINISHED} (x INTEGER)")
    assert at_revision(idp, "9999")[0] == 503, "a backup was put back and not finished"


@pytest.mark.postgres
def test_a_node_whose_clock_is_off_steps_out_and_comes_back(
    templates: Templates, say: Callable[[str], None]
) -> None:
    clock = ManualClock(time.time_ns() // 1_000)
    with templates.postgres() as url:
        idp = Idp(settings_for(url), clock)
        offs = (0, -20 * SECOND, 20 * SECOND, -3600 * SECOND, 0)
        for off in offs:
            clock.instant = time.time_ns() // 1_000 + off
            readiness = Readiness(idp.work, idp.app.provider.store)
            answer = TestClient(management(readiness, Measures(), "")).get("/health/ready")
            assert answer.status_code == (503 if abs(off) > SKEW_TOLERATED else 200), answer.text
            said = answer.json()["checks"]["clock"]
            assert (said == "ok") == (off == 0), said
        idp.close()
    say(f"FT-09, a node whose clock is off: n={len(offs)}, served while off 0, back when right")


def test_a_database_that_is_away_is_said_and_nothing_else_breaks(idp: Idp) -> None:
    class Gone:
        is_sqlite = True

        def read(self) -> None:
            from idp.errors import Unavailable

            raise Unavailable("gone")

    work = replace(idp.work, database=Gone())
    checks = Readiness(work, idp.app.provider.store).checks()
    assert checks["node"] == "ok"
    assert checks["database"] != "ok"


@pytest.mark.attack("OP-04")
def test_figures_can_ask_for_a_token(idp: Idp) -> None:
    app = management(idp.app.readiness, Measures(), "a token of the operator's")
    with TestClient(app) as client:
        assert client.get("/metrics").status_code == 401
        for wrong in ("Bearer x", "Bearer ü", "a token of the operator's", "Bearer "):
            sent = {"Authorization": wrong.encode("latin-1")}
            assert client.get("/metrics", headers=sent).status_code == 401
        right = {"Authorization": "Bearer a token of the operator's"}
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/health/live").status_code == 200


def test_what_happens_is_counted(idp: Idp) -> None:
    app = idp.register()
    person = idp.person()
    started = idp.session(person)
    tokens = idp.grant(app, started)
    idp.refresh(app, tokens["refresh_token"])
    idp.refresh(app, "rt_nonsense")
    assert figure(idp, 'idp_logins_total{method="password",result="ok"}') == 1
    assert figure(idp, 'idp_sessions_active{auth_level="aal1"}') == 1
    granted = 'idp_token_requests_total{grant="refresh_token",result='
    assert figure(idp, granted + '"ok"}') == 1
    assert figure(idp, granted + '"refused"}') == 1
    with idp.work.begin() as unit:
        lifecycle.end(unit, [started.session.id], reason="admin", actor=Actor("admin", "x"))
    assert figure(idp, 'idp_session_revocations_total{reason="admin"}') == 1
    assert figure(idp, 'idp_request_seconds_count{endpoint="/token",status="2xx"}') == 2
    assert figure(idp, "process_resident_memory_bytes") > 1_000_000


def test_nobody_outside_can_make_more_figures(idp: Idp) -> None:
    browser = idp.browser()
    before = idp.app.measures.exposition().count(b"\n")
    for number in range(50):
        browser.get(f"/{number}", headers={"X-Thing": str(number)})
        browser.post("/token", data={"grant_type": f"made up {number}"})
    browser.post("/token", data={"grant_type": "x", "client_id": "y"})
    after = idp.app.measures.exposition().count(b"\n")
    assert after - before < 60, "two endpoints, one class each, one grant called other"


def test_a_rolled_back_fact_is_not_counted(idp: Idp) -> None:
    started = idp.session(idp.person())
    with contextlib.suppress(ZeroDivisionError), idp.work.begin() as unit:
        lifecycle.end(unit, [started.session.id], reason="admin", actor=Actor("admin", "x"))
        raise ZeroDivisionError
    assert figure(idp, 'idp_session_revocations_total{reason="admin"}') == 0


def test_a_session_that_ran_out_is_not_active(idp: Idp, clock: ManualClock) -> None:
    idp.session(idp.person())
    clock.advance(2 * HOUR + SECOND)
    assert figure(idp, 'idp_sessions_active{auth_level="aal1"}') == 0

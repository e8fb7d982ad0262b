"""Reports over the management API."""

import json

from idp.admin import tally
from idp.events import log
from idp.events.catalogue import LoginFailed, ReuseDetected
from tests.admin.conftest import Caller, problem
from tests.console.conftest import Enter, enter
from tests.harness.provider import Idp

__all__ = ["enter"]


def test_a_report_says_what_its_page_does(idp: Idp, robot: Caller, enter: Enter) -> None:
    anna = idp.person("anna")
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
        unit.record(
            ReuseDetected(
                user_id=anna.id, client_id="x", authorization_id="azn_x", kind="refresh_token"
            )
        )
    log.seal(idp.work)
    with idp.work.begin() as unit:
        tally.count(unit)
    said = robot.get("/reports/incidents", q="days:7")
    assert said["figures"]["sign_in_failed"] == {"wrong_password": 1}
    assert [(one["type"], one["user_id"]) for one in said["events"]] == [
        ("token.reuse_detected", anna.id)
    ]
    assert len(said["days"]) == 7
    assert said["days"][-1]["failed"] == 1
    assert said["last_day"] == said["days"][-1]["day"]
    page = enter().get("/admin/reports/incidents?q=days:7&format=json")
    assert json.loads(page.text) == said
    assert len(robot.get("/reports/usage")["days"]) == 30
    assert robot.get("/reports/compliance", q="from:2026-11-01 to:2026-11-30")["figures"]


def test_what_is_no_report_or_no_span_is_refused(robot: Caller) -> None:
    assert problem(robot("GET", "/reports/secrets")) == (404, "report_not_found")
    for wrong in ("days:0", "from:2026-13-01", "country:FR", "from:2027-01-01 to:2026-01-01"):
        assert problem(robot("GET", "/reports/usage", params={"q": wrong}))[0] == 400


def test_days_that_cannot_be_are_said_on_the_page_where_others_are_chosen(enter: Enter) -> None:
    browser = enter()
    for wrong in (
        "from=2026-11-30&to=2026-11-01",
        "from=2026-W45-1",
        "from=20261101",
        "q=days:401",
    ):
        answer = browser.get(f"/admin/reports/usage?{wrong}")
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
        assert 'name="from"' in answer.text
        file = browser.get(f"/admin/reports/usage?{wrong}&format=csv")
        assert (file.status_code, 'name="from"' in file.text) == (400, False)
    assert browser.get("/admin/reports/nothing?from=x").status_code == 404

"""Pages of administrators: who may enter, what they show, what scripts may ask for."""

import json

import pytest

from idp.admin import tally
from idp.clock import HOUR, MINUTE
from idp.console import charts
from idp.events import log
from idp.events.administration import RegistrationReuseDetected
from idp.events.catalogue import LoginFailed, PairingReported, ReuseDetected
from idp.notify import webhooks
from idp.policy import management
from idp.users import queries, rules
from tests.console.conftest import Enter, text_of
from tests.harness.provider import ADMIN, Idp
from tests.harness.workbench import ManualClock

PAGES = {
    "/admin": "sessions:read",
    "/admin/sessions": "sessions:read",
    "/admin/sessions?format=csv": "sessions:read",
    "/admin/sessions/{session}": "sessions:read",
    "/admin/sessions/sign-out?q=device:phone": "sessions:revoke",
    "/admin/sessions/sign-out?all=yes": "sessions:revoke",
    "/admin/operations": "sessions:read",
    "/admin/apps": "clients:read",
    "/admin/apps/new": "clients:write",
    "/admin/apps/new?kind=web": "clients:write",
    "/admin/apps/{app}": "clients:read",
    "/admin/apps/registration": "clients:read",
    "/admin/rules": "rules:read",
    "/admin/rules/new?kind=limits": "rules:write",
    "/admin/rules/{rule}": "rules:read",
    "/admin/users": "users:read",
    "/admin/users/new": "users:write",
    "/admin/users/{alice}": "users:read",
    "/admin/events": "events:read",
    "/admin/events?format=jsonl": "events:read",
    "/admin/events/1": "events:read",
    "/admin/webhooks": "events:read",
    "/admin/webhooks/{webhook}": "events:read",
    "/admin/queries": "queries:read",
    "/admin/keys": "keys:read",
    "/admin/reports/usage": "events:read",
    "/admin/reports/incidents": "events:read",
    "/admin/reports/compliance": "events:read",
    "/admin/reports/usage?format=csv": "events:read",
    "/admin/reports/usage?format=json": "events:read",
}


@pytest.mark.attack("AD-01")
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_people_with_its_right_and_nothing_is_there_for_others(
    idp: Idp, enter: Enter, path: str
) -> None:
    needed = PAGES[path]
    alice = idp.person("alice")
    with idp.work.begin() as unit:
        rule = rules.set_rule(unit, "limits", {}, {"maximum": 9}, ADMIN).id
        hook, _ = webhooks.create(unit, url="https://app.example.com/", types=[], actor=ADMIN)
    path = path.format(
        rule=rule,
        webhook=hook.id,
        alice=alice.id,
        session=idp.session(alice).session.id,
        app=idp.register().id,
    )
    log.seal(idp.work)
    others = [one for one in management.SCOPES if one != needed]
    assert enter(*others, username="nearly").get(path).status_code == 404
    assert enter("payments", username="nobody").get(path).status_code == 404
    assert enter(needed, username="right").get(path).status_code == 200
    away = idp.browser().get(path)
    assert away.status_code == 303
    assert away.headers["location"].startswith("/account/sign-in")


def happen(idp: Idp) -> None:
    with idp.work.begin() as unit:
        for _ in range(3):
            unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
        unit.record(
            ReuseDetected(client_id="cli_x", authorization_id="azn_x", kind="refresh_token")
        )
    log.seal(idp.work)
    with idp.work.begin() as unit:
        tally.count(unit)


def test_the_overview_says_what_happened(idp: Idp, enter: Enter) -> None:
    browser = enter()
    happen(idp)
    page = browser.get("/admin").text
    assert "active sessions" in page
    assert "Copied token came back" in page
    assert "<polyline" in page
    assert 'style="' not in page, "the policy forbids it"


def test_rules_that_ask_where_people_are_without_a_file_that_says_it_are_told(
    idp: Idp, enter: Enter
) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 3}, ADMIN)
    assert "geo update" not in browser.get("/admin").text
    with idp.work.begin() as unit:
        rules.set_rule(unit, "changes", {}, {"country": "end"}, ADMIN)
    assert "1 rule asks where people are" in browser.get("/admin").text
    blind = enter("sessions:read", username="blind")
    assert "asks where people are" not in blind.get("/admin").text


def test_a_rule_that_cannot_be_read_any_more_is_told_where_it_stands(
    idp: Idp, enter: Enter
) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        queries.define_role(unit, "nurse", [])
        hours = {"timezone": "Europe/London", "from": "08:00", "to": "18:00"}
        rules.set_rule(unit, "hours", {"role": "nurse"}, hours, ADMIN)
    assert "cannot be read any more" not in browser.get("/admin").text
    idp.execute("UPDATE rules SET value = replace(value, 'London', 'Atlantis')")
    assert "1 rule cannot be read any more" in text_of(browser.get("/admin").text)
    assert "timezone" in text_of(browser.get("/admin/rules").text).partition("Europe/Atlantis")[2]


@pytest.mark.attack("WB-01")
def test_what_strangers_wrote_is_text(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="<script>alert(1)</script>", ip="<b>x</b>"))
    happen(idp)
    for path in ("/admin", "/admin/reports/incidents"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "<b>x" not in page


def test_a_report_is_the_same_as_page_csv_and_json(idp: Idp, enter: Enter) -> None:
    browser = enter()
    happen(idp)
    page = browser.get("/admin/reports/incidents").text
    assert "Copied token came back" in page
    table = browser.get("/admin/reports/incidents?format=csv")
    assert "sign_in_failed,,wrong_password,3" in table.text
    assert 'filename="incidents-' in table.headers["content-disposition"]
    said = json.loads(browser.get("/admin/reports/incidents?format=json").text)
    assert said["figures"]["sign_in_failed"] == {"wrong_password": 3}
    assert [one["type"] for one in said["events"]] == ["token.reuse_detected"]


def test_whatever_was_copied_or_reported_is_an_incident(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        unit.record(RegistrationReuseDetected(client_id="cli_1"))
        unit.record(PairingReported(pairing="par_1", kind="handoff"))
    happen(idp)
    said = json.loads(browser.get("/admin/reports/incidents?format=json").text)
    types = {"token.reuse_detected", "registration.reuse_detected", "pairing.reported"}
    assert {one["type"] for one in said["events"]} == types
    assert set(said["figures"]["incident"]) >= types, "and each is counted"


def test_a_cell_is_no_formula(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="=HYPERLINK(1)"))
    happen(idp)
    table = browser.get("/admin/reports/incidents?format=csv").text
    assert ",=HYPERLINK" not in table
    assert "'=HYPERLINK" in table


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-13-01",
        "from=yesterday",
        "from=2027-02-01&to=2027-01-01",
        "from=1999-01-01&to=1999-01-02",
        "from=2024-01-01&to=2026-12-31",
        "format=pdf",
    ],
)
def test_a_span_that_is_none_is_refused_with_a_sentence(idp: Idp, enter: Enter, query: str) -> None:
    answer = enter().get(f"/admin/reports/usage?{query}")
    assert answer.status_code == 400
    assert "A report" in answer.text or "A day" in answer.text


def test_there_is_no_other_report(idp: Idp, enter: Enter) -> None:
    assert enter().get("/admin/reports/secrets").status_code == 404


def test_an_open_page_that_asks_again_is_no_activity(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    browser = enter()
    for _ in range(7):
        clock.advance(9 * MINUTE)
        assert browser.get("/admin", headers={"X-Looking": "1"}).status_code in (200, 303)
    assert browser.get("/admin").status_code == 303, "an hour without anybody"
    assert clock.now() % HOUR is not None


def test_the_axis_of_a_chart_holds_what_is_drawn() -> None:
    for value in (0, 1, 4, 5, 9, 10, 11, 99, 100, 101, 12_345):
        assert charts.nice(value) >= value
        assert charts.nice(value) <= max(4, 5 * value)
    drawn = charts.lines([0, 1, 2], [("a", "good", [0, 5, 10])])
    assert drawn.lines[0].points.startswith("44.0,192.0")
    assert [tick.value for tick in drawn.y_ticks][-1] == 10
    assert charts.lines([], [("a", "good", [])]).is_empty
    assert charts.columns([]).is_empty
    assert [bar.share for bar in charts.bars([("a", 4), ("b", 1)])] == [100, 25]


@pytest.mark.parametrize(
    ("form", "page"),
    [
        ("/admin/apps/cli_1/change", "/admin/apps/cli_1"),
        ("/admin/apps/cli_1/secret", "/admin/apps/cli_1"),
        ("/admin/apps/registration/new", "/admin/apps/registration"),
        ("/admin/apps/registration/iat_1/revoke", "/admin/apps/registration"),
        ("/admin/rules/rul_1/change", "/admin/rules/rul_1"),
        ("/admin/sessions/ses_1/end", "/admin/sessions/ses_1"),
        ("/admin/users/usr_1/roles", "/admin/users/usr_1"),
        ("/admin/queries/new", "/admin/queries"),
        ("/admin/keys/rotate", "/admin/keys"),
        ("/admin/queries/qry_1/change", "/admin/queries"),
        ("/admin/webhooks/new", "/admin/webhooks"),
        ("/admin/webhooks/whk_1/change", "/admin/webhooks/whk_1"),
        ("/admin/webhooks/whk_1/secret", "/admin/webhooks/whk_1"),
    ],
)
def test_whoever_comes_back_to_the_address_of_a_form_is_led_to_its_page(
    enter: Enter, form: str, page: str
) -> None:
    answer = enter().get(form)
    assert (answer.status_code, answer.headers.get("location")) == (303, page)

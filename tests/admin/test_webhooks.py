"""Webhooks over the API: given, changed from what was seen, and only by those who may read the log."""

from typing import Any

import pytest

from idp.clock import MINUTE, to_rfc3339
from idp.events import log
from idp.events.catalogue import LoginFailed
from tests.admin.conftest import Caller, good, problem, program
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

URL = "https://siem.example.com/in?token=hush"


def made(caller: Caller, **values: Any) -> dict[str, Any]:
    return caller.post("/webhooks", **{"url": URL, "types": ["session.*"]} | values)


def test_a_secret_is_shown_when_it_is_made_and_never_again(idp: Idp, robot: Caller) -> None:
    hook = made(robot)
    assert hook["secret"].startswith("whsec_")
    assert hook["types"] == ["session.*"]
    shown = robot.get(f"/webhooks/{hook['id']}")
    assert hook["secret"] not in str(shown) + str(robot.get("/webhooks"))
    assert robot.get("/webhooks")["items"] == [shown]
    new = robot.post(f"/webhooks/{hook['id']}/secret", overlap=False)["secret"]
    assert new != hook["secret"]
    assert robot.get(f"/webhooks/{hook['id']}")["previous_secret_until"] is None
    robot.post(f"/webhooks/{hook['id']}/secret")
    assert robot.get(f"/webhooks/{hook['id']}")["previous_secret_until"] is not None


def test_a_change_says_what_it_was_made_from(robot: Caller) -> None:
    path = f"/webhooks/{made(robot)['id']}"
    tag = robot("GET", path).headers["etag"]
    assert problem(robot("PATCH", path, json={"types": []})) == (428, "precondition_required")
    changed = good(robot("PATCH", path, json={"types": []}, headers={"if-match": tag}))
    assert (changed["types"], changed["url"]) == ([], URL)
    again = robot("PATCH", path, json={"types": []}, headers={"if-match": tag})
    assert problem(again) == (412, "precondition_failed")


def test_it_is_switched_off_on_and_removed_each_with_its_reason(idp: Idp, robot: Caller) -> None:
    path = f"/webhooks/{made(robot)['id']}"
    assert robot.post(f"{path}/disable", reason="noisy")["disabled_reason"] == "admin"
    assert problem(robot("POST", f"{path}/test", json={"reason": "x"})) == (
        409, "webhook_disabled",
    )  # fmt: skip
    assert robot.post(f"{path}/enable", reason="quiet again")["disabled_at"] is None
    assert good(robot("DELETE", path, params={"reason": "gone"}))["url"] == URL
    assert problem(robot("GET", path)) == (404, "webhook_not_found")
    written = idp.events("webhook.disabled", "webhook.changed", "webhook.removed")
    assert len(written) == 3
    for event, reason in zip(written, ("noisy", "quiet again", "gone"), strict=True):
        assert event["actor"] == "admin"
        assert f'"because":"{reason}"' in event["data"]


def test_events_are_sent_again_from_a_position_or_a_moment(
    either_idp: Idp, clock: ManualClock
) -> None:
    idp = either_idp
    robot = program(idp, "events:read", "events:export")
    path = f"/webhooks/{made(robot, types=['login.failed'])['id']}"
    positions = []
    for _ in range(3):
        clock.advance(20 * MINUTE // 3)
        with idp.work.begin() as unit:
            unit.record(LoginFailed(reason="wrong_password"))
        log.seal(idp.work)
        positions.append(robot.get("/events", page_size=1)["items"][0]["position"])
    robot.post(f"{path}/replay", after=positions[0], reason="they lost some")
    behind = robot.get(f"{path}/deliveries")["behind"]
    assert behind == positions[2] - positions[0]
    robot.post(f"{path}/replay", since=to_rfc3339(clock.now() + MINUTE * 6), reason="and more")
    assert robot.get(f"{path}/deliveries")["behind"] <= 2
    for body in ({}, {"after": 1, "since": "2026-11-01"}, {"since": "yesterday it was"}):
        answer = robot("POST", f"{path}/replay", json=body | {"reason": "x"})
        assert problem(answer)[0] == 400


@pytest.mark.attack("AD-04")
def test_nobody_sends_away_what_they_may_not_read(idp: Idp, robot: Caller) -> None:
    writer = program(idp, "events:export")
    path = f"/webhooks/{made(robot)['id']}"
    for method, address, body in (
        ("POST", "/webhooks", {"url": URL}),
        ("PATCH", path, {"url": URL}),
        ("POST", f"{path}/replay", {"after": 0, "reason": "x"}),
        ("POST", f"{path}/secret", {}),
    ):
        assert problem(writer(method, address, json=body)) == (403, "above_you")
    assert len(robot.get("/webhooks")["items"]) == 1


def test_a_password_in_an_address_is_for_those_who_may_change_it(idp: Idp, robot: Caller) -> None:
    path = f"/webhooks/{made(robot)['id']}"
    assert program(idp, "events:read").get(path)["url"] == "https://siem.example.com/…"
    assert robot.get(path)["url"] == URL


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize("url", ["https://169.254.169.254/", "https://10.1.2.3/", "gopher://x.y/"])
def test_an_address_inside_is_refused_with_a_sentence(robot: Caller, url: str) -> None:
    assert problem(robot("POST", "/webhooks", json={"url": url})) == (400, "invalid_webhook")
    path = f"/webhooks/{made(robot)['id']}"
    tag = robot("GET", path).headers["etag"]
    change = robot("PATCH", path, json={"url": url}, headers={"if-match": tag})
    assert problem(change) == (400, "invalid_webhook")

"""The audit log on the administrators' pages: found, followed, exported; one event with its change."""

import json
import re

import pytest
from starlette.testclient import TestClient

from idp.console.event_list import PATH
from idp.events import log
from idp.events.catalogue import LoginFailed
from idp.users import rules
from tests.console.conftest import Enter, text_of
from tests.harness.provider import ADMIN, Idp


def listed(idp: Idp, browser: TestClient, **asked: str) -> list[str]:
    """The positions of the events that a page lists."""
    log.seal(idp.work)
    return positions(browser.get(PATH, params=asked).text)


def positions(page: str) -> list[str]:
    return re.findall(r'href="/admin/events/([0-9]+)"', page)


def test_a_search_is_an_address_and_leads_to_one_event(idp: Idp, enter: Enter) -> None:
    browser = enter()
    alice = idp.person("alice")
    session = idp.session(alice, ip="203.0.113.9").session.id
    (position,) = listed(idp, browser, user="alice", type="session.*")
    event = browser.get(f"{PATH}/{position}").text
    assert "Signed in" in event
    assert "203.0.113.9" in event
    for address in (f"/admin/users/{alice.id}", f"/admin/sessions/{session}"):
        assert f'href="{address}"' in event
    assert f"user%3A{alice.id}" in browser.get(f"/admin/users/{alice.id}").text
    assert f"session%3A{session}" in browser.get(f"/admin/sessions/{session}").text
    assert listed(idp, browser, at_before="2001-01-01") == []


def test_what_is_not_sealed_yet_is_listed_and_has_no_address_yet(idp: Idp, enter: Enter) -> None:
    browser = enter()
    log.seal(idp.work)
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
    asked = {"q": "type:login.failed"}
    page = browser.get(PATH, params=asked).text
    assert "203.0.113.9" in page
    assert "data-unsettled" in page
    assert positions(page) == []
    assert len(listed(idp, browser, **asked)) == 1
    assert "data-unsettled" not in browser.get(PATH, params=asked).text


def test_a_change_is_shown_with_what_stood_before(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 9, "at_limit": "ask"}, ADMIN)
    with idp.work.begin() as unit:
        unit.because = "the auditors want it"
        rules.set_rule(unit, "limits", {}, {"maximum": 4, "at_limit": "ask"}, ADMIN)
    newest, *_ = listed(idp, browser, q="type:rule.changed")
    event = text_of(browser.get(f"{PATH}/{newest}").text)
    assert "maximum 9 4" in event
    assert "at limit ask the same" in event
    assert "the auditors want it" in event


def test_pages_go_on_where_the_one_before_ended(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        for _ in range(120):
            unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
    log.seal(idp.work)
    seen: list[str] = []
    path = "/admin/events?q=type:login.failed"
    while path:
        page = browser.get(path).text
        seen += positions(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == len(set(seen)) == 120
    assert seen == sorted(seen, key=int, reverse=True)


def test_what_was_found_is_saved_as_json_lines(idp: Idp, enter: Enter) -> None:
    browser = enter()
    idp.person("alice")
    answer = browser.get("/admin/events", params={"q": "type:user.created", "format": "jsonl"})
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["content-disposition"] == 'attachment; filename="events.jsonl"'
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["type"] for one in found] == ["user.created"] * 2
    assert browser.head("/admin/events", params={"format": "jsonl"}).content == b""


@pytest.mark.parametrize("text", ["colour:red", "type:nothing", "at>yesterday", "user"])
def test_what_cannot_be_read_is_said_and_stands_there_to_be_put_right(
    enter: Enter, text: str
) -> None:
    browser = enter()
    for form in ({}, {"format": "jsonl"}):
        answer = browser.get("/admin/events", params={"q": text, **form})
        assert answer.status_code == 400
        assert 'id="error"' in answer.text
        assert f'value="{text.replace(">", "&gt;")}"' in answer.text


@pytest.mark.attack("WB-01")
def test_what_strangers_wrote_is_text_here_too(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        unit.record(LoginFailed(reason="<script>alert(1)</script>", ip="<b>x</b>"))
    newest = listed(idp, browser)[0]
    page = browser.get(PATH).text
    single = browser.get(f"{PATH}/{newest}").text
    for text in (page, single):
        assert "<script>alert" not in text
        assert "<b>x" not in text
        assert "&lt;b&gt;x" in text

"""Rules on the administrators' pages: in words, looked at before they are saved, never overwritten."""

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from idp.clock import MINUTE
from idp.console import rule_forms
from idp.console.rule_forms import FIELDS
from idp.errors import Refused
from idp.policy import management
from idp.users import rules
from tests.console.conftest import Enter, send, text_of, token_of
from tests.harness.provider import ADMIN, Idp
from tests.harness.workbench import ManualClock

NEW = "/admin/rules/new"


def made(idp: Idp, kind: str, value: dict[str, Any], **applies_to: str) -> str:
    with idp.work.begin() as unit:
        return rules.set_rule(unit, kind, applies_to, value, ADMIN).id


def values(idp: Idp, kind: str) -> list[dict[str, Any]]:
    with idp.work.read() as unit:
        return [dict(one.value) for one in rules.all_rules(unit) if one.kind == kind]


def hidden(page: str) -> dict[str, str]:
    """What the form of a page carries besides what is typed."""
    form = page[page.index('class="sheet form"') :]
    found = re.findall(r'type="hidden" name="(tag|key|seen|kind)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


def looked(browser: TestClient, path: str, page: str, **typed: str) -> str:
    status, answer = send(browser, path, **hidden(page), **typed, act="look")
    assert status == 200, answer
    return answer


def test_every_kind_has_a_form_and_words() -> None:
    assert set(FIELDS) == set(rules.KINDS)


def test_a_form_offers_an_app_only_where_a_rule_can_be_for_one(enter: Enter) -> None:
    browser = enter()
    for kind in rules.KINDS:
        is_offered = 'name="for.client"' in browser.get(f"{NEW}?kind={kind}").text
        assert is_offered == ("client" in rules.selectors_for(kind)), kind
    assert {one for one in rules.KINDS if "client" in rules.selectors_for(one)} == {
        "assurance", "networks", "changes", "reauthentication",
    }  # fmt: skip


def test_the_page_says_what_holds_for_whom(idp: Idp, enter: Enter) -> None:
    app = idp.register(name="Payroll")
    made(idp, "timeouts", {"idle": 1_800, "absolute": 86_400})
    made(idp, "assurance", {"acr": "aal2"}, client=app.id)
    made(idp, "networks", {"deny": ["198.51.100.0/24", "AS64496"]})
    made(idp, "assurance", {"scopes": {"payments": "aal2"}})
    page = text_of(enter().get("/admin/rules").text)
    assert "app Payroll" in page
    assert "Ends without activity after 30 min Ends at the latest after 1 d" in page
    assert "Not from 198.51.100.0/24, AS64496" in page
    assert "payments aal2" in page
    assert "Without a rule: 15 each" in page


def test_a_rule_is_looked_at_before_it_is_saved(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    for _ in range(3):
        idp.session(alice)
    browser = enter()
    page = browser.get(f"{NEW}?kind=limits").text
    assert 'value="save"' not in page, "nothing to save before it was looked at"
    seen = looked(browser, NEW, page, maximum="2")
    assert "1 person would be affected now" in text_of(seen)
    assert "3 sessions belong to somebody over the limit" in text_of(seen)
    assert values(idp, "limits") == []
    # What was changed since is looked at again.
    status, again = send(browser, NEW, **hidden(seen), maximum="1", act="save", reason="ok")
    assert status == 200
    assert "would be affected now" in again
    assert values(idp, "limits") == []
    status, where = send(browser, NEW, **hidden(seen), maximum="2", act="save", reason="ok")
    assert status == 303
    assert "Saved. It holds from now on." in text_of(browser.get(where.partition("#")[0]).text)
    assert values(idp, "limits") == [{"maximum": 2}]
    (changed,) = [one for one in idp.events("rule.changed") if one["actor"] == "admin"]
    assert changed["actor_id"] is not None


def test_a_rule_is_saved_with_its_reason_and_never_without(idp: Idp, enter: Enter) -> None:
    browser = enter()
    seen = looked(browser, NEW, browser.get(f"{NEW}?kind=limits").text, maximum="2")
    status, page = send(browser, NEW, **hidden(seen), maximum="2", act="save", reason=" ")
    assert status == 400
    assert "Please fill in “reason”." in page
    assert values(idp, "limits") == []
    # What was looked at stands there still, so that it can be saved.
    said = {"maximum": "2", "act": "save", "reason": "the auditors want it"}
    assert send(browser, NEW, **hidden(page), **said)[0] == 303
    assert "the auditors want it" in idp.events("rule.changed")[-1]["data"]


def test_a_rule_for_some_is_set_with_all_its_values(idp: Idp, enter: Enter) -> None:
    browser = enter()
    page = browser.get(f"{NEW}?kind=hours").text
    typed = {
        "from": "06:00", "to": "22:00", "timezone": "Europe/Paris", "days": "mon-sat",
        "holidays": "2026-12-25\n2027-01-01", "grace": "10 min", "for.country": "FR",
    }  # fmt: skip
    seen = looked(browser, NEW, page, **typed)
    assert send(browser, NEW, **hidden(seen), **typed, act="save", reason="ok")[0] == 303
    with idp.work.read() as unit:
        (rule,) = [one for one in rules.all_rules(unit) if one.kind == "hours"]
        assert rule.applies_to == {"country": "FR"}
        assert rule.value["holidays"] == ["2026-12-25", "2027-01-01"]
        assert rule.value["grace"] == 600


def test_what_cannot_be_a_rule_says_why_and_keeps_what_was_typed(idp: Idp, enter: Enter) -> None:
    browser = enter()
    for kind, typed, sentence in (
        ("timeouts", {"idle": "soon"}, "a length of time"),
        ("timeouts", {"idle": "3 s"}, "between 60 seconds and 30 days"),
        ("timeouts", {}, "A timeouts rule has"),
        ("limits", {"maximum": "many"}, "a whole number"),
        ("limits", {"maximum": "2", "for.client": "cli_x"}, "leave 'client' out"),
        ("networks", {"allow": "home"}, "is no network"),
        ("assurance", {"scopes": "payments"}, "a scope and a level"),
        ("hours", {"from": "8", "to": "9", "timezone": "X"}, "not known"),
        ("changes", {"ip": "explode"}, "is one of"),
        ("remember", {"days": "30", "for.country": "france"}, "two capital letters"),
        ("remember", {"days": "3", "for.role": "ghost"}, "no role"),
    ):
        page = browser.get(f"{NEW}?kind={kind}").text
        status, answer = send(browser, NEW, **hidden(page), **typed, act="look")
        assert status == 400, (kind, typed)
        assert sentence in unescape(answer), (kind, typed)
        if kind in ("timeouts", "networks", "assurance", "hours"):
            assert all(text in unescape(answer) for text in typed.values())
    assert browser.get(f"{NEW}?kind=magic").status_code == 404
    assert [one for one in idp.events("rule.changed") if one["actor"] == "admin"] == []


def test_of_two_who_change_a_rule_the_later_is_shown_both(idp: Idp, enter: Enter) -> None:
    path = f"/admin/rules/{made(idp, 'timeouts', {'idle': 1_800})}"
    mine, theirs = enter(), enter(username="other")
    my_look = looked(mine, f"{path}/change", mine.get(path).text, idle="20 min")
    their_look = looked(theirs, f"{path}/change", theirs.get(path).text, idle="10 min")
    assert (
        send(
            theirs,
            f"{path}/change",
            **hidden(their_look),
            idle="10 min",
            act="save",
            reason="as asked",
        )[0]
        == 303
    )
    status, page = send(
        mine, f"{path}/change", **hidden(my_look), idle="20 min", act="save", reason="as asked"
    )
    assert status == 412
    assert "changed by somebody else" in page
    standing = page[page.index('id="standing-now"') :]
    assert "<dd>10 min</dd>" in standing
    assert 'value="20 min"' in standing
    assert values(idp, "timeouts") == [{"idle": 600}]
    # With both seen, mine may take its place, after another look.
    again = looked(mine, f"{path}/change", page, idle="20 min")
    assert (
        send(mine, f"{path}/change", **hidden(again), idle="20 min", act="save", reason="ok")[0]
        == 303
    )
    assert values(idp, "timeouts") == [{"idle": 1_200}]


def test_a_second_rule_for_the_same_people_is_a_change_of_the_first(idp: Idp, enter: Enter) -> None:
    browser = enter()
    page = browser.get(f"{NEW}?kind=limits").text
    seen = looked(browser, NEW, page, maximum="3", per="ip")
    first = made(idp, "limits", {"maximum": 9, "per": "ip"})
    status, answer = send(
        browser, NEW, **hidden(seen), maximum="3", per="ip", act="save", reason="as asked"
    )
    assert status == 409
    assert "<dd>9</dd>" in answer
    assert f'action="/admin/rules/{first}/change"' in answer
    assert values(idp, "limits") == [{"maximum": 9, "per": "ip"}]


def test_removing_a_rule_is_looked_at_and_needs_a_reason(idp: Idp, enter: Enter) -> None:
    path = f"/admin/rules/{made(idp, 'limits', {'maximum': 3, 'per': 'ip'})}"
    made(idp, "limits", {"maximum": 20})
    browser = enter()
    many = idp.person("many")
    for number in range(16):
        idp.session(many, ip=f"198.51.100.{number}")
    page = browser.get(f"{path}/remove").text
    # Of the two limits it is the other one whose end would touch somebody.
    assert "Nobody would be affected now" in page
    assert send(browser, f"{path}/remove", **hidden(page), reason=" ")[0] == 400
    stale = hidden(page) | {"tag": '"old"'}
    assert send(browser, f"{path}/remove", **stale, reason="x")[0] == 412
    assert send(browser, f"{path}/remove", **hidden(page), reason="no need")[0] == 303
    assert values(idp, "limits") == [{"maximum": 20}]
    assert "no need" in idp.events("rule.changed")[-1]["data"]
    assert browser.get(path).status_code == 404
    assert send(browser, f"{path}/remove", tag="x", reason="x")[0] == 404


def test_nobody_locks_themselves_out(idp: Idp, enter: Enter) -> None:
    browser = enter()
    page = browser.get(f"{NEW}?kind=networks").text
    seen = looked(browser, NEW, page, allow="10.0.0.0/8", outside="end")
    status, answer = send(
        browser, NEW, **hidden(seen), allow="10.0.0.0/8", outside="end", act="save", reason="ok"
    )
    assert status == 409
    assert "would end your own session" in answer
    assert values(idp, "networks") == []


def test_forms_need_right_token_and_proof(idp: Idp, enter: Enter, clock: ManualClock) -> None:
    path = f"/admin/rules/{made(idp, 'timeouts', {'idle': 1_800})}"
    mine, theirs = enter(), enter(username="other")
    nearly = enter(*(o for o in management.SCOPES if o != "rules:write"), username="nearly")
    assert "Change</a>" not in nearly.get("/admin/rules").text
    assert '<form class="sheet form"' not in nearly.get(path).text
    fields = {"kind": "timeouts", "idle": "5 min", "reason": "x", "tag": "x", "act": "save"}
    for form in (NEW, f"{path}/change", f"{path}/remove"):
        assert send(nearly, form, **fields)[0] == 404
        answer = mine.post(form, data={**fields, "csrf": token_of(theirs)})
        assert answer.status_code == 403
    look = looked(mine, f"{path}/change", mine.get(path).text, idle="5 min")
    clock.advance(6 * MINUTE)
    status, page = send(
        mine, f"{path}/change", **hidden(look), idle="5 min", act="save", reason="as asked"
    )
    assert status == 200
    assert 'name="for" value="administer"' in page
    assert values(idp, "timeouts") == [{"idle": 1_800}]


@pytest.mark.attack("WB-01")
def test_what_stands_in_rules_is_text(idp: Idp, enter: Enter) -> None:
    made(idp, "assurance", {"scopes": {"<b>x": "aal2"}})
    browser = enter()
    assert "<b>x" not in browser.get("/admin/rules").text
    page = browser.get(f"{NEW}?kind=timeouts").text
    status, answer = send(browser, NEW, **hidden(page), idle='"><script>', act="look")
    assert status == 400
    assert "<script>" not in answer.replace('<script type="module"', "")


@given(st.integers(0, 40_000_000))
def test_a_duration_is_read_as_it_was_written(seconds: int) -> None:
    written = rule_forms.duration(seconds)
    assert rule_forms.value_of("timeouts", {"idle": written}) == {"idle": seconds}


@pytest.mark.parametrize("text", ["-1 h", "1.5 h", "h", "1 week", "٣ h", "9" * 10, "1h 5min"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        rule_forms.value_of("timeouts", {"idle": text})

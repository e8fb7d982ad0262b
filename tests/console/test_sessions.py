"""Sessions on the administrators' pages: found, filed, seen, ended one by one."""

import re
from html import unescape

import pytest

from idp.clock import MINUTE
from idp.events.actor import Actor
from idp.policy import management
from idp.sessions import beginning, epoch, naming
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD
from idp.users import queries
from tests.console.conftest import Enter, send, text_of, token_of
from tests.harness.provider import ADMIN, Idp
from tests.harness.workbench import ManualClock

PHONE = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Mobile Safari/537.36"
)


def rows(page: str) -> set[str]:
    """The ids of the sessions that a page lists."""
    return set(re.findall(r'<tr id="(ses_[0-9a-f]+)"', page))


def test_a_search_is_an_address_and_finds_what_it_says(idp: Idp, enter: Enter) -> None:
    alice, bob = idp.person("alice"), idp.person("bob")
    phone = idp.session(alice, agent=PHONE, ip="10.1.2.3").session.id
    desk = idp.session(alice, ip="192.0.2.9").session.id
    other = idp.session(bob, ip="10.9.9.9").session.id
    over = idp.session(bob, ip="10.9.9.9").session.id
    idp.end(over)
    browser = enter()
    found = {
        "": {phone, desk, other},
        "user:alice": {phone, desk},
        "device:phone": {phone},
        "ip:10.0.0.0/8": {phone, other},
        "ip:10.0.0.0/8 user:bob": {other},
        "state:ended": {over},
        "user:nobody": set(),
    }
    for text, ids in found.items():
        page = browser.get("/admin/sessions", params={"q": text}).text
        assert rows(page) - {session_of(idp, "root")} == ids, text
        assert f'value="{text}"' in unescape(page)
    assert "Its person signed it out." in browser.get("/admin/sessions?q=state:ended").text


def session_of(idp: Idp, username: str) -> str:
    with idp.work.read() as unit:
        user = queries.by_identifier(unit, username)
        assert user is not None
    (own,) = [one for one in idp.events("session.created") if one["user_id"] == user.id]
    return str(own["session_id"])


def test_what_cannot_be_read_comes_back_with_a_sentence(idp: Idp, enter: Enter) -> None:
    browser = enter()
    for text, sentence in (
        ("country:fr", "two capital letters"),
        ("nonsense", "is not key:value"),
        ('shape:"><b>', "There is no shape"),
        ("state:active ended>2026-01-01", "has not ended"),
        ("device:toaster", "device is one of"),
    ):
        answer = browser.get("/admin/sessions", params={"q": text})
        assert answer.status_code == 400, text
        assert sentence in unescape(answer.text)
        assert f'value="{text}"' in unescape(answer.text), "what was typed is kept"
        assert "<b>" not in answer.text
    assert browser.get("/admin/sessions?sort=-ended_at").status_code == 400
    assert browser.get("/admin/sessions?page_token=x").status_code == 400


def test_pages_follow_one_another_in_the_order_that_was_asked_for(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    made = []
    with idp.work.begin() as unit:
        people = [queries.create_user(unit, username=f"p{number}") for number in range(6)]
        for person in people:
            for _ in range(10):
                clock.advance(1_000)
                unit.now = clock.now()
                begun = beginning.start(unit, person, [PASSWORD], Visit(ip="192.0.2.1"))
                made.append(begun.session_id)
    clock.advance(1_000)
    browser = enter()
    first = browser.get("/admin/sessions?sort=created_at").text
    assert "More than this page match." in first
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = browser.get(unescape(following)).text
    listed = [re.findall(r'<tr id="(ses_[0-9a-f]+)"', page) for page in (first, second)]
    assert (listed[0] + listed[1])[: len(made)] == made
    assert 'aria-sort="ascending"' in second


def test_a_file_has_what_the_search_finds_and_no_formula(idp: Idp, enter: Enter) -> None:
    alice = idp.person("=cmd|x")
    idp.session(alice, agent="@SUM(1)", ip="10.1.2.3")
    idp.session(idp.person("bob"), ip="192.0.2.9")
    browser = enter()
    answer = browser.get("/admin/sessions?q=ip:10.0.0.0/8&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="sessions.csv"' in answer.headers["content-disposition"]
    head, *lines = answer.text.splitlines()
    assert head.startswith("session,user,device,")
    assert len(lines) == 1
    assert ",'=cmd|x," in lines[0]
    assert browser.get("/admin/sessions?q=what&format=csv").status_code == 400


@pytest.mark.attack("AD-07")
def test_a_file_is_bounded(idp: Idp, enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idp.console.session_list.MOST", 3)
    alice = idp.person("alice")
    for _ in range(5):
        idp.session(alice)
    answer = enter().get("/admin/sessions?q=user:alice&format=csv")
    assert len(answer.text.splitlines()) == 1 + 3
    assert "sessions-first-3.csv" in answer.headers["content-disposition"]


@pytest.mark.attack("AD-08")
def test_one_session_is_seen_and_ended_with_who_and_why(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    told, deaf = (
        idp.register(name="Told", backchannel_logout_uri="http://127.0.0.1:9/l"),
        (idp.register(name="Deaf")),
    )
    started = idp.session(alice, agent=PHONE, ip="203.0.113.5")
    tokens = [idp.grant(app, started) for app in (told, deaf)]
    path = f"/admin/sessions/{started.session.id}"
    browser = enter()
    page = text_of(browser.get(path).text)
    for said in (
        "Chrome 156 on Android",
        "203.0.113.5",
        "alice",
        "Told",
        "Deaf",
        "Connected",
        "user:alice",
    ):
        assert said in page
    status, where = send(browser, f"{path}/end", reason="found at the bus stop")
    assert (status, where) == (303, path)
    after = text_of(browser.get(path).text)
    assert "An administrator ended it. By root." in after
    assert "Told is being told" in after
    assert "Deaf takes no sign-out messages" in after
    assert not any(
        idp.is_active(app, one["access_token"])
        for app, one in zip((told, deaf), tokens, strict=True)
    )
    (ended,) = idp.events("session.ended")
    assert (ended["actor"], ended["reason"]) == ("admin", "admin")
    assert "found at the bus stop" in ended["data"]
    listed = browser.get("/admin/sessions?q=user:alice").text
    assert "No session is like this." in listed


def test_one_that_is_over_and_not_marked_yet_says_what_its_apps_know(
    idp: Idp, enter: Enter
) -> None:
    people = [idp.session(idp.person(name)) for name in ("anna", "bert")]
    idp.grant(idp.register(), people[0])
    with idp.work.begin() as unit:
        epoch.begin(unit, ADMIN)
    browser = enter()
    using, bare = (text_of(browser.get(f"/admin/sessions/{one.session.id}").text) for one in people)
    for page in (using, bare):
        assert "An administrator ended it." in page
        assert "Its tokens are dead at once" not in page
    assert "Its apps have not been told yet." in using
    assert "Its apps have not been told yet." not in bare


def test_ending_one_needs_its_right_a_reason_and_the_token(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    path = f"/admin/sessions/{idp.session(alice).session.id}/end"
    root, other = enter(), enter(username="other")
    nearly = enter(*(o for o in management.SCOPES if o != "sessions:revoke"), username="nearly")
    assert send(nearly, path, reason="x")[0] == 404
    assert send(root, path, reason=" ")[0] == 400
    assert send(root, path.replace("ses_", "ses_0"), reason="x")[0] == 404
    assert root.post(path, data={"reason": "x", "csrf": token_of(other)}).status_code == 403
    assert root.get(path).headers["location"] == path.removesuffix("/end")
    assert root.get("/admin/sessions/nothing").status_code == 404
    assert idp.events("session.ended") == []


@pytest.mark.attack("AD-04")
def test_a_session_of_somebody_above_is_seen_and_not_ended(idp: Idp, enter: Enter) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "chief", management.SCOPES)
    path = f"/admin/sessions/{idp.session(idp.person('chief', roles=['chief'])).session.id}"
    support = enter("sessions:read", "sessions:revoke", username="support")
    page = support.get(path).text
    assert "You can look, and change nothing." in page
    assert "/end" not in page.replace(session_of(idp, "support"), "").replace(
        "/account/sessions//end", ""
    )
    assert send(support, f"{path}/end", reason="x")[0] == 403


@pytest.mark.attack("WB-01")
def test_what_browsers_say_of_themselves_is_text(idp: Idp, enter: Enter) -> None:
    started = idp.session(idp.person("alice"), agent='<script>alert(1)</script>"')
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, started.session.id)
        naming.rename(unit, session, "<img src=x onerror=alert(1)>", Actor("user", "x"))
    browser = enter()
    for path in ("/admin/sessions", f"/admin/sessions/{started.session.id}"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_looking_at_pages_by_a_script_keeps_nobody_signed_in(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    browser = enter()
    for _ in range(7):
        clock.advance(9 * MINUTE)
        browser.get("/admin/sessions", headers={"X-Looking": "1"})
    assert browser.get("/admin/sessions").status_code == 303

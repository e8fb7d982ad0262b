"""What a page tells of the person's other sessions, and until when (U4)."""

from collections.abc import Callable

import pytest

from idp.clock import HOUR, MINUTE, SECOND
from tests.harness.provider import Idp
from tests.web.conftest import PHONE, Somebody
from tests.web.html import Page

BELL = "/account/session/notices"


def bell(one: Somebody) -> Page:
    return Page(one.browser.get(f"{BELL}?here=%2Faccount%2Fapps"))


def test_a_session_that_began_since_is_news_until_it_was_seen(either_idp: Idp) -> None:
    user = either_idp.person("alice")
    either_idp.session(user)
    either_idp.clock.advance(MINUTE)
    session = either_idp.session(user)
    alice = Somebody(either_idp, user, session, either_idp.signed_in_browser(session))
    assert "New sign-in" not in alice.sessions().text, "what was there before is no news"
    either_idp.clock.advance(MINUTE)
    first = alice.elsewhere(agent=PHONE)
    either_idp.clock.advance(3 * MINUTE)
    page = alice.sessions("?tab=ended")
    assert "New sign-in: Safari 19 on iPhone" in page.text
    assert "3 minutes ago" in page.text
    assert f"/account/security/not-me?session={first}" in str(page.elements)
    # Another one begins before "I have seen this" is clicked: that one is news still.
    second = alice.elsewhere()
    answer = page.press(alice.browser, "notices-seen")
    assert answer.headers["location"] == "/account/sessions?tab=ended"
    links = str(alice.sessions().elements)
    assert f"not-me?session={second}" in links
    # A page from before takes nothing back.
    page.press(alice.browser, "notices-seen")
    bell(alice).press(alice.browser, "notices-seen")
    assert not bell(alice).has("notices-seen")


def test_what_ended_is_no_news_and_another_person_s_never(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    idp.clock.advance(SECOND)
    gone = alice.elsewhere()
    somebody("bob")
    assert "New sign-in" in bell(alice).text
    idp.end(gone)
    assert "New sign-in" not in bell(alice).text
    alice.elsewhere()
    idp.clock.advance(2 * HOUR)
    idp.execute("UPDATE sessions SET idle_at = :t WHERE id = :id", t=10**17, id=alice.id)
    assert "New sign-in" not in bell(alice).text, "it has run out"


def test_what_was_seen_in_one_session_is_news_in_another(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(SECOND)
    session = idp.session(alice.user)
    other = Somebody(idp, alice.user, session, idp.signed_in_browser(session))
    idp.clock.advance(SECOND)
    alice.elsewhere(agent=PHONE)
    bell(alice).press(alice.browser, "notices-seen")
    assert not bell(alice).has("notices-seen")
    assert "Safari 19 on iPhone" in bell(other).text


def test_the_coming_end_is_told_for_its_last_hour(idp: Idp, alice: Somebody) -> None:
    idp.execute("UPDATE sessions SET idle_at = :t", t=10**17)
    idp.clock.advance(23 * HOUR - 1)
    assert "This session ends" not in bell(alice).text
    idp.clock.advance(1)
    assert "This session ends 16 Jan, 08:00 UTC" in bell(alice).text
    assert not bell(alice).has("notices-seen"), "nothing makes it untrue"


def test_looking_is_no_activity(idp: Idp, alice: Somebody) -> None:
    """A script asks; nobody stays signed in by leaving a page open."""
    idp.clock.advance(50 * MINUTE)
    for _ in range(10):
        idp.clock.advance(MINUTE)
        answer = alice.browser.get(BELL)
        assert "idp_session" not in answer.headers.get("set-cookie", "")
    assert answer.status_code == 401
    assert answer.json()["reason"] == "idle_timeout"
    assert idp.browser().get(BELL).json()["is_deliberate"] is True


@pytest.mark.attack("WB-02")
def test_seen_is_said_by_the_person_alone(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    idp.clock.advance(SECOND)
    alice.elsewhere()
    form = bell(alice).form(button="notices-seen").fields
    foreign = somebody("mallory").sessions().forms[0].fields["csrf"]
    for token in ("", foreign):
        answer = alice.browser.post(f"{BELL}/seen", data=form | {"csrf": token})
        assert answer.status_code == 403
    for until in ("", "-1", "x", "9" * 40, "٣"):
        alice.browser.post(f"{BELL}/seen", data=form | {"until": until})
    assert bell(alice).has("notices-seen")
    # Not in advance either: what will begin is news when it does.
    alice.browser.post(f"{BELL}/seen", data=form | {"until": "9" * 18})
    assert not bell(alice).has("notices-seen")
    idp.clock.advance(SECOND)
    alice.elsewhere()
    assert bell(alice).has("notices-seen")


def test_a_name_is_shown_as_text(idp: Idp, alice: Somebody) -> None:
    idp.clock.advance(SECOND)
    other = alice.elsewhere()
    page = alice.sessions()
    form = page.form(action=f"/account/sessions/{other}/rename")
    alice.browser.post(form.action, data=form.fields | {"name": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in alice.browser.get(BELL).text
    assert "<script>alert(1)</script>" in bell(alice).text


def test_the_list_of_an_open_page_is_asked_for_without_being_activity(
    idp: Idp, alice: Somebody
) -> None:
    live = "/account/sessions/live"
    idp.clock.advance(50 * MINUTE)
    other = alice.elsewhere(agent=PHONE)
    answer = alice.browser.get(live)
    assert Page(answer).has(other)
    assert "idp_session" not in answer.headers.get("set-cookie", "")
    idp.clock.advance(10 * MINUTE)
    assert alice.browser.get(live).status_code == 204
    assert idp.browser().get(live).status_code == 204


def test_a_session_that_is_held_is_not_over_and_shows_nothing(idp: Idp, alice: Somebody) -> None:
    """Its open pages are told to load again, which leads to the proof that is asked for."""
    token = alice.sessions().forms[0].fields["csrf"]
    alice.elsewhere()
    alice.browser.headers["user-agent"] = PHONE  # as if its cookie were on another device now
    assert alice.browser.get("/account/sessions").headers["location"].startswith("/step-up")
    assert alice.browser.get(BELL).status_code == 204
    assert alice.browser.get("/account/sessions/live").status_code == 204
    form = {"csrf": token, "next": "/account/apps"}
    assert "step-up" in alice.browser.post("/account/session/extend", data=form).text
    assert not idp.events("session.extended")
    assert alice.is_running(alice.id)

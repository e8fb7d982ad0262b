""" "This wasn't me": four steps, each done when it really is (row U8)."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events.actor import Actor
from idp.sessions import expiry
from idp.users import queries
from idp.users.model import User
from tests.harness.mails import owed
from tests.harness.provider import Flow, Idp, Registered
from tests.web.conftest import Somebody
from tests.web.factors import BY_CODE, add_totp, page_of, prove_again
from tests.web.html import Page

PATH = "/account/security/not-me"


def asked(session_id: str) -> str:
    return f"{PATH}?{urlencode({'session': session_id})}"


def done(page: Page) -> list[int]:
    """The steps that the page shows as done."""
    return [
        int(one.attributes["id"].removeprefix("step-"))
        for one in page.elements
        if one.tag == "li" and one.attributes.get("class") == "step done"
    ]


def press(one: Somebody, page: Page, button: str) -> Page:
    response = page.press(one.browser, button)
    assert response.status_code == 303, response.text
    return page_of(one, response.headers["location"])


def new_password(idp: Idp, one: Somebody, by: str | None = None) -> None:
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, one.user.id)
        queries.set_password(unit, user, user.password_hash or "", Actor("user", by or one.id))


def test_the_sessions_page_leads_here_but_not_for_the_present_session(alice: Somebody) -> None:
    other = alice.elsewhere()
    links = [one.attributes.get("href") for one in alice.sessions().elements if one.tag == "a"]
    assert asked(other) in links
    assert asked(alice.id) not in links


def test_looking_changes_nothing(idp: Idp, alice: Somebody) -> None:
    other = alice.elsewhere()
    before = len(idp.events())
    page = page_of(alice, asked(other))
    assert done(page) == [3]
    assert alice.is_running(other)
    assert len(idp.events()) == before


def test_the_four_steps(idp: Idp, alice: Somebody) -> None:
    stranger, phone = alice.elsewhere(), alice.elsewhere()
    add_totp(alice)
    idp.clock.advance(SECOND)
    page = page_of(alice, asked(stranger))
    assert done(page) == []
    assert "0 of 4 steps done." in page.text
    page = press(alice, page, "end-it")
    assert done(page) == [1]
    assert not alice.is_running(stranger)
    assert alice.is_running(phone)
    (event,) = idp.events("session.disowned")
    assert (event["session_id"], event["actor_id"]) == (stranger, alice.id)
    (ended,) = idp.events("session.ended")
    assert ended["reason"] == "disowned"
    idp.clock.advance(SECOND)
    new_password(idp, alice)
    page = page_of(alice, asked(stranger))
    assert done(page) == [1, 2]
    reviewed = page.element("all-mine").attributes["href"].partition("#")[0]
    page = page_of(alice, reviewed)
    assert done(page) == [1, 2, 3]
    # What was added above is asked for from now on.
    held = page.press(alice.browser, "wizard-others")
    assert Page(held).has("step-up-begin")
    assert alice.is_running(phone)
    prove_again(alice, *BY_CODE)
    page = press(alice, page_of(alice, reviewed), "wizard-others")
    assert done(page) == [1, 2, 3, 4]
    assert page.has("all-done")
    assert not alice.is_running(phone)
    assert alice.is_running(alice.id)
    assert "A summary of what was done is on its way to alice@example.com." in page.text
    assert not page.has("finish")
    assert not page_of(alice, "/account/security").has("go-on-securing")
    (summary,) = owed(idp, "account_secured")
    told = {name: summary.values[name] for name in ("sessions", "passwords", "passkeys", "totps")}
    assert told == {"sessions": 2, "passwords": 1, "passkeys": 0, "totps": 0}
    assert summary.values["begun"] == event["at"]
    assert summary.to == "alice@example.com"


def test_who_does_the_last_step_elsewhere_finishes_by_a_button_and_is_told_once(
    idp: Idp, alice: Somebody
) -> None:
    idp.clock.advance(SECOND)
    stranger = alice.elsewhere()
    page = press(alice, page_of(alice, asked(stranger)), "end-it")
    token = alice.sessions().forms[0].fields["csrf"]
    finish = {"csrf": token, "step": "finish", "session": stranger}
    assert alice.browser.post(PATH, data=finish).status_code == 409
    idp.clock.advance(SECOND)
    new_password(idp, alice)
    before = len(idp.events())
    page = page_of(alice, asked(stranger))
    assert page.has("finish")
    assert len(idp.events()) == before, "looking tells nobody"
    page = press(alice, page, "finish")
    assert not page.has("finish")
    for _ in range(2):
        assert alice.browser.post(PATH, data=finish).status_code == 303
    assert len(owed(idp, "account_secured")) == 1
    assert len(idp.events("user.secured")) == 1


def test_another_stranger_is_another_run(idp: Idp, alice: Somebody) -> None:
    new_password(idp, alice)
    for number in (1, 2):
        idp.clock.advance(MINUTE)
        stranger = alice.elsewhere()
        press(alice, page_of(alice, asked(stranger)), "end-it")
        idp.clock.advance(MINUTE)
        new_password(idp, alice)
        press(alice, page_of(alice, asked(stranger)), "finish")
        summaries = owed(idp, "account_secured")
        assert len(summaries) == number
        assert summaries[-1].values["sessions"] == 1


def test_it_can_be_left_and_taken_up_again(idp: Idp, alice: Somebody) -> None:
    stranger, _ = alice.elsewhere(), alice.elsewhere()
    press(alice, page_of(alice, asked(stranger)), "end-it")
    idp.clock.advance(20 * MINUTE)
    new_password(idp, alice)
    page = page_of(alice, "/account/security?changed=password")
    assert page.element("go-on-securing").attributes["href"] == PATH
    assert done(page_of(alice, PATH)) == [1, 2, 3]


def test_a_password_that_whoever_it_was_may_know_is_not_new(idp: Idp, alice: Somebody) -> None:
    """It was changed, but the second stranger signed in after that."""
    first = alice.elsewhere()
    press(alice, page_of(alice, asked(first)), "end-it")
    idp.clock.advance(MINUTE)
    new_password(idp, alice)
    idp.clock.advance(MINUTE)
    second = alice.elsewhere()
    assert 2 in done(page_of(alice, asked(second)))
    page = press(alice, page_of(alice, asked(second)), "end-it")
    assert 2 not in done(page)


def test_a_password_that_somebody_else_changed_is_no_step_of_mine(
    idp: Idp, alice: Somebody
) -> None:
    stranger = alice.elsewhere()
    new_password(idp, alice, by=stranger)
    assert 2 not in done(page_of(alice, PATH))
    new_password(idp, alice)
    assert 2 in done(page_of(alice, PATH))
    idp.execute("UPDATE sessions SET idle_at = :t, expires_at = :t", t=idp.clock.now() + 9 * DAY)
    idp.clock.advance(DAY)
    assert 2 not in done(page_of(alice, PATH))


def test_a_factor_that_was_added_after_the_review_needs_another(idp: Idp, alice: Somebody) -> None:
    add_totp(alice)
    page = page_of(alice, PATH)
    reviewed = page.element("all-mine").attributes["href"].partition("#")[0]
    assert 3 in done(page_of(alice, reviewed))
    idp.clock.advance(SECOND)
    idp.execute("UPDATE totps SET created_at = :t", t=idp.clock.now())
    assert 3 not in done(page_of(alice, reviewed))
    assert 3 not in done(page_of(alice, f"{PATH}?reviewed={idp.clock.now() + HOUR}"))


def test_without_a_session_in_question_all_others_are_shown(idp: Idp, alice: Somebody) -> None:
    first, second = alice.elsewhere(), alice.elsewhere()
    page = page_of(alice, PATH)
    assert page.has(first)
    form = next(one for one in page.forms if ("", "end", second) in one.buttons)
    response = alice.browser.post(form.action, data=form.fields | {"end": second})
    page = page_of(alice, response.headers["location"])
    assert 1 in done(page)
    assert not alice.is_running(second)
    assert alice.is_running(first)


def test_of_a_session_that_has_run_out_its_apps_are_ended(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    """Offline access outlives a session's time, but not "This wasn't me"."""
    started = idp.session(alice.user)
    browser = idp.signed_in_browser(started)
    answer = idp.authorize(browser, (flow := Flow(app)).parameters(scope="openid offline_access"))
    _, tokens = idp.token(
        app,
        grant_type="authorization_code",
        code=answer["code"],
        redirect_uri=app.redirect_uri,
        code_verifier=flow.verifier,
    )
    idp.execute("UPDATE sessions SET idle_at = 1 WHERE id = :i", i=started.session.id)
    with idp.work.begin() as unit:
        expiry.end_expired(unit)
    status, tokens = idp.refresh(app, tokens["refresh_token"])
    assert status == 200
    page = page_of(alice, asked(started.session.id))
    assert 1 in done(page)
    press(alice, page, "end-it")
    assert idp.refresh(app, tokens["refresh_token"])[0] == 400
    press(alice, page, "end-it")
    assert len(idp.events("session.disowned")) == 1


def test_nobody_disowns_the_session_of_another_or_the_one_they_are_in(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    """AD-02: another's session is as unknown as none."""
    bob = somebody("bob")
    token = alice.sessions().forms[0].fields["csrf"]
    for session_id, status in ((bob.id, 404), ("ses_x", 404), ("", 404), (alice.id, 409)):
        form = {"csrf": token, "step": "session", "end": session_id}
        assert alice.browser.post(PATH, data=form).status_code == status
    assert bob.is_running(bob.id)
    assert alice.is_running(alice.id)
    page = page_of(alice, asked(bob.id))
    assert not page.has(bob.id)
    assert not idp.events("session.disowned")


@pytest.mark.parametrize("step", ["", "else", "SESSION"])
def test_a_step_that_there_is_not_is_refused(step: str, alice: Somebody) -> None:
    token = alice.sessions().forms[0].fields["csrf"]
    assert alice.browser.post(PATH, data={"csrf": token, "step": step}).status_code == 400

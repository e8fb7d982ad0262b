"""Signing out from the account page: one, several, others, everywhere; and the truth about it."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from idp.clock import HOUR, MINUTE
from tests.harness.provider import Idp, Registered
from tests.web.conftest import Somebody, begin, settle
from tests.web.html import Page


@pytest.fixture
def silent(idp: Idp) -> Registered:
    """An app that takes no sign-out messages."""
    return idp.register(name="Payroll")


def end(one: Somebody, session_id: str) -> str:
    """Presses "Sign out" in a row; gives where that leads."""
    path = f"/account/sessions/{session_id}/end"
    token = one.sessions().forms[0].fields["csrf"]
    response = one.browser.post(path, data={"csrf": token})
    assert response.status_code == 303, response.text
    return response.headers["location"]


def press(one: Somebody, button: str, **typed: str) -> str:
    """Presses a button for several sessions and answers the question; gives where that leads."""
    question = one.sessions().press(one.browser, button, **typed)
    assert question.status_code == 200
    response = Page(question).press(one.browser, "end-confirm")
    assert response.status_code == 303, response.text
    return response.headers["location"]


def test_one_session_ends_at_once_and_the_page_says_what_happened(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody], app: Registered,
    silent: Registered,
) -> None:  # fmt: skip
    other_session = idp.session(alice.user)
    other = Somebody(idp, alice.user, other_session, idp.signed_in_browser(other_session))
    other.use(app)
    other.use(silent)
    location = end(alice, other.id)
    assert location.startswith("/account/sessions?done=")
    page = Page(alice.browser.get(location))
    assert page.element("receipts").attributes["role"] == "status"
    assert "Signed out. Its apps have no access any more. 1 app is being told." in page.text
    assert "Payroll takes no sign-out messages; it stops when it next asks us" in page.text
    assert not alice.is_running(other.id)
    assert alice.is_running(alice.id)

    fragment = page.element("receipts").attributes["data-from"]
    assert 'data-settled="no"' in alice.browser.get(fragment).text
    settle(idp, accepted=(app.id,))
    settled = alice.browser.get(fragment)
    assert 'data-settled="yes"' in settled.text
    assert "1 app was told." in Page(settled).text
    assert "Notes was told" in Page(alice.browser.get(location)).text
    assert "Notes was told" in alice.sessions("?tab=ended").text


def test_an_app_that_cannot_be_told_is_named(idp: Idp, alice: Somebody, app: Registered) -> None:
    other_session = idp.session(alice.user)
    other = Somebody(idp, alice.user, other_session, idp.signed_in_browser(other_session))
    other.use(app)
    location = end(alice, other.id)
    settle(idp, given_up=(app.id,))
    page = Page(alice.browser.get(location))
    assert "Notes could not be told; it has no access any more all the same" in page.text
    assert "was told." not in page.text
    assert "Notes could not be told" in alice.sessions("?tab=ended").text


def test_ending_the_present_session_says_farewell(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    alice.use(app)
    page = alice.sessions()
    response = page.press(alice.browser, "sign-out")
    assert response.headers["location"].startswith("/signed-out?done=")
    assert "idp_session=; " in response.headers["set-cookie"]
    assert "Max-Age=0" in response.headers["set-cookie"]
    # Cookies belong to a host, not to a port: "cookies" would sign people out of other apps there.
    assert response.headers["clear-site-data"] == '"cache"'
    farewell = Page(alice.browser.get(response.headers["location"]))
    assert "You are signed out" in farewell.text
    assert "1 app is being told" in farewell.text
    settle(idp, accepted=(app.id,))
    told = alice.browser.get(farewell.element("receipts").attributes["data-from"])
    assert "1 app was told" in Page(told).text
    assert alice.browser.get("/account/sessions").status_code == 303


def test_the_farewell_tells_nobody_else_and_not_for_long(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    alice.use(app)
    location = alice.sessions().press(alice.browser, "sign-out").headers["location"]
    stranger = idp.browser()
    stranger.get("/account/sign-in")
    for browser, address in (
        (stranger, location),
        (idp.browser(), location),
        (alice.browser, location[:-3] + "AAA"),
        (alice.browser, "/signed-out?done=" + "A" * 400),
        (alice.browser, "/signed-out?done=%C3%A4"),
        (alice.browser, "/signed-out"),
    ):
        page = Page(browser.get(address))
        assert "Notes" not in page.text
        assert "no longer signed in" in page.text
    assert "Notes" in Page(alice.browser.get(location)).text
    idp.clock.advance(16 * MINUTE)
    assert "Notes" not in Page(alice.browser.get(location)).text


def test_whoever_is_signed_in_is_not_told_otherwise(alice: Somebody) -> None:
    response = alice.browser.get("/signed-out")
    assert response.headers["location"] == "/account/sessions"


def test_other_devices_end_and_this_one_stays(idp: Idp, alice: Somebody) -> None:
    others = [alice.elsewhere() for _ in range(3)]
    page = alice.sessions()
    assert "Sign out other devices (3)" in page.text
    question = Page(page.press(alice.browser, "end-others"))
    assert "Sign out 3 other devices?" in question.text
    assert "This device" not in question.text
    assert all(alice.is_running(one) for one in others), "asking must not end anything"
    location = press(alice, "end-others")
    assert "3 sessions signed out." in Page(alice.browser.get(location)).text
    assert not any(alice.is_running(one) for one in others)
    assert alice.is_running(alice.id)
    assert not alice.sessions().has("end-others")


def test_everywhere_means_this_device_too(idp: Idp, alice: Somebody) -> None:
    other = alice.elsewhere()
    location = press(alice, "end-everywhere")
    assert location.startswith("/signed-out")
    assert not alice.is_running(other)
    assert not alice.is_running(alice.id)
    reasons = {event["reason"] for event in idp.events("session.ended")}
    assert reasons == {"signed_out_everywhere"}


def test_selected_sessions_end_and_no_others(idp: Idp, alice: Somebody) -> None:
    chosen, kept = [alice.elsewhere(), alice.elsewhere()], alice.elsewhere()
    press(alice, "end-selected", **{f"select.{one}": "on" for one in chosen})
    assert not any(alice.is_running(one) for one in chosen)
    assert alice.is_running(kept)
    assert alice.is_running(alice.id)


def test_selecting_nothing_is_said_kindly(alice: Somebody) -> None:
    response = alice.sessions().press(alice.browser, "end-selected")
    assert response.status_code == 400
    assert "Please tick at least one session first." in Page(response).text


def test_an_unknown_wish_is_refused(alice: Somebody) -> None:
    token = alice.sessions().forms[0].fields["csrf"]
    for values in ({}, {"what": ""}, {"what": "all"}, {"what": "others", "confirmed": "no"}):
        response = alice.browser.post("/account/sessions/end", data={"csrf": token, **values})
        assert response.status_code in (303, 400), values
    assert alice.is_running(alice.id)


def test_pressing_twice_is_harmless(alice: Somebody) -> None:
    other = alice.elsewhere()
    page = alice.sessions()
    path = f"/account/sessions/{other}/end"
    fields = page.form(action=path).fields
    first = alice.browser.post(path, data=fields)
    again = alice.browser.post(path, data=fields)
    assert first.headers["location"] == again.headers["location"]
    assert "Signed out." in Page(alice.browser.get(again.headers["location"])).text


def test_a_banner_shows_only_what_is_ones_own(
    alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    bob = somebody("bob")
    location = end(alice, alice.elsewhere())
    assert bob.browser.get(location).status_code == 200
    assert not Page(bob.browser.get(location)).has("receipts")
    for done in ("", "0", "-1", "1e9", "9" * 40, "NaN", "1800000000000000 OR 1=1"):
        response = alice.browser.get("/account/sessions", params={"done": done})
        assert response.status_code == 200
        assert not Page(response).has("receipts")


def test_offline_access_is_a_row_of_its_own_and_ends_like_one(
    idp: Idp, alice: Somebody, app: Registered
) -> None:
    gone_session = idp.session(alice.user)
    gone = Somebody(idp, alice.user, gone_session, idp.signed_in_browser(gone_session))
    tokens = gone.use(app, scope="openid offline_access")
    idp.end(gone.id, "idle_timeout")
    idp.clock.advance(MINUTE)
    page = alice.sessions()
    assert "Notes Offline access" in page.text
    (form,) = [form for form in page.forms if form.action.startswith("/account/grants/")]
    response = alice.browser.post(form.action, data=form.fields)
    page = Page(alice.browser.get(response.headers["location"]))
    assert "Notes has lost its offline access" in page.text
    assert "Offline access" not in alice.sessions().text
    status, answer = idp.token(
        app, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert alice.browser.post(form.action, data=form.fields).status_code == 404


@pytest.mark.parametrize("button", ["end-others", "end-everywhere"])
def test_signing_out_the_rest_ends_offline_access_too(
    button: str, idp: Idp, alice: Somebody, app: Registered
) -> None:
    gone_session = idp.session(alice.user)
    gone = Somebody(idp, alice.user, gone_session, idp.signed_in_browser(gone_session))
    tokens = gone.use(app, scope="openid offline_access")
    idp.end(gone.id, "absolute_timeout")
    idp.clock.advance(MINUTE)
    location = press(alice, button)
    assert "Notes has lost its offline access" in Page(alice.browser.get(location)).text
    assert (
        idp.token(app, grant_type="refresh_token", refresh_token=tokens["refresh_token"])[0] == 400
    )


def test_a_connected_app_is_revoked_after_a_question(
    idp: Idp, alice: Somebody, stranger: Registered
) -> None:
    page = Page(begin(alice.browser, stranger, scope="openid offline_access"))
    page.press(alice.browser, "consent-allow")
    tokens = alice.use(stranger, scope="openid offline_access")
    page = Page(alice.browser.get("/account/apps"))
    assert "Stranger" in page.text
    assert "until you revoke it" in page.text
    form = page.form(action="/account/apps")
    question = Page(alice.browser.post(form.action, data=form.fields))
    assert "Revoke the access of Stranger?" in question.text
    assert idp.count("consents") == 1
    response = question.press(alice.browser, "revoke-confirm")
    page = Page(alice.browser.get(response.headers["location"]))
    assert "Access removed." in page.text
    assert "No app had to ask you yet." in page.text
    status, _ = idp.token(
        stranger, grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert status == 400
    assert alice.browser.post(form.action, data=form.fields).status_code == 404


def test_no_page_claims_a_revocation_that_was_not(alice: Somebody) -> None:
    assert "Access removed" not in Page(alice.browser.get("/account/apps?removed=cli_x")).text


def test_a_form_of_an_expired_session_leads_to_signing_in(idp: Idp, alice: Somebody) -> None:
    page = alice.sessions()
    idp.clock.advance(2 * HOUR)
    response = page.press(alice.browser, "end-everywhere")
    # By way of the page that explains the end and offers the form again.
    kept = f"/account/session/form?of={alice.session.session.id}"
    assert response.headers["location"] == "/account/sign-in?" + urlencode({"next": kept})

"""Two tabs of one browser, of which one has moved on: said, not lost, and not let through (T10)."""

import pytest

from idp.clock import HOUR, MINUTE, SECOND
from tests.harness.provider import Idp
from tests.web.conftest import begin, sign_in
from tests.web.html import Page
from tests.web.test_kept_forms import AtHome, current, home, name_of, next_of, rename

__all__ = ["home"]


def test_a_proof_in_another_tab_asks_once_more_and_keeps_what_was_typed(home: AtHome) -> None:
    page = home.sessions()
    home.idp.clock.advance(SECOND)
    proving = Page(begin(home.browser, home.idp.register(), prompt="login"))
    assert sign_in(home.browser, proving).status_code == 303
    answer = rename(home, page)
    assert answer.status_code == 403
    again = Page(answer)
    assert "You confirmed that it’s you in another tab" in again.text
    assert "Work <laptop>" in again.text
    assert not home.idp.events("session.renamed")
    assert again.press(home.browser, "form-again").status_code == 303
    assert name_of(home, current(page)) == "Work <laptop>"


def test_signing_in_again_in_another_tab_asks_once_more(home: AtHome) -> None:
    other = home.idp.session(user(home)).session.id
    page = home.sessions()
    home.idp.end(current(page), "admin")
    home.sign_in()
    action = f"/account/sessions/{other}/rename"
    answer = home.browser.post(action, data=page.form(action=action).fields | {"name": "Phone"})
    assert answer.status_code == 403
    again = Page(answer)
    assert "You signed in again in another tab" in again.text
    assert again.press(home.browser, "form-again").status_code == 303
    assert name_of(home, other) == "Phone"


def test_signing_out_in_the_old_tab_means_the_session_of_now(home: AtHome) -> None:
    page = home.sessions()
    old = current(page)
    home.idp.end(old, "admin")
    home.sign_in()
    new = home.id
    again = Page(page.press(home.browser, "sign-out"))
    assert again.form(button="form-again").action == f"/account/sessions/{new}/end"
    answer = again.press(home.browser, "form-again")
    assert answer.headers["location"].startswith("/signed-out")


def test_somebody_else_is_told_so_and_nothing_is_done_for_them(home: AtHome) -> None:
    home.idp.person("bob")
    page = home.sessions()
    home.idp.end(current(page), "admin")
    bob = AtHome(home.idp, home.browser, "bob")
    bob.sign_in()
    answer = rename(home, page)
    assert answer.status_code == 403
    shown = Page(answer)
    assert "Somebody else is signed in now" in shown.text
    assert "Now it is bob" in shown.text
    assert "alice" not in shown.text
    assert "Work <laptop>" in shown.text
    assert "signed_in_as_somebody_else" in shown.text
    # Nothing to send: what another person typed is not made one's own by a click.
    assert not shown.forms
    assert not home.idp.events("session.renamed")


@pytest.mark.attack("WB-02")
def test_a_token_of_another_browser_is_a_strangers(home: AtHome) -> None:
    """Also one of the same person: what it was made for is told to nobody but its own browser."""
    elsewhere = AtHome(home.idp, home.idp.browser())
    elsewhere.sign_in()
    token = elsewhere.sessions().forms[0].fields["csrf"]
    page = home.sessions()
    action = f"/account/sessions/{current(page)}/rename"
    answer = home.browser.post(action, data={"csrf": token, "name": "Mine"})
    assert answer.status_code == 403
    assert "form_expired" in answer.text
    assert "Mine" not in answer.text
    assert "in another tab" not in answer.text


def test_what_cannot_be_offered_again_says_why_at_least(home: AtHome) -> None:
    token = home.sessions().forms[0].fields["csrf"]
    home.idp.clock.advance(SECOND)
    proving = Page(begin(home.browser, home.idp.register(), prompt="login"))
    sign_in(home.browser, proving)
    answer = home.browser.post("/account/security/password", data={"csrf": token, "password": "x"})
    assert answer.status_code == 403
    assert "You confirmed that it’s you in another tab" in Page(answer).text


def test_signed_out_in_another_tab_the_cookie_is_gone_and_the_form_is_not(home: AtHome) -> None:
    page = home.sessions()
    page.press(home.browser, "sign-out")
    assert home.browser.cookies.get("idp_session") is None
    answer = rename(home, page)
    assert next_of(answer) == f"/account/session/form?of={current(page)}"
    # In a browser that this session never was in, the form is a stranger's.
    stranger = home.idp.browser()
    stranger.get("/account/sign-in")
    action = f"/account/sessions/{current(page)}/rename"
    late = stranger.post(action, data=page.form(action=action).fields)
    assert next_of(late) == "/account/sessions"


# --- staying signed in ----------------------------------------------------------------------------

EXTEND = "/account/session/extend"


def extended(home: AtHome, token: str, **headers: str):  # type: ignore[no-untyped-def]
    return home.browser.post(
        EXTEND, data={"csrf": token, "next": "/account/sessions?tab=ended"}, headers=headers
    )


def test_staying_signed_in_slides_the_idle_deadline_and_nothing_else(home: AtHome) -> None:
    token = home.sessions().forms[0].fields["csrf"]
    begun = home.idp.clock.now()
    for minute in range(1, 25):
        home.idp.clock.advance(59 * MINUTE)
        answer = extended(home, token, accept="application/json")
        assert answer.status_code == 200, minute
        assert answer.json() == {
            "now": home.idp.clock.now() // 1_000,
            "idle_expires_at": min(home.idp.clock.now() + HOUR, begun + 24 * HOUR) // 1_000,
            "expires_at": (begun + 24 * HOUR) // 1_000,
        }
        assert "set-cookie" not in answer.headers
    assert len(home.idp.events("session.extended")) == 24
    home.idp.clock.advance(2 * HOUR)
    late = extended(home, token, accept="application/json")
    assert late.status_code == 401
    assert late.json() == {
        "reason": "absolute_timeout",
        "title": "Your session is over",
        "sentence": "Your session reached its longest time: it had lasted 24 hours.",
        "ended_at": (begun + 24 * HOUR) // 1_000,
        "is_deliberate": False,
    }


def test_without_scripts_it_is_a_form_that_leads_back(home: AtHome) -> None:
    token = home.sessions().forms[0].fields["csrf"]
    answer = extended(home, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/sessions?tab=ended")
    home.idp.end(home.id, "limit")
    assert next_of(extended(home, token)) == "/account/sessions?tab=ended"


def test_it_works_in_a_tab_from_before_a_proof_but_not_with_another_s_token(home: AtHome) -> None:
    token = home.sessions().forms[0].fields["csrf"]
    home.idp.clock.advance(SECOND)
    sign_in(home.browser, Page(begin(home.browser, home.idp.register(), prompt="login")))
    home.idp.clock.advance(MINUTE)
    assert extended(home, token, accept="application/json").status_code == 200
    elsewhere = AtHome(home.idp, home.idp.browser())
    elsewhere.sign_in()
    foreign = elsewhere.sessions().forms[0].fields["csrf"]
    for bad in ("", foreign, token[:-3] + "AAA"):
        assert extended(home, bad, accept="application/json").status_code == 403, bad
    cross = {"sec-fetch-site": "cross-site"}
    assert extended(home, token, **cross).status_code == 403
    assert len(home.idp.events("session.extended")) == 1


def test_near_the_end_signing_in_is_offered_and_begins_a_new_session(home: AtHome) -> None:
    begun = home.id
    for _ in range(24):
        home.idp.clock.advance(59 * MINUTE)
        token = home.sessions().forms[0].fields["csrf"]
    assert home.browser.get("/account/sign-in").status_code == 303
    home.idp.clock.advance(14 * MINUTE)
    assert extended(home, token).status_code == 303
    page = Page(home.browser.get("/account/sign-in?next=%2Faccount%2Fapps"))
    assert "Signing in now begins a new one" in page.text
    assert page.element("username").attributes["value"] == "alice"
    assert sign_in(home.browser, page).headers["location"] == "/account/apps"
    assert home.id != begun
    assert [one["reason"] for one in home.idp.events("session.ended")] == ["renewed"]


def user(home: AtHome):  # type: ignore[no-untyped-def]
    from tests.web.test_kept_forms import user_of

    return user_of(home)


def test_only_who_looks_at_it_moves_the_deadline(home: AtHome, idp: Idp) -> None:
    """GET changes nothing here."""
    assert home.browser.get(EXTEND).status_code == 405

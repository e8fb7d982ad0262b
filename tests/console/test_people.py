"""Users on the administrators' pages: found, added, changed, signed out, kept out, helped."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from idp.clock import HOUR, MINUTE, SECOND
from idp.policy import management
from idp.users import passkeys, queries
from tests.console.conftest import Enter, send, text_of, token_of
from tests.harness.enrolled import with_passkey
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

FORMS = {
    "change": "users:write",
    "roles": "roles:write",
    "sign-out": "sessions:revoke",
    "disable": "users:write",
    "enable": "users:write",
    "invite": "users:write",
    "verify": "credentials:write",
    "password-link": "credentials:write",
    "remove-factor": "credentials:write",
    "reset-factors": "credentials:write",
}
WITH_A_REASON = ("sign-out", "disable", "enable", "password-link", "remove-factor", "reset-factors")
DANGEROUS = ("change", "roles", "enable", "password-link", "remove-factor", "reset-factors")


def test_people_are_found_by_the_beginning_of_a_name_and_by_status(idp: Idp, enter: Enter) -> None:
    browser = enter()
    for name in ("anna", "annette", "bert"):
        idp.person(name)
    page = browser.get("/admin/users?q=ann").text
    assert ">anna<" in page
    assert ">annette<" in page
    assert ">bert<" not in page
    assert ">bert<" not in browser.get("/admin/users?status=disabled").text
    assert "Nobody is found" in browser.get("/admin/users?q=zzz").text
    assert browser.get("/admin/users?status=mighty").status_code == 400


def test_a_list_goes_on_where_the_page_before_ended(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.begin() as unit:
        for number in range(60):
            queries.create_user(unit, username=f"p{number:02}")
    first = browser.get("/admin/users?q=p").text
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = browser.get(unescape(following)).text
    shown = [re.findall(r">(p\d\d)<", page) for page in (first, second)]
    assert shown[0] + shown[1] == [f"p{number:02}" for number in range(60)]
    assert 'rel="next"' not in second
    assert browser.get("/admin/users?page_token=made-up").status_code == 400


def test_a_user_is_added_and_invited_once_however_often_the_form_is_sent(
    idp: Idp, enter: Enter
) -> None:
    browser = enter()
    (key,) = re.findall(r'name="key" value="([^"]+)"', browser.get("/admin/users/new").text)
    fields = {"username": "newcomer", "email": "new@example.com", "key": key, "invite": "on"}
    fields |= {"name": "New Comer", "role.support": "on"}
    with idp.work.begin() as unit:
        queries.define_role(unit, "support", ["users:read"])
    status, where = send(browser, "/admin/users/new", **fields)
    assert status == 303
    page = browser.get(where).text
    assert "The user was added. An invitation is on its way to them." in text_of(page)
    assert "New Comer" in page
    again, there = send(browser, "/admin/users/new", **fields)
    assert (again, there.partition("?")[0]) == (303, where.partition("?")[0])
    assert len(idp.events("link.sent")) == 1
    (made,) = [one for one in idp.events("user.created") if one["actor"] == "admin"]
    assert made["actor_id"] is not None


def test_what_cannot_be_added_says_why_and_keeps_what_was_typed(idp: Idp, enter: Enter) -> None:
    browser = enter()
    idp.person("anna")
    status, page = send(browser, "/admin/users/new", username="anna", name="Anna Again")
    assert status == 409
    assert 'role="alert"' in page
    assert "already in use" in page
    assert 'value="Anna Again"' in page
    status, page = send(browser, "/admin/users/new", username="")
    assert status == 400
    assert "Please fill in “username”." in page


def test_a_name_that_cannot_be_one_is_told_on_the_page(idp: Idp, enter: Enter) -> None:
    browser = enter()
    alice = idp.person("alice")
    for path in ("/admin/users/new", f"/admin/users/{alice.id}/change"):
        status, page = send(browser, path, username="long", name="x" * 5_000)
        assert status == 400, path
        assert "What stands in “name” is too long." in page


@pytest.mark.attack("AD-04")
def test_who_may_not_give_roles_is_told_so(idp: Idp, enter: Enter) -> None:
    browser = enter("users:read", "users:write")
    status, page = send(browser, "/admin/users/new", **{"username": "x", "role.support": "on"})
    assert status == 403
    assert "You may not give anybody a role." in page


@pytest.mark.attack("MF-02")
def test_nobody_is_added_from_a_browser_left_alone(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    browser = enter()
    clock.advance(301 * SECOND)
    _, page = send(browser, "/admin/users/new", username="puppet")
    assert 'action="/step-up"' in page
    with idp.work.read() as unit:
        assert queries.by_identifier(unit, "puppet") is None


@pytest.mark.attack("AD-05")
def test_fields_that_no_form_has_change_nothing(idp: Idp, enter: Enter) -> None:
    browser = enter()
    more = {"status": "locked", "permissions": "users:read", "password": "x", "id": "usr_1"}
    status, _ = send(browser, "/admin/users/new", username="plain", **more)
    assert status == 303
    with idp.work.read() as unit:
        made = queries.by_identifier(unit, "plain")
        assert made is not None
        assert (made.status, made.permissions, made.password_hash) == ("active", [], None)
    change = {"name": "x", "name_before": "", "email": "", "email_before": "", **more}
    send(browser, f"/admin/users/{made.id}/change", **change)
    with idp.work.read() as unit:
        after = queries.by_identifier(unit, "plain")
        assert after is not None
        assert (after.status, after.permissions) == ("active", [])


@pytest.mark.attack("AD-01")
def test_a_form_is_for_people_with_its_right(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    root = enter()
    nearly = {
        right: enter(
            *(one for one in management.SCOPES if one != right), username=right.replace(":", "-")
        )
        for right in sorted(set(FORMS.values()))
    }
    fields = {"reason": "because", "factor": "psk_x"}
    before = len(idp.events())
    for form, right in FORMS.items():
        assert send(nearly[right], f"/admin/users/{alice.id}/{form}", **fields)[0] == 404, form
        assert send(root, f"/admin/users/usr_{'0' * 32}/{form}", **fields)[0] == 404, form
    assert len(idp.events()) == before


@pytest.mark.attack("WB-02")
def test_a_form_without_the_token_of_this_session_changes_nothing(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    mine, theirs = enter(), enter(username="other")
    page = f"/admin/users/{alice.id}"
    before = len(idp.events())
    for form in FORMS:
        for sent in ({}, {"csrf": token_of(theirs)}):
            answer = mine.post(f"{page}/{form}", data={**sent, "reason": "x", "factor": "psk_x"})
            assert answer.status_code == 403, form
        assert mine.get(f"{page}/{form}").headers["location"] == page, "no GET changes"
    assert len(idp.events()) == before


def test_without_a_reason_nothing_happens_and_the_form_says_so(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    idp.session(alice)
    browser = enter()
    before = len(idp.events())
    for form in WITH_A_REASON:
        for reason in ("", "   ", "x" * 201, "turned \u202e round"):
            status, page = send(browser, f"/admin/users/{alice.id}/{form}", reason=reason)
            assert status == 400, (form, reason)
            assert 'role="alert"' in page
    assert len(idp.events()) == before


def test_what_is_dangerous_asks_for_a_proof_and_keeps_the_form(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    alice = idp.person("alice")
    browser = enter()
    clock.advance(6 * MINUTE)
    before = len(idp.events())
    for form in DANGEROUS:
        status, page = send(browser, f"/admin/users/{alice.id}/{form}", reason="asked by phone")
        assert status == 200
        assert 'action="/step-up"' in page
        assert 'name="for" value="administer"' in page
    assert len(idp.events()) == before


@pytest.mark.attack("AD-08")
def test_signing_somebody_out_ends_everything_with_who_and_why(idp: Idp, enter: Enter) -> None:
    alice = idp.person("alice")
    app = idp.register(backchannel_logout_uri="http://127.0.0.1:9/logout")
    sessions = [idp.session(alice) for _ in range(3)]
    tokens = idp.grant(app, sessions[0])
    browser = enter()
    status, where = send(browser, f"/admin/users/{alice.id}/sign-out", reason="lost laptop")
    assert status == 303
    page = text_of(browser.get(where).text)
    assert "3 sessions signed out." in page
    assert "App is being told…" in page
    assert "lost laptop" in page
    assert not idp.is_active(app, tokens["access_token"])
    ended = idp.events("session.ended")
    assert {one["session_id"] for one in ended} == {one.session.id for one in sessions}
    assert {one["actor"] for one in ended} == {"admin"}
    assert all("lost laptop" in one["data"] and one["actor_id"] for one in ended)


def test_a_disabled_user_is_out_and_can_be_let_in_again(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    alice = idp.person("alice")
    idp.session(alice)
    browser = enter()
    _, where = send(browser, f"/admin/users/{alice.id}/disable", reason="left")
    assert "Disabled" in text_of(browser.get(where).text)
    assert idp.count("sessions WHERE ended_at IS NULL") == 1, "the administrator's own"
    clock.advance(MINUTE)
    _, where = send(browser, f"/admin/users/{alice.id}/enable", reason="is back")
    assert "Saved." in text_of(browser.get(where).text)


def test_what_somebody_lost_is_taken_away_and_a_link_helps_them_back(
    idp: Idp, enter: Enter
) -> None:
    alice = idp.person("alice")
    with_passkey(idp, alice)
    with idp.work.read() as unit:
        (passkey,) = [one.id for one in passkeys.of(unit, alice.id)]
    browser = enter()
    page = browser.get(f"/admin/users/{alice.id}").text
    assert passkey in page
    fields = {"reason": "stolen", "factor": passkey}
    _, where = send(browser, f"/admin/users/{alice.id}/remove-factor", **fields)
    after = browser.get(where).text
    assert "Removed. They are told by mail." in text_of(after)
    assert f'id="{passkey}"' not in after
    _, where = send(browser, f"/admin/users/{alice.id}/password-link", reason="forgot it")
    shown = browser.get(where).text
    assert "A link to set a password is on its way to them." in text_of(shown)
    assert "/recover/reset" not in shown, "whoever sees it could be them"
    for _ in range(2):
        send(browser, f"/admin/users/{alice.id}/password-link", reason="again")
    status, _ = send(browser, f"/admin/users/{alice.id}/password-link", reason="and again")
    assert status == 429


def roles_form(browser: TestClient, user_id: str) -> dict[str, str]:
    """What the form of the roles says without the ticks: what it was made from."""
    page = browser.get(f"/admin/users/{user_id}").text
    form = page.partition(f'action="/admin/users/{user_id}/roles"')[2].partition("</form>")[0]
    fields = re.findall(r'type="hidden" name="(tag)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in fields}


def test_of_two_who_tick_roles_at_once_the_later_is_shown_both(idp: Idp, enter: Enter) -> None:
    with idp.work.begin() as unit:
        for name in ("editor", "reader"):
            queries.define_role(unit, name, [f"docs:{name}"])
    alice = idp.person("alice")
    browser, path = enter(), f"/admin/users/{alice.id}/roles"
    early, late = roles_form(browser, alice.id), roles_form(browser, alice.id)
    assert send(browser, path, **early, **{"role.editor": "on", "reason": "x"})[0] == 303
    status, page = send(browser, path, **late, **{"role.reader": "on", "reason": "x"})
    assert status == 412
    assert "Now they are: editor." in text_of(page)
    assert 'name="role.reader" value="on" checked' in page
    assert 'name="role.editor" value="on" checked' not in page
    with idp.work.read() as unit:
        assert queries.by_id(unit, alice.id).roles == ["editor"]
    # Saving what was ticked, with what stands now before one's eyes, puts it in its place.
    again = roles_form(browser, alice.id)
    assert again["tag"] in [
        unescape(one) for one in re.findall(r'name="tag" value="([^"]*)"', page)
    ]
    assert send(browser, path, **again, **{"role.reader": "on", "reason": "x"})[0] == 303
    with idp.work.read() as unit:
        assert queries.by_id(unit, alice.id).roles == ["reader"]
    # A form that says nothing of what it was made from changes nothing.
    assert send(browser, path, reason="x")[0] == 428


@pytest.mark.attack("AD-04")
def test_nobody_reaches_above_themselves(idp: Idp, enter: Enter) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, "chief", management.SCOPES)
    chief = idp.person("chief", roles=["chief"])
    alice = idp.person("alice")
    rights = [one for one in management.SCOPES if one != "keys:rotate"]
    browser = enter(*rights, username="nearly")
    page = browser.get(f"/admin/users/{chief.id}").text
    assert "You can look, and change nothing." in page
    assert "/sign-out" not in page
    for form in FORMS:
        fields = {"reason": "why not", "factor": "psk_x", "name": "x"}
        status, _ = send(browser, f"/admin/users/{chief.id}/{form}", **fields)
        assert status == 403, form
    fields = {"role.chief": "on", "reason": "x"}
    assert send(browser, f"/admin/users/{alice.id}/roles", **fields)[0] == 403
    assert send(browser, "/admin/users/new", username="puppet", **{"role.chief": "on"})[0] == 403
    with idp.work.read() as unit:
        assert queries.by_identifier(unit, "puppet") is None


def test_ones_own_account_is_not_changed_here(idp: Idp, enter: Enter) -> None:
    browser = enter()
    with idp.work.read() as unit:
        own = queries.by_identifier(unit, "root")
        assert own is not None
    page = browser.get(f"/admin/users/{own.id}").text
    assert "This is your own account." in page
    for form in ("roles", "disable", "enable"):
        assert send(browser, f"/admin/users/{own.id}/{form}", reason="x")[0] == 403


@pytest.mark.attack("WB-01")
def test_what_people_call_themselves_is_text(idp: Idp, enter: Enter) -> None:
    marked = "<script>alert(1)</script>"
    person = idp.person("x<b>y", email=None, claims={"name": marked, "website": marked})
    browser = enter()
    send(browser, f"/admin/users/{person.id}/sign-out", reason=marked)
    for path in ("/admin/users", f"/admin/users/{person.id}"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "x<b>" not in page


def test_what_was_done_is_told_to_whoever_did_it_and_when_it_is_true(
    idp: Idp, enter: Enter, clock: ManualClock
) -> None:
    alice = idp.person("alice")
    browser, other = enter(), enter(username="other")
    _, where = send(browser, f"/admin/users/{alice.id}/sign-out", reason="asked")
    assert "They were signed in nowhere." in browser.get(where).text
    assert "They were signed in nowhere." not in other.get(where).text
    made_up = f"/admin/users/{alice.id}?done={clock.now() + HOUR}"
    assert 'id="receipts"' not in browser.get(made_up).text

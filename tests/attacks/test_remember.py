"""The cookie by which a browser stays signed in, in the hands of a thief; and of nobody any more.

Owner and thief have the same cookies, as after malware or a copied profile. Whoever comes second is
noticed, whichever of them that is; what was begun is over, and the person is told. Nothing that a
browser may do honestly looks like it.
"""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from idp import ids
from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events.actor import SYSTEM
from idp.events.catalogue import FactorRemoved, FactorSuspended, SessionDisowned
from idp.policy.assurance import Authentication
from idp.sessions import beginning, forgetting, lifecycle, prove, remembering
from idp.sessions.device import Visit
from idp.sessions.endings import EndReason
from idp.storage.unit_of_work import UnitOfWork
from idp.users import queries, rules
from idp.users.model import User
from tests.harness.provider import ADMIN, PASSWORD, Flow, Idp, Registered
from tests.web.html import Page
from tests.web.test_stay_signed_in import SESSIONS, SIGN_IN, close, cookie_of, greeting, stay

pytestmark = pytest.mark.attack("RT-01")


@pytest.fixture
def owner(idp: Idp) -> TestClient:
    """A browser that stays signed in, closed."""
    idp.person("alice")
    browser = idp.browser()
    stay(browser)
    close(browser)
    return browser


def copy_of(idp: Idp, browser: TestClient, **instead: str | None) -> TestClient:
    """Another browser with the same cookies, but for those in `instead`."""
    copy = idp.browser()
    for name in ("idp_remember", "idp_device"):
        value = instead.get(name, browser.cookies.get(name))
        if value is not None:
            copy.cookies.set(name, value, domain="localhost.local", path="/")
    return copy


def go_on(browser: TestClient) -> None:
    """Presses the button, and sees the page behind it."""
    response = greeting(browser).press(browser, "go-on")
    assert browser.get(response.headers["location"]).status_code == 200


def is_in(browser: TestClient) -> bool:
    return browser.get(SESSIONS).status_code == 200


def is_greeted(browser: TestClient) -> bool:
    return Page(browser.get(SIGN_IN)).has("go-on")


def require_theft(idp: Idp, *browsers: TestClient) -> None:
    """Noticed once, and nobody is in or can come back."""
    (noticed,) = idp.events("remember.reuse_detected")
    assert noticed["user_id"]
    assert not any(is_in(one) or is_greeted(one) for one in browsers)
    assert len(idp.events("remember.reuse_detected")) == 1
    (row,) = column(idp, "SELECT revoke_reason FROM remembered_browsers")
    assert row == "copied"


def column(idp: Idp, query: str) -> list[Any]:
    with idp.work.read() as unit:
        return [row[0] for row in unit.connection.exec_driver_sql(query)]


# --- Theft ------------------------------------------------------------------------------------


def test_the_thief_comes_first_and_the_owner_second(idp: Idp, owner: TestClient) -> None:
    thief = copy_of(idp, owner)
    go_on(thief)
    idp.clock.advance(2 * MINUTE)
    page = Page(owner.get(SIGN_IN))
    assert "A copy of the cookie that kept this browser signed in was used" in page.text
    assert page.has("login-submit")
    require_theft(idp, owner, thief)
    (why,) = column(idp, "SELECT end_reason FROM sessions WHERE remembered = 1")
    assert why == "remember_copied"


def test_the_owner_comes_first_and_the_thief_second(idp: Idp, owner: TestClient) -> None:
    thief = copy_of(idp, owner)
    go_on(owner)
    idp.clock.advance(2 * MINUTE)
    assert not is_greeted(thief)
    require_theft(idp, owner, thief)


@pytest.mark.parametrize("uses", [2, 3, 7])
def test_a_copy_betrays_itself_however_old_it_is(idp: Idp, owner: TestClient, uses: int) -> None:
    """One hash of the cookie before would have forgotten it by then."""
    thief = copy_of(idp, owner)
    for _ in range(uses):
        go_on(owner)
        idp.clock.advance(2 * HOUR)
        close(owner)
    assert not is_greeted(thief)
    require_theft(idp, owner, thief)


def test_by_the_button_alone_it_is_the_same(idp: Idp, owner: TestClient) -> None:
    """Whoever has written a tool does not look at the page first."""
    thief = copy_of(idp, owner)
    button = greeting(thief)
    go_on(owner)
    idp.clock.advance(2 * MINUTE)
    response = button.press(thief, "go-on")
    assert response.headers["location"].startswith(SIGN_IN)
    assert "idp_session" not in response.headers.get("set-cookie", "")
    require_theft(idp, owner, thief)


@pytest.mark.parametrize("number", [None, "x" * 43])
def test_in_another_browser_the_cookie_is_a_copy(
    idp: Idp, owner: TestClient, number: str | None
) -> None:
    """Only who knows it can show it: that it left its browser is all there is to know."""
    thief = copy_of(idp, owner, idp_device=number)
    assert not is_greeted(thief)
    (noticed,) = idp.events("remember.reuse_detected")
    assert noticed["reason"] == "foreign"
    require_theft(idp, owner, thief)


def test_whoever_only_knows_its_name_can_do_nothing_to_it(idp: Idp, owner: TestClient) -> None:
    """The first 22 characters name the series; without the rest they are no evidence of anything."""
    cookie = cookie_of(owner) or ""
    for forged in (
        cookie[:28] + "A" * 42,
        cookie[:22] + "AAAAAg" + cookie[28:],
        cookie[:-2] + ("AA" if cookie[-2:] != "AA" else "BA"),
    ):
        thief = copy_of(idp, owner, idp_remember=forged)
        assert forged != cookie
        assert not is_greeted(thief)
    assert idp.events("remember.reuse_detected", "remember.forgotten") == []
    assert is_greeted(owner)


def test_the_apps_that_the_thief_opened_are_told(idp: Idp, owner: TestClient) -> None:
    app = idp.register(backchannel_logout_uri="http://127.0.0.1:1/logout")
    thief = copy_of(idp, owner)
    go_on(thief)
    tokens = grant(idp, thief, app)
    idp.clock.advance(2 * MINUTE)
    assert not is_greeted(owner)
    assert not idp.is_active(app, tokens["access_token"])
    owed = column(idp, "SELECT receiver FROM deliveries WHERE channel = 'backchannel_logout'")
    assert owed == [app.id]


def test_access_that_outlived_its_session_ends_with_the_theft(idp: Idp, owner: TestClient) -> None:
    app = idp.register()
    thief = copy_of(idp, owner)
    go_on(thief)
    tokens = grant(idp, thief, app, scope="openid offline_access")
    assert tokens["scope"] == "openid"
    # As one was given before that was refused to browsers that are only remembered.
    idp.execute("UPDATE authorizations SET offline = 1")
    idp.clock.advance(3 * DAY)
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200
    assert not is_greeted(owner)
    assert idp.events("remember.reuse_detected")
    assert idp.refresh(app, tokens["refresh_token"])[0] == 400


def grant(idp: Idp, browser: TestClient, app: Registered, **asked: str) -> dict[str, Any]:
    flow = Flow(app)
    answer = idp.authorize(browser, flow.parameters(**asked))
    status, tokens = idp.token(
        app, grant_type="authorization_code", code=answer["code"],
        redirect_uri=app.redirect_uri, code_verifier=flow.verifier,
    )  # fmt: skip
    assert status == 200
    return tokens


def test_the_person_is_told_by_mail_and_on_their_pages(idp: Idp, owner: TestClient) -> None:
    thief = copy_of(idp, owner)
    go_on(thief)
    idp.clock.advance(2 * MINUTE)
    is_greeted(owner)
    sent = column(idp, "SELECT payload FROM deliveries WHERE channel = 'mail'")
    assert sum("remember_copied" in one for one in sent) == 1
    page = Page(owner.get(SIGN_IN))
    stay(owner, page, stay="")
    assert "cookie that kept" in Page(owner.get(SESSIONS)).text
    assert "cookie that kept" in Page(owner.get("/account/security")).text


# --- What is no theft -------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 10 * MINUTE, 5 * HOUR, 20 * DAY])
def test_an_answer_that_was_lost_costs_nobody_anything(
    idp: Idp, owner: TestClient, wait: int
) -> None:
    """Killed between the commit and the answer: the cookie before is good until the next was seen."""
    lost = copy_of(idp, owner)
    greeting(lost).press(lost, "go-on")
    idp.clock.advance(wait)
    go_on(owner)
    assert is_in(owner)
    assert idp.events("remember.reuse_detected") == []
    # At once it is the same session; after it had run out, another one under the same cookie.
    begun = column(idp, "SELECT id FROM sessions WHERE remembered = 1")
    assert len(begun) == (1 if wait < HOUR else 2)
    close(owner)
    go_on(owner)


def test_tabs_that_ask_at_once_share_one_session(idp: Idp, owner: TestClient) -> None:
    tabs = [copy_of(idp, owner) for _ in range(5)]
    pages = [greeting(tab) for tab in tabs]
    answers = {
        (page.press(tab, "go-on").status_code, cookie_of(tab), tab.cookies.get("idp_session"))
        for page, tab in zip(pages, tabs, strict=True)
    }
    assert len(answers) == 1
    assert len(column(idp, "SELECT id FROM sessions WHERE remembered = 1")) == 1
    assert len(idp.events("remember.used")) == 1
    assert is_in(tabs[0])
    idp.clock.advance(30 * SECOND)
    # A tab that was slow, half a minute after the first was seen.
    assert is_greeted(copy_of(idp, owner))
    assert idp.events("remember.reuse_detected") == []


@pytest.mark.attack("SE-02")
def test_a_proof_in_the_session_ends_what_a_copy_of_the_cookie_could_share(
    idp: Idp, owner: TestClient
) -> None:
    """SE-02: within the minute a thief gets the owner's session; no proof of the owner's is in it."""
    thief = copy_of(idp, owner)
    go_on(owner)
    go_on(thief)
    assert thief.cookies.get("idp_session") == owner.cookies.get("idp_session")
    page = Page(owner.get(f"/step-up?for=manage_account&next={SESSIONS}"))
    assert page.press(owner, "factor-submit", password=PASSWORD).status_code == 303
    assert is_in(owner)
    assert not is_in(thief)
    # And the spent cookie is a copy from now on, minute or not.
    spent = copy_of(idp, owner, idp_remember=None)
    assert not is_in(spent)


# --- SE-01, WB-02 -----------------------------------------------------------------------------


@pytest.mark.attack("SE-01")
def test_a_planted_session_cookie_is_not_what_comes_of_it(idp: Idp, owner: TestClient) -> None:
    """SE-01: neither a made-up secret nor the attacker's own session becomes the owner's."""
    for planted in ("p" * 43, idp.session(idp.person("mallory")).secret):
        page = greeting(owner)
        owner.cookies.set("idp_session", planted, domain="localhost.local", path="/")
        page.press(owner, "go-on")
        after = owner.cookies.get("idp_session")
        users = column(
            idp, "SELECT u.username FROM sessions s JOIN users u ON u.id = s.user_id "
            f"WHERE s.secret_hash = '{ids.digest(after or '')}'",
        )  # fmt: skip
        # A stranger's living session is no reason to begin one: the tab goes where it would lead.
        assert users == (["alice"] if planted == "p" * 43 else ["mallory"])
        close(owner)


@pytest.mark.attack("WB-02")
@pytest.mark.parametrize("action", ["remembered", "forget"])
def test_nobody_else_presses_the_buttons(idp: Idp, owner: TestClient, action: str) -> None:
    """WB-02: the form is this browser's, and comes from our own page."""
    own = greeting(owner).form(button="go-on").fields
    stranger = idp.browser()
    theirs = Page(stranger.get(SIGN_IN)).form(button="login-submit").fields["csrf"]
    for fields, headers in (
        (own | {"csrf": theirs}, {}),
        (own | {"csrf": ""}, {}),
        (own, {"sec-fetch-site": "cross-site"}),
        (own, {"origin": "https://evil.example"}),
    ):
        response = owner.post(SIGN_IN, data=fields | {"action": action}, headers=headers)
        assert response.status_code == 403
    assert idp.events("remember.used", "remember.forgotten") == []


# --- What it dies with ------------------------------------------------------------------------


def user_of(unit: UnitOfWork) -> User:
    found = queries.by_identifier(unit, "alice")
    assert found is not None
    return found


def status(to: str) -> Callable[[UnitOfWork], object]:
    return lambda unit: queries.set_status(unit, user_of(unit), to, ADMIN)


ENDS: dict[str, Callable[[UnitOfWork], object]] = {
    "password": lambda unit: queries.set_password(unit, user_of(unit), "x", SYSTEM),
    "everywhere": lambda unit: lifecycle.end_all_of(
        unit, user_of(unit).id, reason="signed_out_everywhere", actor=SYSTEM
    ),
    "administrator": lambda unit: lifecycle.end_all_of(
        unit, user_of(unit).id, reason="admin", actor=ADMIN
    ),
    "disabled": status("disabled"),
    "locked": status("locked"),
    "deleted": lambda unit: queries.delete_user(unit, user_of(unit), ADMIN),
    "rule": lambda unit: rules.set_rule(unit, "remember", {}, {"days": 0}, ADMIN),
}


@pytest.mark.attack("BF-05")
@pytest.mark.parametrize("end", ENDS)
def test_no_way_in_is_left_after(idp: Idp, owner: TestClient, end: str) -> None:
    """BF-05: also while no session runs that could be ended, and also by the form of before."""
    idp.clock.advance(2 * HOUR)
    button = greeting(owner)
    with idp.work.begin() as unit:
        ENDS[end](unit)
    response = button.press(owner, "go-on")
    assert response.status_code in (303, 403)
    assert "idp_session=" not in response.headers.get("set-cookie", "")
    assert not is_greeted(owner)
    if end in ("disabled", "locked"):
        # Allowed in again, they sign in again.
        with idp.work.begin() as unit:
            status("active")(unit)
        assert not is_greeted(owner)
    assert column(idp, "SELECT id FROM sessions WHERE remembered = 1") == []


OUTLIVED = {
    "idle_timeout",
    "absolute_timeout",
    "temporary",
    "hours",
    "limit",
    "replaced",
    "renewed",
}


@pytest.mark.parametrize("reason", [*get_args(EndReason)])
def test_it_outlives_its_session_when_nobody_meant_to_end_it(
    idp: Idp, owner: TestClient, reason: Any
) -> None:
    """Every end by a person, an app or an administrator is meant for the browser as well."""
    go_on(owner)
    close(owner)
    (begun,) = column(idp, "SELECT id FROM sessions WHERE remembered = 1")
    idp.end(begun, reason)
    if reason == "remember_copied":
        return  # whoever ends it so has revoked the series, or is about to
    assert is_greeted(owner) == (reason in OUTLIVED)


@pytest.mark.parametrize("reason", ["signed_out", "idle_timeout"])
def test_of_the_session_that_earned_it_the_same_is_true(
    idp: Idp, owner: TestClient, reason: Any
) -> None:
    (first,) = column(idp, "SELECT id FROM sessions")
    idp.end(first, reason)
    assert is_greeted(owner) == (reason in OUTLIVED)


def test_signing_out_elsewhere_reaches_a_browser_that_stays_signed_in(
    idp: Idp, owner: TestClient
) -> None:
    """The page of another device ends it for real: it does not come back by itself."""
    go_on(owner)
    phone = idp.browser()
    stay(phone)
    page = Page(phone.get(SESSIONS))
    (session,) = column(idp, "SELECT id FROM sessions WHERE remembered = 1")
    sent = {"csrf": page.forms[0].fields["csrf"]}
    assert phone.post(f"{SESSIONS}/{session}/end", data=sent).status_code == 303
    assert not is_in(owner)
    assert not is_greeted(owner)
    close(phone)
    assert is_greeted(phone)


def test_signing_out_forgets_a_browser_also_where_a_password_was_used_meanwhile(
    idp: Idp, owner: TestClient
) -> None:
    stay(owner, Page(owner.get(f"{SIGN_IN}?account=other")), stay="")
    assert Page(owner.get(SESSIONS)).press(owner, "sign-out").status_code == 303
    assert not cookie_of(owner)
    assert [one["reason"] for one in idp.events("remember.forgotten")] == ["signed_out"]


@pytest.mark.attack("BF-05")
def test_who_may_not_sign_in_is_looked_at_when_the_button_is_pressed(
    idp: Idp, owner: TestClient
) -> None:
    """BF-05: whatever way somebody was stopped, also one that told nobody."""
    button = greeting(owner)
    idp.execute("UPDATE users SET status = 'locked'")
    assert not is_greeted(owner)
    button.press(owner, "go-on")
    assert not is_in(owner)
    assert column(idp, "SELECT id FROM sessions WHERE remembered = 1") == []


def test_signing_out_of_all_others_keeps_this_one(idp: Idp, owner: TestClient) -> None:
    phone = idp.browser()
    stay(phone)
    idp.clock.advance(MINUTE)
    page = Page(phone.get(SESSIONS)).press(phone, "end-others")
    assert Page(page).press(phone, "end-confirm").status_code == 303
    assert not is_greeted(owner)
    close(phone)
    assert is_greeted(phone)


def test_a_session_disowned_after_it_ran_out_takes_its_browser_with_it(
    idp: Idp, owner: TestClient
) -> None:
    (session,) = column(idp, "SELECT id FROM sessions")
    idp.end(session, "idle_timeout")
    with idp.work.begin() as unit:
        unit.record(
            SessionDisowned(
                actor="user", actor_id="ses_x", user_id=user_of(unit).id, session_id=session
            )
        )
    assert not is_greeted(owner)


@pytest.mark.attack("SE-11")
@pytest.mark.parametrize("kind", [FactorRemoved, FactorSuspended])
def test_what_a_passkey_earned_dies_with_it(
    idp: Idp, kind: type[FactorRemoved] | type[FactorSuspended]
) -> None:
    """SE-11: whoever copied a passkey does not stay signed in by it; what else was earned stays."""
    user = idp.person("alice")
    earned = [Authentication("passkey", ("swk", "user"), "aal2", "psk_1"), prove.PASSWORD]
    for number, proof in enumerate(earned):
        remembered(idp, user, proof, str(number))
    with idp.work.begin() as unit:
        unit.record(kind(user_id=user.id, credential="psk_1", kind="passkey", name="Key"))
    left = column(idp, "SELECT credentials FROM remembered_browsers WHERE revoked_at IS NULL")
    assert left == ["[]"]


@pytest.mark.attack("SE-11")
def test_a_session_that_only_the_cookie_began_ends_with_the_code_that_earned_it(
    idp: Idp, owner: TestClient
) -> None:
    go_on(owner)
    idp.execute("UPDATE remembered_browsers SET credentials = '[\"totp_1\"]'")
    with idp.work.begin() as unit:
        user = unit.orm.query(User).one()
        unit.record(FactorRemoved(user_id=user.id, credential="totp_1", kind="totp", name="App"))
    assert not is_in(owner)
    assert [one["reason"] for one in idp.events("session.ended")][-1] == "factor_removed"
    assert not is_greeted(owner)


def remembered(idp: Idp, user: User, proof: Authentication, number: str) -> None:
    """A browser of this number in which somebody stays signed in."""
    visit = Visit(device_hash=ids.digest(number))
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        started = beginning.start(unit, fresh, [proof], visit)
        assert isinstance(started, beginning.Started)
        assert remembering.make(unit, fresh, started.session_id, [proof], visit) is not None


def test_the_twenty_first_browser_takes_the_place_of_the_one_unused_for_longest(idp: Idp) -> None:
    """What one person may leave behind is bounded."""
    user = idp.person("alice")
    for number in range(remembering.MAXIMUM + 3):
        remembered(idp, user, prove.PASSWORD, str(number))
        idp.clock.advance(SECOND)
    every = column(idp, "SELECT revoked_at IS NULL FROM remembered_browsers ORDER BY created_at")
    assert every == [0] * 3 + [1] * remembering.MAXIMUM


@pytest.mark.parametrize("days", [30, 31])
def test_what_has_run_out_is_deleted_a_day_later(idp: Idp, owner: TestClient, days: int) -> None:
    idp.clock.advance(days * DAY)
    with idp.work.begin() as unit:
        assert forgetting.forget_past(unit) == (1 if days == 31 else 0)

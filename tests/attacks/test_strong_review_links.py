"""What a review of strong sign-in found, each kept as a test: links, mail, and pages around them."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from httpx2 import Response

from idp.clock import HOUR, MINUTE, SECOND
from idp.events.actor import SYSTEM
from idp.notify import mailed_links, recovery
from idp.sessions.lifecycle import Authentication
from idp.users import queries
from idp.users.model import User
from tests.harness.enrolled import with_totp
from tests.harness.mail import delivering
from tests.harness.mails import linked, owed
from tests.harness.provider import ADMIN, ISSUER, PASSWORD, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.web.conftest import Somebody, sign_in
from tests.web.html import Page

HOME = "/account/sign-in"
EMAIL = "/account/security/email"
NOT_ME = "/account/security/not-me"
NEW = "seven quiet herons at dusk"
THIEFS = "thief@evil.example"
BY_CODE = Authentication("totp", ("otp",), "aal1")
BY_PASSWORD = Authentication("password", ("pwd",), "aal1")


def signed_in(idp: Idp, username: str = "alice", **values: str) -> Somebody:
    """A new person in a session that was begun just now."""
    return again(idp, idp.person(username, **values))


def again(idp: Idp, user: User) -> Somebody:
    """Another session of the same person."""
    session = idp.session(user)
    return Somebody(idp, user, session, idp.signed_in_browser(session))


def ask_for_address(one: Somebody, email: str) -> Response:
    page = Page(one.browser.get(EMAIL))
    return page.press(one.browser, "email-submit", email=email)


def csrf_of(one: Somebody) -> str:
    return one.sessions().form(action="/account/sessions/end").fields["csrf"]


def end(one: Somebody, what: str) -> Response:
    """Signs out the others, or everything."""
    form = {"csrf": csrf_of(one), "what": what, "confirmed": "yes"}
    return one.browser.post("/account/sessions/end", data=form)


def address(idp: Idp, user: User) -> str | None:
    with idp.work.read() as unit:
        return unit.orm.get_one(User, user.id).email


def set_status(idp: Idp, user: User, status: str) -> None:
    with idp.work.begin() as unit:
        queries.set_status(unit, unit.orm.get_one(User, user.id), status, ADMIN)


# --- a change of address that waits for its confirmation (H1) -------------------------------------


def by_forgotten_password(owner: Somebody, thief: Somebody) -> None:
    with owner.idp.work.begin() as unit:
        user = unit.orm.get_one(User, owner.user.id)
        link = mailed_links.reset_link(unit, user, actor=SYSTEM).removeprefix(ISSUER)
    browser = owner.idp.browser()
    page = Page(browser.get(link))
    assert page.press(browser, "reset-submit", new_password=NEW).status_code == 303


def by_new_password(owner: Somebody, thief: Somebody) -> None:
    with owner.idp.work.begin() as unit:
        user = unit.orm.get_one(User, owner.user.id)
        queries.set_password(unit, user, owner.idp.hasher.hash(NEW), ADMIN)


def by_signing_out_everywhere(owner: Somebody, thief: Somebody) -> None:
    assert end(owner, "everywhere").headers["location"].startswith("/signed-out")


def by_signing_out_the_others(owner: Somebody, thief: Somebody) -> None:
    assert end(owner, "others").headers["location"].startswith("/account/sessions")


def by_this_was_not_me(owner: Somebody, thief: Somebody) -> None:
    form = {"csrf": csrf_of(owner), "step": "session", "end": thief.id}
    assert owner.browser.post(NOT_ME, data=form).status_code == 303


def by_disabling(owner: Somebody, thief: Somebody) -> None:
    set_status(owner.idp, owner.user, "disabled")
    set_status(owner.idp, owner.user, "active")


@pytest.mark.attack("AR-04")
@pytest.mark.parametrize(
    "secure",
    [
        by_forgotten_password,
        by_new_password,
        by_signing_out_everywhere,
        by_signing_out_the_others,
        by_this_was_not_me,
        by_disabling,
    ],
    ids=lambda way: way.__name__,
)
def test_what_secures_an_account_voids_a_change_of_its_address(
    either_idp: Idp, secure: Callable[[Somebody, Somebody], None]
) -> None:
    """AR-04: a thief asks for their own address, waits until the owner is done, and confirms it."""
    idp = either_idp
    thief = signed_in(idp)
    assert ask_for_address(thief, THIEFS).status_code == 202
    link = linked(idp, "verify_email")
    assert idp.browser().get(link).status_code == 200
    fields = Page(idp.browser().get(link)).form(button="verify-submit").fields
    secure(again(idp, thief.user), thief)
    browser = idp.browser()
    assert browser.get(link).status_code == 410
    fields["csrf"] = Page(browser.get("/recover")).form(button="recover-submit").fields["csrf"]
    assert browser.post("/verify-email", data=fields).status_code == 410
    assert address(idp, thief.user) == "alice@example.com"


@pytest.mark.attack("AR-04")
def test_the_present_address_learns_that_another_was_asked_for(either_idp: Idp) -> None:
    """AR-04: a thief asks for their own address, and the owner hears of it when it is too late."""
    idp = either_idp
    thief = signed_in(idp)
    ask_for_address(thief, THIEFS)
    (told,) = owed(idp, "email_change_asked")
    assert told.to == "alice@example.com"
    assert THIEFS not in told.letter.text
    (event,) = idp.events("user.email_change_asked")
    assert (event["user_id"], event["session_id"]) == (thief.user.id, thief.id)
    assert address(idp, thief.user) == "alice@example.com"


def test_confirming_ones_own_address_is_told_to_nobody(idp: Idp) -> None:
    one = signed_in(idp)
    assert ask_for_address(one, "alice@example.com").status_code == 202
    assert [mail.message for mail in owed(idp)] == ["verify_email"]


@pytest.mark.attack("AR-08")
def test_an_address_that_is_the_user_name_is_not_left_behind(either_idp: Idp) -> None:
    """AR-08: an address is changed under a name that stays one, which somebody else may get."""
    idp = either_idp
    bob = signed_in(idp, "bob@example.com", email="bob@example.com")
    refused = ask_for_address(bob, "bob@new.example")
    assert refused.status_code == 409
    assert "user name" in Page(refused).text
    assert owed(idp) == []
    assert ask_for_address(bob, "bob@example.com").status_code == 202


# --- forgotten passwords (L1, L2, L4) -----------------------------------------------------------


def ask_for_reset(idp: Idp, name: str) -> None:
    with idp.work.begin() as unit:
        recovery.ask(unit, name, language="en")


@pytest.mark.attack("BF-07")
def test_a_stranger_who_asks_first_keeps_nobody_without_a_link(either_idp: Idp) -> None:
    """BF-07: three questions in somebody's name, and their own is not answered within the hour."""
    idp = either_idp
    idp.person("alice")
    for _ in range(3):
        ask_for_reset(idp, "alice")
        recovery.answer(idp.work)
    # While the last of them is good, there are no more.
    ask_for_reset(idp, "alice")
    recovery.answer(idp.work)
    assert len(owed(idp, "reset_password")) == 3
    idp.clock.advance(31 * MINUTE)
    ask_for_reset(idp, "alice")
    recovery.answer(idp.work)
    assert len(owed(idp, "reset_password")) == 4
    browser = idp.browser()
    page = Page(browser.get(linked(idp, "reset_password")))
    assert page.press(browser, "reset-submit", new_password=NEW).status_code == 303


@pytest.mark.attack("BF-13")
def test_a_question_that_cannot_be_read_stops_no_other(either_idp: Idp) -> None:
    """BF-13: one question under a key that is gone, and nobody is mailed a link any more."""
    idp = either_idp
    idp.person("alice")
    idp.person("bob")
    ask_for_reset(idp, "alice")
    idp.execute("UPDATE action_tokens SET data = 'garbage' WHERE purpose = 'recovery_request'")
    ask_for_reset(idp, "bob")
    recovery.answer(idp.work)
    assert [mail.to for mail in owed(idp, "reset_password")] == ["bob@example.com"]
    assert recovery.answer(idp.work) is False


@pytest.mark.attack("MF-01")
def test_a_new_password_forgets_what_was_trusted_under_the_old_one(either_idp: Idp) -> None:
    """MF-01: a thief who trusted their browser is asked for no second factor ever after."""
    idp = either_idp
    alice = with_totp(idp, idp.person("alice"))
    browser = idp.browser()
    page = Page(sign_in(browser, Page(browser.get(HOME))))
    assert page.press(browser, "factor-submit", code=alice.code(), trust="yes").status_code == 303
    browser.cookies.delete("idp_session")
    assert sign_in(browser, Page(browser.get(HOME))).status_code == 303
    browser.cookies.delete("idp_session")
    with idp.work.begin() as unit:
        user = unit.orm.get_one(User, alice.user.id)
        queries.set_password(unit, user, idp.hasher.hash(NEW), ADMIN)
    asked = sign_in(browser, Page(browser.get(HOME)), password=NEW)
    assert Page(asked).has("factor-submit")
    assert idp.count("trusted_devices") == 0


# --- mail that is shown in a browser (M4) -------------------------------------------------------


@pytest.mark.attack("AR-04")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_mail_is_not_shown_where_others_can_come(
    tmp_path: Path, templates: Templates, clock: ManualClock, host: str
) -> None:
    """AR-04: a trial that listens on the network shows everybody's reset links to the network."""
    idp = Idp(settings_for(templates.sqlite(tmp_path / "idp.db"), host=host), clock)
    idp.person("alice")
    ask_for_reset(idp, "alice")
    recovery.answer(idp.work)
    with delivering(idp.work) as post:
        post.send()
    response = idp.browser().get("/dev/mail", headers={"host": "localhost:8000"})
    kept = idp.count("mails")
    idp.close()
    assert response.status_code == 404
    assert kept == 0


# --- pages (fresh proofs, L3, L7, L8) -------------------------------------------------------------


@pytest.mark.attack("SE-02")
@pytest.mark.parametrize("where", ["sessions", "not-me"])
def test_turning_the_others_out_needs_a_fresh_proof(either_idp: Idp, where: str) -> None:
    """SE-02: whoever finds a session open turns its owner out of all the others."""
    idp = either_idp
    alice = with_totp(idp, idp.person("alice"))
    started = idp.session(alice.user, proved=[BY_PASSWORD, BY_CODE])
    thief = Somebody(idp, alice.user, started, idp.signed_in_browser(started))
    idp.clock.advance(20 * MINUTE)
    owner = again(idp, alice.user)
    path = "/account/sessions/end" if where == "sessions" else NOT_ME
    form = {"what": "others", "confirmed": "yes"} if where == "sessions" else {"step": "others"}
    held = thief.browser.post(path, data={"csrf": csrf_of(thief)} | form)
    assert owner.is_running(owner.id)
    # The form is kept while its person proves everything there is.
    first = Page(held)
    (kept,) = [one for one in first.forms if one.action == "/step-up"]
    page = Page(thief.browser.post("/step-up", data=kept.fields))
    for _ in range(2):
        answer = {"code": alice.code()} if page.has("code") else {"password": PASSWORD}
        assert owner.is_running(owner.id)
        page = Page(page.press(thief.browser, "factor-submit", **answer))
    (done,) = [one for one in page.forms if one.action == path]
    assert thief.browser.post(path, data=done.fields).status_code == 303
    assert not owner.is_running(owner.id)
    assert thief.is_running(thief.id)


@pytest.mark.attack("OP-01")
@pytest.mark.parametrize(
    "path",
    [
        "/account/security/passkeys/%00/rename",
        "/account/security/passkeys/%00/remove",
        "/account/security/totp/a%00b/rename",
        "/account/security/totp/%00/remove",
        "/account/security/devices/%00/forget",
        "/account/sessions/%00/rename",
    ],
)
def test_no_character_in_an_address_stops_the_server(either_idp: Idp, path: str) -> None:
    """OP-01: a character that PostgreSQL stores in no text is sent as a name in an address."""
    one = signed_in(either_idp)
    sent = one.browser.post(path, data={"csrf": csrf_of(one), "name": "x"})
    assert sent.status_code == 404
    assert one.browser.get(path).status_code in (404, 405)


@pytest.mark.attack("RU-11")
@pytest.mark.parametrize(
    "query", ["request=a%26next%3Dx", "request=a%0d%0aX:y", "request=%23x", "request=%2f%2fevil"]
)
def test_a_request_that_is_carried_on_stays_one_parameter(idp: Idp, query: str) -> None:
    """RU-11: a reference to an app's request brings a parameter of its own along."""
    location = idp.browser().get(f"/login/second?{query}").headers["location"]
    path, _, carried = location.partition("?")
    assert path == "/login"
    assert carried.lower() == query.replace("X:y", "X%3Ay").lower()


@pytest.mark.attack("RU-11")
@pytest.mark.parametrize("action", ["cancel", "prove"])
@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("/account/security/totp/new", "%2Faccount%2Fsecurity%2Ftotp%2Fnew"),
        ("//evil.example/x", "%2Faccount%2Fsessions"),
        ("/\\evil.example", "%2Faccount%2Fsessions"),
    ],
)
def test_whoever_begins_again_gets_where_they_wanted(
    idp: Idp, action: str, wanted: str, kept: str
) -> None:
    """RU-11: the way back leads somewhere else, or to another site."""
    alice = with_totp(idp, idp.person("alice"))
    browser = idp.browser()
    page = Page(browser.get(f"{HOME}?next=/account/security/totp/new"))
    page = Page(sign_in(browser, page))
    fields = page.form(button="factor-cancel").fields | {"next": wanted}
    # A form of so long ago that its ceremony is over.
    idp.clock.advance(2 * HOUR + SECOND)
    sent = browser.post("/login/second", data=fields | {"action": action, "code": alice.code()})
    if action == "cancel":
        assert sent.headers["location"] == f"{HOME}?next={kept}"
    else:
        assert sent.status_code == 400
        assert Page(sent).form(button="login-submit").fields["next"] == unquote(kept)

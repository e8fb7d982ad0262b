"""Changing one's password: the present one, the new one, and the other sessions."""

from typing import Any

import pytest
from httpx2 import Response

from idp.clock import MINUTE, SECOND
from idp.errors import Unavailable
from idp.policy.assurance import Authentication
from idp.sessions import lifecycle
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.users.passwords import PasswordHasher
from idp.web import new_password
from tests.harness.enrolled import with_totp
from tests.harness.mails import owed
from tests.harness.provider import PASSWORD, Idp
from tests.web.conftest import Somebody, sign_in
from tests.web.html import Page

PATH = "/account/security/password"
PASSWORD_PROOF = Authentication("password", ("pwd",), "aal1")
CODE_PROOF = Authentication("totp", ("otp",), "aal1")
NEW = "seven quiet herons at dusk"


def change(
    person: Somebody, *, present: str = PASSWORD, new: str = NEW, others: str = "keep_this"
) -> Response:
    page = Page(person.browser.get(PATH))
    return page.press(
        person.browser,
        "password-submit",
        current_password=present,
        new_password=new,
        others=others,
    )


def stored(idp: Idp) -> str | None:
    with idp.work.read() as unit:
        return unit.connection.exec_driver_sql("SELECT password_hash FROM users").scalar()


def can_sign_in(idp: Idp, password: str) -> bool:
    browser = idp.browser()
    response = sign_in(browser, Page(browser.get("/account/sign-in")), password=password)
    return response.status_code == 303


def test_a_password_is_changed_with_the_present_one(idp: Idp, alice: Somebody) -> None:
    """ASVS 6.2.2, 6.2.3."""
    response = change(alice)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/account/security")
    assert can_sign_in(idp, NEW)
    assert not can_sign_in(idp, PASSWORD)
    (event,) = idp.events("credential.changed")
    assert (event["actor"], event["actor_id"]) == ("user", alice.id)
    assert [mail.to for mail in owed(idp, "password_changed")] == ["alice@example.com"]


def test_the_sessions_secret_changes_with_it(alice: Somebody) -> None:
    before = alice.session.secret
    change(alice)
    after = alice.browser.cookies["idp_session"]
    assert after != before
    assert alice.browser.get("/account/sessions").status_code == 200
    copied = alice.idp.browser()
    copied.cookies.set("idp_session", before, domain="localhost.local")
    assert copied.get("/account/sessions").status_code == 303


@pytest.mark.parametrize("present", ["wrong", "", NEW, PASSWORD + " ", PASSWORD.upper()])
def test_a_wrong_or_missing_present_password_changes_nothing(
    idp: Idp, alice: Somebody, present: str
) -> None:
    """ASVS 6.2.3: and the old one still works."""
    before = stored(idp)
    response = change(alice, present=present)
    assert response.status_code == 403
    page = Page(response)
    assert "present password is wrong" in page.text
    assert page.element("current-password").attributes.get("value", "") == ""
    assert stored(idp) == before
    assert can_sign_in(idp, PASSWORD)
    assert alice.is_running(alice.id)
    assert idp.events("login.failed")[0]["reason"] == "wrong_password"


@pytest.mark.attack("BF-01")
def test_wrong_present_passwords_are_counted_with_all_others(idp: Idp, alice: Somebody) -> None:
    """BF-01: whoever holds a session cannot guess on for ever."""
    statuses = [change(alice, present=f"wrong {n}").status_code for n in range(12)]
    assert statuses == [403] * 10 + [429] * 2
    # The right one is not looked at either, until the window is over.
    refused = change(alice)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert stored(idp) is not None
    assert not can_sign_in(idp, NEW)


def test_a_form_without_the_fields_is_no_change(idp: Idp, alice: Somebody) -> None:
    before = stored(idp)
    token = Page(alice.browser.get(PATH)).form(button="password-submit").fields["csrf"]
    for form, status in (
        ({}, 400),
        ({"others": "keep_this"}, 403),
        ({"others": "keep_this", "current_password": PASSWORD}, 400),
        ({"others": "keep_this", "new_password": NEW}, 403),
        ({"others": "whatever", "current_password": PASSWORD, "new_password": NEW}, 400),
        ({"current_password": PASSWORD, "new_password": NEW}, 400),
    ):
        response = alice.browser.post(PATH, data={"csrf": token, **form})
        assert response.status_code == status, form
        assert stored(idp) == before
    for form in (
        {"others": "keep_this", "current_password": PASSWORD, "new_password": NEW},
        {"csrf": "x", "others": "keep_this", "current_password": PASSWORD, "new_password": NEW},
    ):
        assert alice.browser.post(PATH, data=form).status_code == 403
        assert stored(idp) == before


def test_a_weak_or_unchanged_password_is_refused_with_its_reason(idp: Idp, alice: Somebody) -> None:
    before = stored(idp)
    for new, reason in (
        ("too short", "at least 15 characters"),
        ("x" * 30, "too easy to guess"),
        ("alice@example.com!", "built on a name"),
        (PASSWORD, "the password you have now"),
        ("", "at least 15 characters"),
    ):
        response = change(alice, new=new)
        assert response.status_code == 400
        assert reason in Page(response).text
        assert stored(idp) == before


def test_the_least_length_hangs_on_a_second_factor(idp: Idp, alice: Somebody) -> None:
    """ASVS 6.2.1, N-14; and the fresh proof it needs is one of both factors then."""
    assert "At least 15 characters" in Page(alice.browser.get(PATH)).text
    with_totp(idp, alice.user)
    asked = alice.browser.get(PATH)
    assert asked.headers["location"].startswith("/step-up?for=change_password")
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, alice.id)
        secret = lifecycle.reauthenticate(unit, session, [PASSWORD_PROOF, CODE_PROOF], Visit())
    alice.browser.cookies.set("idp_session", secret, domain="localhost.local")
    assert "At least 8 characters" in Page(alice.browser.get(PATH)).text
    assert change(alice, new="vwkzqhxj").status_code == 303


def test_the_other_sessions_end_now_unless_something_else_is_chosen(
    idp: Idp, alice: Somebody
) -> None:
    other = alice.elsewhere()
    page = Page(alice.browser.get(PATH))
    ticked = [
        one.attributes["value"]
        for one in page.elements
        if one.attributes.get("type") == "radio" and "checked" in one.attributes
    ]
    assert ticked == ["keep_this"]
    change(alice)
    assert not alice.is_running(other)
    assert alice.is_running(alice.id)
    (ended,) = idp.events("session.ended")
    assert (ended["reason"], ended["session_id"]) == ("password_changed", other)


def test_the_other_sessions_may_stay(alice: Somebody) -> None:
    other = alice.elsewhere()
    assert change(alice, others="keep_all").status_code == 303
    assert alice.is_running(other)


def test_the_other_sessions_may_have_ten_minutes(idp: Idp, alice: Somebody) -> None:
    """Row B5: grace for the others, who are told, and after which they are over."""
    elsewhere = idp.session(alice.user)
    browser = idp.signed_in_browser(elsewhere)
    assert change(alice, others="end_soon").status_code == 303
    assert Page(browser.get("/account/sessions")).has("ends-soon")
    assert not Page(alice.browser.get("/account/sessions")).has("ends-soon")
    idp.clock.advance(10 * MINUTE - SECOND)
    assert browser.get("/account/sessions").status_code == 200
    idp.clock.advance(SECOND)
    assert browser.get("/account/sessions").status_code == 303
    assert not alice.is_running(elsewhere.session.id)
    assert alice.browser.get("/account/sessions").status_code == 200


def test_every_session_may_end_this_one_too_and_the_sign_in_page_says_why(
    idp: Idp, alice: Somebody
) -> None:
    other = alice.elsewhere()
    response = change(alice, others="end_all")
    assert response.headers["location"] == "/account/sign-in"
    assert not alice.is_running(other)
    assert not alice.is_running(alice.id)
    page = Page(alice.browser.get("/account/sign-in"))
    assert "because your password was changed" in page.text
    assert can_sign_in(idp, NEW)


def test_whoever_has_no_password_sets_one_and_that_proves_nothing(
    idp: Idp, alice: Somebody
) -> None:
    """MF-04: a factor that was enrolled just now raises no level."""
    idp.execute("UPDATE users SET password_hash = NULL")
    page = Page(alice.browser.get(PATH))
    assert not page.has("current-password")
    assert "Set a password" in page.text
    response = page.press(alice.browser, "password-submit", new_password=NEW, others="keep_all")
    assert response.status_code == 303
    assert idp.events("session.reauthenticated") == []
    assert can_sign_in(idp, NEW)


def test_of_two_changes_at_one_moment_the_later_is_refused(
    idp: Idp, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(alice.browser.get(PATH))
    real = PasswordHasher.hash

    def overtaken(hasher: PasswordHasher, password: str) -> str:
        idp.execute("UPDATE users SET password_hash = :other", other=real(hasher, "another one"))
        return real(hasher, password)

    monkeypatch.setattr(PasswordHasher, "hash", overtaken)
    response = page.press(
        alice.browser, "password-submit", current_password=PASSWORD, new_password=NEW,
        others="keep_this",
    )  # fmt: skip
    assert response.status_code == 409
    assert not can_sign_in(idp, NEW)
    assert idp.events("credential.changed") == []


@pytest.mark.attack("MF-02")
@pytest.mark.parametrize("has_password", [True, False])
def test_a_proof_that_is_lost_while_the_new_one_is_hashed_changes_nothing(
    idp: Idp, alice: Somebody, monkeypatch: pytest.MonkeyPatch, has_password: bool
) -> None:
    """MF-02: as when its owner removes, on another device, the passkey a thief had added."""
    if not has_password:
        idp.execute("UPDATE users SET password_hash = NULL")
    before, choose = stored(idp), new_password.chosen

    def then_lost(*arguments: Any, **words: Any) -> Any:
        idp.execute("UPDATE sessions SET authentications = '[]'")
        return choose(*arguments, **words)

    page = Page(alice.browser.get(PATH))
    monkeypatch.setattr(new_password, "chosen", then_lost)
    typed = {"current_password": PASSWORD} if has_password else {}
    response = page.press(
        alice.browser, "password-submit", new_password=NEW, others="keep_this", **typed
    )
    assert response.status_code == 403
    assert "no longer counts" in Page(response).text
    assert stored(idp) == before


def test_a_busy_server_says_so(alice: Somebody, monkeypatch: pytest.MonkeyPatch, idp: Idp) -> None:
    before = stored(idp)

    def busy(hasher: PasswordHasher, password: str) -> str:
        raise Unavailable("full")

    monkeypatch.setattr(PasswordHasher, "hash", busy)
    assert change(alice).status_code == 503
    assert stored(idp) == before


def test_it_needs_a_session_and_a_fresh_proof(idp: Idp, alice: Somebody) -> None:
    """Row T5: a session that was left open is not enough."""
    page = Page(alice.browser.get(PATH))
    assert idp.browser().get(PATH).headers["location"].startswith("/account/sign-in")
    idp.clock.advance(6 * MINUTE)
    asked = alice.browser.get(PATH)
    assert asked.status_code == 303
    assert asked.headers["location"].startswith("/step-up?for=change_password")
    before = stored(idp)
    held = page.press(
        alice.browser, "password-submit", current_password=PASSWORD, new_password=NEW,
        others="keep_this",
    )  # fmt: skip
    assert stored(idp) == before
    assert NEW not in held.text
    assert PASSWORD not in held.text


def test_the_fields_are_what_password_managers_and_people_need(alice: Somebody) -> None:
    """ASVS 6.2.6, 6.2.7."""
    page = Page(alice.browser.get(PATH))
    for name, token in (("current-password", "current-password"), ("new-password", "new-password")):
        field = page.element(name)
        assert (field.attributes["type"], field.attributes["autocomplete"]) == ("password", token)
        assert "maxlength" not in field.attributes
    assert any(
        one.attributes.get("autocomplete") == "username" and one.attributes.get("value") == "alice"
        for one in page.elements
    )

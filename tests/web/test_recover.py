"""Forgotten password: asking for a link, and setting a new password with it."""

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import HOUR, MINUTE, SECOND
from idp.errors import Unavailable
from idp.notify import recovery
from idp.storage.unit_of_work import UnitOfWork
from idp.users.passwords import PasswordHasher
from tests.harness.enrolled import with_totp
from tests.harness.mails import linked, owed
from tests.harness.provider import PASSWORD, Idp
from tests.web.conftest import Somebody, sign_in
from tests.web.html import Page

NEW = "seven quiet herons at dusk"


def ask(idp: Idp, identifier: str, browser: TestClient | None = None) -> Response:
    browser = browser or idp.browser()
    page = Page(browser.get("/recover"))
    return page.press(browser, "recover-submit", identifier=identifier)


def mailed(idp: Idp, identifier: str = "alice") -> str:
    """The path of a reset link that was asked for and mailed."""
    idp.clock.advance(SECOND)
    assert ask(idp, identifier).status_code == 202
    recovery.answer(idp.work)
    return linked(idp, "reset_password")


def reset(
    browser: TestClient, path: str, password: str = NEW, *, end_others: str = "yes"
) -> Response:
    page = Page(browser.get(path))
    return page.press(browser, "reset-submit", new_password=password, end_others=end_others)


def can_sign_in(idp: Idp, password: str) -> bool:
    browser = idp.browser()
    response = sign_in(browser, Page(browser.get("/account/sign-in")), password=password)
    assert response.status_code in (303, 403), response.text
    return response.status_code == 303


def test_a_person_gets_a_link_sets_a_password_and_signs_in_with_it(idp: Idp) -> None:
    idp.person("alice")
    path = mailed(idp)
    (mail,) = owed(idp, "reset_password")
    assert (mail.to, mail.values["minutes"]) == ("alice@example.com", 30)
    browser = idp.browser(ip="192.0.2.7")
    response = reset(browser, path)
    assert response.status_code == 303
    assert response.headers["location"] == "/account/sign-in"
    assert can_sign_in(idp, NEW)
    assert not can_sign_in(idp, PASSWORD)
    (told,) = owed(idp, "password_changed")
    # No session says where it was done: the request does.
    assert "192.0.2.7" in told.letter.text


def test_the_address_a_reset_link_was_read_at_is_verified(idp: Idp) -> None:
    idp.person("alice")
    reset(idp.browser(), mailed(idp))
    with idp.work.read() as unit:
        assert unit.connection.exec_driver_sql("SELECT email_verified FROM users").scalar() == 1


def test_an_e_mail_address_finds_the_account_however_it_is_spelled(idp: Idp) -> None:
    idp.person("alice")
    mailed(idp, " ALICE@example.com ")
    assert owed(idp, "reset_password")[0].to == "alice@example.com"


def nobody(idp: Idp) -> str:
    del idp
    return "nobody"


def disabled(idp: Idp) -> str:
    idp.person("disabled")
    idp.execute("UPDATE users SET status = 'disabled' WHERE username = 'disabled'")
    return "disabled"


def locked(idp: Idp) -> str:
    idp.person("locked")
    idp.execute("UPDATE users SET status = 'locked' WHERE username = 'locked'")
    return "locked"


def without_address(idp: Idp) -> str:
    idp.person("silent", email=None)
    return "silent"


def typed_nonsense(idp: Idp) -> str:
    del idp
    return "a@example.com,b@example.com\r\nBcc: \u202ec@example.com"


def nothing(idp: Idp) -> str:
    del idp
    return ""


@pytest.mark.attack("BF-10")
@pytest.mark.attack("BF-13")
@pytest.mark.parametrize(
    "who", [nobody, disabled, locked, without_address, typed_nonsense, nothing]
)
def test_every_name_gets_the_same_answer_after_the_same_work(
    idp: Idp, monkeypatch: pytest.MonkeyPatch, who: Callable[[Idp], str]
) -> None:
    """BF-10, BF-13: byte-identical, 202, and the very same statements on the database."""
    idp.person("alice")
    other = who(idp)
    ran: list[str] = []
    for engine in {idp.work.database.writing, idp.work.database.reading}:
        sa.event.listen(engine, "before_cursor_execute", lambda *call: ran.append(call[2]))
    real = UnitOfWork.run

    def watched(unit: UnitOfWork, statement: object, parameters: object) -> object:
        ran.append(str(id(statement)))
        return real(unit, statement, parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(UnitOfWork, "run", watched)
    seen = []
    for name in ("alice", other):
        browser = idp.browser()
        page = Page(browser.get("/recover"))
        ran.clear()
        response = page.press(browser, "recover-submit", identifier=name)
        headers = {
            key: value
            for key, value in response.headers.items()
            if key not in ("date", "x-request-id")
        }
        seen.append((response.status_code, headers, response.content, list(ran)))
    assert seen[0] == seen[1]
    assert seen[0][0] == 202
    recovery.answer(idp.work)
    assert [mail.to for mail in owed(idp)] == ["alice@example.com"]


def test_nobody_is_mailed_twice_for_one_question(idp: Idp) -> None:
    idp.person("alice")
    mailed(idp)
    for _ in range(3):
        assert recovery.answer(idp.work) is False
    assert len(owed(idp)) == 1


def test_a_question_that_waited_too_long_is_forgotten(idp: Idp) -> None:
    idp.person("alice")
    ask(idp, "alice")
    idp.clock.advance(10 * MINUTE)
    recovery.answer(idp.work)
    assert owed(idp) == []
    assert idp.count("action_tokens") == 0


def test_many_questions_are_answered_in_turns(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "BATCH", 2)
    for name in ("alice", "bob", "carol"):
        idp.person(name)
        ask(idp, name)
    assert recovery.answer(idp.work) is True
    assert recovery.answer(idp.work) is False
    assert len(owed(idp)) == 3


def test_an_account_gets_three_mails_an_hour_and_the_answer_stays_the_same(idp: Idp) -> None:
    idp.person("alice")
    answers = set()
    for _ in range(6):
        idp.clock.advance(SECOND)
        answers.add(ask(idp, "alice").content)
        recovery.answer(idp.work)
    assert len(answers) == 1
    assert len(owed(idp, "reset_password")) == 3
    # The last of the three still works: asking more often does not take it away.
    path = linked(idp, "reset_password")
    assert idp.browser().get(path).status_code == 200
    idp.clock.advance(HOUR)
    mailed(idp)
    assert len(owed(idp, "reset_password")) == 4


def test_one_address_cannot_ask_for_ever(idp: Idp) -> None:
    browser = idp.browser()
    page = Page(browser.get("/recover"))
    for number in range(100):
        asked = page.press(browser, "recover-submit", identifier=f"name {number}")
        assert asked.status_code == 202
    refused = page.press(browser, "recover-submit", identifier="alice")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    shown = Page(refused)
    assert shown.element("identifier").attributes["value"] == "alice"
    assert shown.element("error").attributes["role"] == "alert"
    assert idp.count("action_tokens") == 100


def test_what_is_waiting_is_no_link_and_says_nothing_to_who_reads_the_database(idp: Idp) -> None:
    idp.person("alice")
    ask(idp, "alice@example.com")
    with idp.work.read() as unit:
        rows = repr(unit.connection.exec_driver_sql("SELECT * FROM action_tokens").all())
    assert "alice" not in rows
    for digest in re.findall(r"[0-9a-f]{64}", rows):
        assert idp.browser().get(f"/recover/reset?token={digest}").status_code == 410


def test_a_weak_password_is_refused_with_its_reason_and_the_link_stays_good(idp: Idp) -> None:
    idp.person("alice")
    path, browser = mailed(idp), idp.browser()
    for password, reason in (
        ("fourteen chars", "at least 15 characters"),
        ("alice@example.com", "built on a name"),
        ("x" * 40, "too easy to guess"),
        ("x" * 5_000, "at most 4096 bytes"),
        ("", "at least 15 characters"),
    ):
        response = reset(browser, path, password)
        assert response.status_code == 400
        page = Page(response)
        assert reason in page.text
        assert page.element("new-password").attributes.get("value", "") == ""
        assert "error" in page.element("new-password").attributes["aria-describedby"]
    assert can_sign_in(idp, PASSWORD)
    assert reset(browser, path).status_code == 303


def test_beside_a_second_factor_eight_characters_do(idp: Idp) -> None:
    with_totp(idp, idp.person("alice"))
    path, browser = mailed(idp), idp.browser()
    assert "At least 8 characters" in Page(browser.get(path)).text
    assert reset(browser, path, "vwkzqhxj").status_code == 303


def test_a_reset_opens_no_session_and_asks_for_the_second_factor_all_the_same(idp: Idp) -> None:
    """ASVS 6.4.3, AR-03: a mailbox is not two factors."""
    alice = idp.person("alice")
    with_totp(idp, alice)
    browser = idp.browser()
    response = reset(browser, mailed(idp))
    assert "idp_session" not in response.headers.get("set-cookie", "")
    assert idp.count("sessions") == 0
    signed = sign_in(browser, Page(browser.get("/account/sign-in")), password=NEW)
    assert "idp_session=" not in signed.headers.get("set-cookie", "")
    assert idp.count("sessions") == 0
    assert len(idp.events("login.second_factor_asked")) == 1
    assert idp.count("totps") == 1


def test_a_reset_makes_every_trusted_browser_ask_again(idp: Idp) -> None:
    """ASVS 6.4.3: a mailbox and a borrowed computer are not two factors either."""
    alice = idp.person("alice")
    with_totp(idp, alice)
    idp.execute(
        "INSERT INTO trusted_devices (id, user_id, device_hash, name, created_at, last_used_at,"
        " expires_at) VALUES ('dev_1', :user, 'x', 'Laptop', 0, 0, :until)",
        user=alice.id, until=idp.clock.now() + HOUR,
    )  # fmt: skip
    reset(idp.browser(), mailed(idp))
    assert idp.count("trusted_devices") == 0
    assert len(idp.events("device.forgotten")) == 1


def test_a_reset_ends_every_session_but_the_browsers_own(idp: Idp, alice: Somebody) -> None:
    elsewhere = alice.elsewhere()
    reset(alice.browser, mailed(idp))
    assert alice.is_running(alice.id)
    assert not alice.is_running(elsewhere)
    assert idp.events("session.ended")[0]["reason"] == "password_changed"


def test_a_reset_in_anothers_browser_ends_every_session_and_leaves_theirs(
    idp: Idp, somebody: Callable[..., Somebody]
) -> None:
    alice, bob = somebody("alice"), somebody("bob")
    reset(bob.browser, mailed(idp))
    assert not alice.is_running(alice.id)
    assert bob.is_running(bob.id)


def test_sessions_stay_when_the_box_is_not_ticked(idp: Idp, alice: Somebody) -> None:
    elsewhere = alice.elsewhere()
    path = mailed(idp)
    box = Page(alice.browser.get(path)).element("end-others")
    assert "checked" in box.attributes
    reset(alice.browser, path, end_others="")
    assert alice.is_running(elsewhere)


def test_a_reset_forgives_the_wrong_passwords_before_it(idp: Idp) -> None:
    idp.person("alice")
    browser = idp.browser()
    page = Page(browser.get("/account/sign-in"))
    for _ in range(12):
        response = sign_in(browser, page, password="wrong")
    assert response.status_code == 429
    idp.execute("UPDATE throttles SET count = 100 WHERE key LIKE 'ever:%'")
    reset(browser, mailed(idp))
    assert can_sign_in(idp, NEW)


def test_a_link_is_good_once_for_half_an_hour_and_only_for_somebody_active(idp: Idp) -> None:
    alice = idp.person("alice")
    browser = idp.browser()
    used = mailed(idp)
    late_page = Page(browser.get(used))
    reset(browser, used)
    for response in (
        browser.get(used),
        late_page.press(browser, "reset-submit", new_password="other words altogether"),
        browser.get("/recover/reset"),
        browser.get("/recover/reset?token="),
        browser.get("/recover/reset?token=" + "x" * 4_000),
    ):
        assert response.status_code == 410
        page = Page(response)
        assert "no longer works" in page.text
        assert any(one.attributes.get("href") == "/recover" for one in page.elements)
    assert can_sign_in(idp, NEW)
    expired = mailed(idp)
    idp.clock.advance(30 * MINUTE)
    assert browser.get(expired).status_code == 410
    of_disabled = mailed(idp)
    page = Page(browser.get(of_disabled))
    idp.execute("UPDATE users SET status = 'disabled' WHERE id = :id", id=alice.id)
    assert browser.get(of_disabled).status_code == 410
    assert page.press(browser, "reset-submit", new_password=PASSWORD).status_code == 410


def test_looking_at_a_link_changes_nothing(idp: Idp) -> None:
    """LO-10: mail scanners and previews open every link."""
    idp.person("alice")
    path = mailed(idp)
    before = rows(idp)
    for method in ("GET", "HEAD", "GET"):
        response = idp.browser().request(method, path + "&new_password=" + "x" * 20)
        assert response.status_code == 200
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
    assert rows(idp) == before
    assert reset(idp.browser(), path).status_code == 303


def rows(idp: Idp) -> list[object]:
    with idp.work.read() as unit:
        return [
            unit.connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            for table in ("users", "action_tokens", "events", "deliveries", "throttles", "sessions")
        ]


def test_a_busy_server_says_so_and_the_link_stays_good(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp.person("alice")
    path, browser = mailed(idp), idp.browser()

    def busy(hasher: PasswordHasher, password: str) -> str:
        raise Unavailable("full")

    with monkeypatch.context() as patch:
        patch.setattr(PasswordHasher, "hash", busy)
        response = reset(browser, path)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert Page(response).has("new-password")
    assert reset(browser, path).status_code == 303


def test_the_fields_are_what_password_managers_and_people_need(idp: Idp) -> None:
    """ASVS 6.2.6, 6.2.7, 6.4.2: masked, named for managers, no hints or secret questions."""
    idp.person("alice")
    browser = idp.browser()
    question = Page(browser.get("/recover"))
    assert question.element("identifier").attributes["autocomplete"] == "username"
    page = Page(browser.get(mailed(idp)))
    field = page.element("new-password")
    assert field.attributes["type"] == "password"
    assert field.attributes["autocomplete"] == "new-password"
    assert "maxlength" not in field.attributes
    assert "onpaste" not in field.attributes
    assert page.has(field.attributes["aria-describedby"])
    names = [one for one in page.elements if one.attributes.get("autocomplete") == "username"]
    assert [one.attributes["value"] for one in names] == ["alice"]
    assert "alice" in page.text

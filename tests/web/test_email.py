"""Another e-mail address: asked for, confirmed at the new one, told to both."""

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from idp.clock import DAY, MINUTE, SECOND
from idp.users import queries
from idp.users.model import User
from tests.harness.mails import linked, owed
from tests.harness.provider import Idp
from tests.web.conftest import Somebody
from tests.web.html import Page

PATH = "/account/security/email"


def ask(person: Somebody, email: str) -> Response:
    person.idp.clock.advance(SECOND)
    page = Page(person.browser.get(PATH))
    return page.press(person.browser, "email-submit", email=email)


def confirm(browser: TestClient, path: str) -> Response:
    return Page(browser.get(path)).press(browser, "verify-submit")


def address(idp: Idp, user: User) -> tuple[str | None, int]:
    with idp.work.read() as unit:
        found = unit.orm.get_one(User, user.id)
        return found.email, found.email_verified


def test_the_address_changes_when_the_link_is_used_and_not_before(
    idp: Idp, alice: Somebody
) -> None:
    response = ask(alice, "alice@new.example")
    assert response.status_code == 202
    assert "alice@new.example" in Page(response).text
    (mail,) = owed(idp, "verify_email")
    assert (mail.to, mail.values["hours"]) == ("alice@new.example", 24)
    path = linked(idp, "verify_email")
    phone = idp.browser()
    page = Page(phone.get(path))
    assert "alice@new.example" in page.text
    assert "account alice" in page.text
    assert address(idp, alice.user) == ("alice@example.com", 0)
    assert page.press(phone, "verify-submit").status_code == 200
    assert address(idp, alice.user) == ("alice@new.example", 1)
    assert [mail.to for mail in owed(idp, "email_changed")] == ["alice@new.example"]
    assert [mail.to for mail in owed(idp, "email_left")] == ["alice@example.com"]
    assert len(idp.events("user.email_changed")) == 1
    # The event says that it changed; the log is no list of addresses.
    assert "alice@example.com" not in str(idp.events())


def test_the_new_address_leads_to_the_account_and_the_old_one_no_longer(
    idp: Idp, alice: Somebody
) -> None:
    ask(alice, "alice@new.example")
    confirm(idp.browser(ip="192.0.2.7"), linked(idp, "verify_email"))
    told = owed(idp, "email_changed", "email_left")
    assert {one.values["ip"] for one in told} == {"192.0.2.7"}
    with idp.work.read() as unit:
        found = queries.by_identifier(unit, "alice@new.example")
        assert found is not None
        assert found.id == alice.user.id
        assert queries.by_identifier(unit, "alice@example.com") is None


def test_ones_own_address_is_verified_by_asking_for_it_again(idp: Idp, alice: Somebody) -> None:
    assert "not confirmed" in Page(alice.browser.get(PATH)).text
    assert ask(alice, "alice@example.com").status_code == 202
    confirm(alice.browser, linked(idp, "verify_email"))
    assert address(idp, alice.user) == ("alice@example.com", 1)
    assert idp.events("user.email_changed") == []
    again = ask(alice, "ALICE@example.com")
    assert again.status_code == 400
    assert "your address already" in Page(again).text


@pytest.mark.attack("AR-08")
@pytest.mark.parametrize(
    "typed",
    [
        "a@example.com,b@example.com",
        "a@example.com;b@example.com",
        "a@example.com b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com\nb@example.com",
        "a@example.com\x0bb@example.com",
        "a@example.com%0d%0aBcc:b@example.com",
        "Alice <a@example.com>",
        "<a@example.com>",
        '"a@b"@example.com',
        "a(comment)@example.com",
        "a@example.com@evil.example",
        "a@[192.0.2.1]",
        "a@exa\u202emple.com",
        "a\u200b@example.com",
        "a@",
        "@example.com",
        "a@exa mple.com",
        "",
        "x" * 5_000 + "@example.com",
    ],
)
def test_what_is_not_one_plain_address_is_refused(idp: Idp, alice: Somebody, typed: str) -> None:
    """AR-08: two in one field, CRLF, display names, comments, quoting, hidden characters."""
    response = ask(alice, typed)
    assert response.status_code == 400
    assert "not an e-mail address" in Page(response).text
    assert owed(idp) == []


@pytest.mark.attack("AR-08")
@pytest.mark.parametrize(
    "typed, written",
    [
        ("a@EXAMPLE.com", "a@example.com"),
        ("  a@example.com ", "a@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BU\u0308CHER.example", "a@xn--bcher-kva.example"),
        # Cyrillic letters that look like Latin ones: another domain, written so that it shows.
        ("a@ехаmple.com", "a@xn--mple-43d3a6i.com"),
    ],
)
def test_one_address_has_one_form_and_a_look_alike_is_another(
    idp: Idp, alice: Somebody, typed: str, written: str
) -> None:
    """AR-08: IDN homographs are mailed to what they are, not to what they look like."""
    assert ask(alice, typed).status_code == 202
    (mail,) = owed(idp, "verify_email")
    assert mail.to == written


@pytest.mark.attack("BF-10")
def test_a_taken_address_gets_the_same_answer_as_a_free_one(idp: Idp, alice: Somebody) -> None:
    """BF-10: nobody tries out here who has an account; the link then changes nothing."""
    idp.person("bob")
    free, taken = ask(alice, "free@example.com"), ask(alice, "bob@example.com")
    assert free.text.replace("free@", "bob@") == taken.text
    sent = [mail.to for mail in owed(idp, "verify_email")]
    assert sent == ["free@example.com", "bob@example.com"]
    assert {mail.to for mail in owed(idp, "email_change_asked")} == {"alice@example.com"}
    refused = confirm(idp.browser(), linked(idp, "verify_email"))
    assert refused.status_code == 409
    assert address(idp, alice.user) == ("alice@example.com", 0)


def test_a_newer_question_voids_the_older_link(idp: Idp, alice: Somebody) -> None:
    ask(alice, "one@example.com")
    older = linked(idp, "verify_email")
    ask(alice, "two@example.com")
    assert idp.browser().get(older).status_code == 410
    confirm(idp.browser(), linked(idp, "verify_email"))
    assert address(idp, alice.user) == ("two@example.com", 1)


def test_a_link_is_good_once_for_a_day_and_only_for_somebody_active(
    idp: Idp, alice: Somebody
) -> None:
    ask(alice, "one@example.com")
    used = linked(idp, "verify_email")
    browser = idp.browser()
    confirm(browser, used)
    assert browser.get(used).status_code == 410
    ask(alice, "two@example.com")
    late = linked(idp, "verify_email")
    page = Page(browser.get(late))
    idp.execute("UPDATE users SET status = 'disabled'")
    assert page.press(browser, "verify-submit").status_code == 410
    idp.execute("UPDATE users SET status = 'active'")
    idp.clock.advance(DAY)
    assert page.press(browser, "verify-submit").status_code == 410
    assert address(idp, alice.user) == ("one@example.com", 1)


def test_looking_at_a_link_changes_nothing_and_another_browser_cannot_send_its_form(
    idp: Idp, alice: Somebody
) -> None:
    """MF-14."""
    ask(alice, "one@example.com")
    path = linked(idp, "verify_email")
    page = Page(idp.browser().get(path))
    idp.browser().request("HEAD", path)
    assert page.press(idp.browser(), "verify-submit").status_code == 403
    assert address(idp, alice.user) == ("alice@example.com", 0)


def test_three_mails_an_hour_are_sent_and_then_one_is_told(idp: Idp, alice: Somebody) -> None:
    for number in range(3):
        assert ask(alice, f"victim{number}@example.com").status_code == 202
    refused = ask(alice, "victim4@example.com")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3600"
    assert len(owed(idp, "verify_email")) == len(owed(idp, "email_change_asked")) == 3


def test_it_needs_a_session_and_a_fresh_proof(idp: Idp, alice: Somebody) -> None:
    page = Page(alice.browser.get(PATH))
    assert idp.browser().get(PATH).headers["location"].startswith("/account/sign-in")
    idp.clock.advance(6 * MINUTE)
    asked = alice.browser.get(PATH)
    assert asked.headers["location"].startswith("/step-up?for=change_email")
    page.press(alice.browser, "email-submit", email="new@example.com")
    assert owed(idp) == []


def test_a_form_without_its_token_is_refused(idp: Idp, alice: Somebody) -> None:
    assert alice.browser.post(PATH, data={"email": "new@example.com"}).status_code == 403
    assert owed(idp) == []


def test_the_field_is_what_browsers_and_people_need(alice: Somebody) -> None:
    field = Page(alice.browser.get(PATH)).element("email")
    assert field.attributes["autocomplete"] == "email"
    assert field.attributes["inputmode"] == "email"

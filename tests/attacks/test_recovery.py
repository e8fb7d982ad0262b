"""Account recovery and links (attack group AR, with BF-10, BF-13 and MF-14)."""

import random
import secrets
import threading
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events.actor import SYSTEM
from idp.notify import mailed_links, recovery
from idp.users.links import Purpose
from idp.users.model import User
from tests.harness.enrolled import with_totp
from tests.harness.mails import linked, owed
from tests.harness.provider import PASSWORD, Idp
from tests.web.html import Page

NEW = "seven quiet herons at dusk"
# Where a link leads, and the button of its page.
PAGES: dict[Purpose, tuple[str, str]] = {
    "reset_password": ("/recover/reset", "reset-submit"),
    "invitation": ("/invitation", "invitation-submit"),
    "verify_email": ("/verify-email", "verify-submit"),
    "set_up": ("/setup", "setup-submit"),
}
TYPED = {
    "new_password": NEW,
    "end_others": "yes",
    "username": "mallory",
    "email": "mallory@example.com",
}


def token_of(link: str) -> str:
    return link.partition("token=")[2]


def made(idp: Idp, user: User, purpose: Purpose) -> str:
    """The token of a living link of this purpose."""
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        if purpose == "reset_password":
            return token_of(mailed_links.reset_link(unit, fresh, actor=SYSTEM))
        if purpose == "invitation":
            link = mailed_links.mail_invitation(unit, fresh, language=None, actor=SYSTEM)
            return token_of(link)
        if purpose == "verify_email":
            to = "mallory@evil.example"
            link = mailed_links.mail_verification(unit, fresh, to, language=None, actor=SYSTEM)
            return token_of(link)
        return token_of(mailed_links.set_up_link(unit, actor=SYSTEM))


def form_token(browser: TestClient) -> str:
    return Page(browser.get("/recover")).form(button="recover-submit").fields["csrf"]


def facts(idp: Idp) -> list[tuple[object, ...]]:
    with idp.work.read() as unit:
        return [
            tuple(row)
            for row in unit.connection.exec_driver_sql(
                "SELECT username, password_hash, email, email_verified, status, roles FROM users"
                " ORDER BY id"
            )
        ]


@pytest.mark.attack("AR-02")
@pytest.mark.parametrize("purpose", PAGES)
def test_a_link_of_one_kind_opens_no_page_of_another(idp: Idp, purpose: Purpose) -> None:
    """AR-02: typed: an invitation resets no password, a verification invites nobody."""
    alice = idp.person("alice")
    token = made(idp, alice, purpose)
    before = facts(idp)
    browser = idp.browser()
    csrf = form_token(browser)
    for other, (path, _) in PAGES.items():
        if other == purpose:
            continue
        assert browser.get(path, params={"token": token}).status_code == 410
        posted = browser.post(path, data={"csrf": csrf, "token": token, **TYPED})
        assert posted.status_code == 410
        assert facts(idp) == before
    if purpose != "set_up":  # that one is dead because there is a user
        assert browser.get(PAGES[purpose][0], params={"token": token}).status_code == 200


@pytest.mark.attack("AR-02")
def test_no_field_of_the_form_says_whose_password_is_set(idp: Idp) -> None:
    """AR-02: user-bound: the token alone says who it is for, whatever else is sent along."""
    alice, mallory = idp.person("alice"), idp.person("mallory")
    token = made(idp, mallory, "reset_password")
    browser = idp.browser()
    response = browser.post(
        "/recover/reset",
        data={
            "csrf": form_token(browser), "token": token, "new_password": NEW,
            "username": "alice", "user": alice.id, "user_id": alice.id, "id": alice.id,
            "identifier": "alice", "email": "alice@example.com", "status": "active",
            "roles": "admin", "password_hash": "x",
        },
    )  # fmt: skip
    assert response.status_code == 303
    (event,) = idp.events("credential.changed")
    assert event["user_id"] == mallory.id
    hashes = {row[0]: row[1] for row in facts(idp)}
    assert idp.hasher.verify(str(hashes["alice"]), PASSWORD)
    assert {row[5] for row in facts(idp)} == {"[]"}


@dataclass
class Walker:
    """Somebody who asks, opens, sends and mixes, with a memory of every token they ever saw.

    They read mallory's mailbox and not alice's: of alice's links they know none, so whatever they
    do, alice's password must stay.
    """

    idp: Idp
    draw: random.Random
    browsers: list[TestClient]
    tokens: list[str] = field(default_factory=list)
    forms: list[tuple[TestClient, str]] = field(default_factory=list)

    def step(self) -> None:
        self.idp.clock.advance(SECOND)
        steps = [self.ask, self.read_mail, self.open, self.send, self.wait, self.go_around]
        self.draw.choices(steps, weights=[3, 3, 4, 8, 1, 1])[0]()

    def token(self) -> str:
        """Mostly the newest there is: others are dead, and what they lead to is soon known."""
        if self.tokens and self.draw.random() < 0.6:
            return self.tokens[-1]
        return self.draw.choice([*self.tokens, "", "x", secrets.token_urlsafe(32), "0" * 43])

    def path(self) -> str:
        return self.draw.choices([page for page, _ in PAGES.values()], weights=[6, 2, 1, 1])[0]

    def browser(self) -> TestClient:
        return self.draw.choice(self.browsers)

    def ask(self) -> None:
        browser = self.browser()
        who = self.draw.choice(["alice", "mallory", "alice@example.com", "alice,mallory"])
        page = Page(browser.get("/recover"))
        # Its token is good for this browser's forms of every page, so walkers use it elsewhere.
        self.forms.append((browser, page.form(button="recover-submit").fields["csrf"]))
        answer = page.press(browser, "recover-submit", identifier=who)
        assert answer.status_code in (202, 429)
        recovery.answer(self.idp.work)

    def read_mail(self) -> None:
        self.tokens += [
            token_of(mail.values["link"])
            for mail in owed(self.idp, "reset_password")
            if mail.to == "mallory@example.com"
        ]
        self.tokens = list(dict.fromkeys(self.tokens))

    def open(self) -> None:
        browser = self.browser()
        response = browser.get(self.path(), params={"token": self.token()})
        assert response.status_code in (200, 410)
        if response.status_code == 200:
            fields = Page(response).forms[0].fields
            self.forms.append((browser, fields["csrf"]))

    def send(self) -> None:
        browser, csrf = self.draw.choice([*self.forms, (self.browser(), "")])
        if self.draw.random() < 0.2:
            browser = self.browser()
        sent = {
            "csrf": csrf,
            "token": self.token(),
            "new_password": self.draw.choice([NEW, "", "short", "other words altogether"]),
            "username": self.draw.choice(["alice", "mallory"]),
            "end_others": self.draw.choice(["yes", "", "no"]),
        }
        kept = {name: value for name, value in sent.items() if self.draw.random() < 0.95}
        assert browser.post(self.path(), data=kept).status_code in (303, 400, 403, 410)

    def wait(self) -> None:
        self.idp.clock.advance(self.draw.choice([0, MINUTE, 10 * MINUTE, 31 * MINUTE, HOUR]))

    def go_around(self) -> None:
        """The pages behind the link, without it."""
        browser = self.browser()
        for path in ("/account/security/password", "/account/security/email"):
            assert browser.get(path).headers["location"].startswith("/account/sign-in")
            posted = browser.post(path, data={"new_password": NEW, "others": "keep_this"})
            assert posted.status_code in (303, 403)


@pytest.mark.attack("AR-01")
@pytest.mark.parametrize("seed", range(4))
def test_no_walk_through_the_pages_sets_a_password_without_that_persons_link(
    idp: Idp, seed: int
) -> None:
    """AR-01: a password is set only with a consumed token of that very user, in any order of steps.

    Every change must have its own used link before it, of the same person.
    """
    alice, mallory = idp.person("alice"), idp.person("mallory")
    before = {row[0]: row for row in facts(idp)}["alice"]
    walker = Walker(idp, random.Random(seed), [idp.browser() for _ in range(3)])
    for _ in range(160):
        walker.step()
    assert before in facts(idp), "alice is who she was"
    changed = idp.events("credential.changed")
    used = idp.events("link.used")
    assert changed, "a walk that never gets to a reset proves nothing"
    assert {row["user_id"] for row in changed} <= {mallory.id}
    assert [row["user_id"] for row in used] == [row["user_id"] for row in changed]
    for link, change in zip(used, changed, strict=True):
        assert link["id"] < change["id"]
        assert '"reset_password"' in link["data"]
    assert idp.count("sessions") == 0
    assert alice.id not in str([row["user_id"] for row in changed])


@pytest.mark.attack("MF-14")
@pytest.mark.parametrize("purpose", ["reset_password", "invitation", "verify_email"])
def test_a_link_is_used_by_the_browser_that_opened_it_and_once(
    either_idp: Idp, purpose: Purpose
) -> None:
    """MF-14: the form of one browser is nothing in another, and of many posts one goes through."""
    alice = either_idp.person("alice")
    path, button = PAGES[purpose]
    token = made(either_idp, alice, purpose)
    opened = either_idp.browser()
    page = Page(opened.get(path, params={"token": token}))
    assert page.press(either_idp.browser(), button, **TYPED).status_code == 403
    forms = []
    for _ in range(6):
        browser = either_idp.browser()
        forms.append((browser, Page(browser.get(path, params={"token": token}))))
    together = threading.Barrier(len(forms))
    statuses: list[int] = []

    def attempt(browser: TestClient, shown: Page) -> None:
        together.wait()
        statuses.append(shown.press(browser, button, **TYPED).status_code)

    threads = [threading.Thread(target=attempt, args=form) for form in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in statuses if one in (200, 303)]) == 1, statuses
    assert set(statuses) <= {200, 303, 410}
    assert len(either_idp.events("link.used")) == 1


@pytest.mark.attack("MF-14")
def test_a_used_link_stays_used_after_a_restart(idp: Idp) -> None:
    """MF-14: what is spent stands in the database, not in a process."""
    alice = idp.person("alice")
    token = made(idp, alice, "reset_password")
    browser = idp.browser()
    page = Page(browser.get("/recover/reset", params={"token": token}))
    assert page.press(browser, "reset-submit", **TYPED).status_code == 303
    again = Idp(idp.settings, idp.clock)
    try:
        assert again.browser().get("/recover/reset", params={"token": token}).status_code == 410
    finally:
        again.close()


@pytest.mark.attack("AR-04")
@pytest.mark.parametrize("purpose", ["reset_password", "invitation", "verify_email"])
def test_no_link_that_is_mailed_lives_longer_than_a_day(idp: Idp, purpose: Purpose) -> None:
    """AR-04, N-16: at most 24 hours."""
    alice = idp.person("alice")
    token = made(idp, alice, purpose)
    idp.clock.advance(DAY)
    browser = idp.browser()
    assert browser.get(PAGES[purpose][0], params={"token": token}).status_code == 410


@pytest.mark.attack("AR-04")
def test_tokens_cannot_be_guessed_by_trying(idp: Idp) -> None:
    """AR-04: parts, neighbours and other spellings of a good token are nothing."""
    token = made(idp, idp.person("alice"), "reset_password")
    browser = idp.browser()
    tries = [token[:-1], token[1:], token + "=", token.lower(), token[::-1], f" {token}", token * 2]
    tries += [token[:place] + ("B" if token[place] == "A" else "A") + token[place + 1 :]
              for place in range(0, 42, 6)]  # fmt: skip
    for tried in tries:
        assert browser.get("/recover/reset", params={"token": tried}).status_code == 410
    twice = browser.get(f"/recover/reset?token={token}&token={token}")
    assert twice.status_code == 400


@pytest.mark.attack("AR-04")
def test_a_changed_password_or_address_voids_what_was_mailed_before(idp: Idp) -> None:
    """AR-04: also when the change was made on the account page and not by a link."""
    alice = idp.person("alice")
    token = made(idp, alice, "reset_password")
    browser = idp.signed_in_browser(idp.session(alice))
    page = Page(browser.get("/account/security/password"))
    changed = page.press(
        browser, "password-submit", current_password=PASSWORD, new_password=NEW, others="keep_all"
    )
    assert changed.status_code == 303
    assert idp.browser().get(f"/recover/reset?token={token}").status_code == 410
    token = made(idp, alice, "reset_password")
    page = Page(browser.get("/account/security/email"))
    page.press(browser, "email-submit", email="alice@new.example")
    page = Page(browser.get(linked(idp, "verify_email")))
    page.press(browser, "verify-submit")
    assert idp.browser().get(f"/recover/reset?token={token}").status_code == 410


@pytest.mark.attack("AR-03")
def test_a_mailbox_alone_never_opens_a_session_of_somebody_with_two_factors(idp: Idp) -> None:
    """AR-03, ASVS 6.4.3."""
    alice = idp.person("alice")
    with_totp(idp, alice)
    token = made(idp, alice, "reset_password")
    browser = idp.browser()
    page = Page(browser.get("/recover/reset", params={"token": token}))
    assert page.press(browser, "reset-submit", **TYPED).status_code == 303
    page = Page(browser.get("/account/sign-in"))
    signed = page.press(browser, "login-submit", username="alice", password=NEW)
    assert "idp_session=" not in signed.headers.get("set-cookie", "")
    assert idp.count("sessions") == 0
    assert idp.count("totps") == 1


@pytest.mark.attack("AR-10")
@pytest.mark.parametrize("others", ["", "keep", "KEEP_ALL", "keep_all ", "end_all,keep_all", "0"])
def test_an_unknown_choice_is_refused_and_not_taken_for_one(idp: Idp, others: str) -> None:
    """AR-10: unknown means no: neither the password nor any session changes."""
    alice = idp.person("alice")
    kept = idp.session(alice)
    browser = idp.signed_in_browser(idp.session(alice))
    before = facts(idp)
    page = Page(browser.get("/account/security/password"))
    response = page.press(
        browser, "password-submit", current_password=PASSWORD, new_password=NEW, others=others
    )
    assert response.status_code == 400
    assert facts(idp) == before
    assert idp.signed_in_browser(kept).get("/account/sessions").status_code == 200


@pytest.mark.attack("AR-08")
@pytest.mark.parametrize(
    "typed",
    [
        "alice@example.com,mallory@evil.example",
        "alice@example.com;mallory@evil.example",
        "alice@example.com\r\nBcc: mallory@evil.example",
        "alice@example.com\nmallory@evil.example",
        "Alice <alice@example.com>",
        "alice@example.com mallory@evil.example",
        "alice@example.com\x00mallory@evil.example",
        "аlice@example.com",  # a Cyrillic letter
        "alice@exаmple.com",  # and one in the domain
        "alice@example.com.evil.example",
    ],
)
def test_mail_goes_to_the_address_that_is_kept_and_to_no_other(idp: Idp, typed: str) -> None:
    """AR-08: what is typed is looked up, never written to."""
    idp.person("alice")
    browser = idp.browser()
    page = Page(browser.get("/recover"))
    response = page.press(browser, "recover-submit", identifier=typed)
    assert response.status_code in (202, 400)
    recovery.answer(idp.work)
    assert owed(idp) == []


@pytest.mark.attack("BF-10")
def test_no_page_of_links_tells_whether_there_is_an_account(idp: Idp) -> None:
    """BF-10: for a dead link it does not matter whose it was, or whether it ever was one."""
    alice = idp.person("alice")
    used = made(idp, alice, "reset_password")
    browser = idp.browser()
    page = Page(browser.get("/recover/reset", params={"token": used}))
    page.press(browser, "reset-submit", **TYPED)
    of_gone = made(idp, alice, "reset_password")
    idp.execute("UPDATE users SET status = 'locked'")
    answers = {
        browser.get("/recover/reset", params={"token": token}).text
        for token in (used, of_gone, secrets.token_urlsafe(32), "x", "")
    }
    assert len(answers) == 1


@pytest.mark.attack("AR-01")
def test_no_address_of_a_page_sets_a_password_by_being_read(idp: Idp) -> None:
    """AR-01, LO-10: everything of the form in the address of a GET."""
    alice = idp.person("alice")
    browser = idp.browser()
    csrf = form_token(browser)
    before = facts(idp)
    for purpose, (path, _) in PAGES.items():
        token = made(idp, alice, purpose)
        for method in ("GET", "HEAD"):
            query = {"token": token, "csrf": csrf, **TYPED}
            response = browser.request(method, path, params=query)
            assert response.status_code in (200, 410)
            assert facts(idp) == before
    assert idp.events("link.used") == []

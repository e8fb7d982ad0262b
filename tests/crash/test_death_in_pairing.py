"""A server that dies at each commit between a yes and what comes of it (FT-15).

Afterwards there is one session or none, never half of one. A device only ever asks the same again,
and has its tokens in the end, once; a browser looks at its page, and presses the button again.
"""

import pytest

from idp.oauth.grants.device_code import DEVICE_CODE
from tests.crash import ledger
from tests.crash.conftest import MORTAL, Say
from tests.crash.failpoints import dying
from tests.harness.deployment import Deployment
from tests.harness.load_clients import AppAt, Browser, Lost, error_of, json_of
from tests.races import test_handoff as handoffs
from tests.races.test_device_grant import ask, device_of, opening

MOST_COMMITS = 6
RUNNING_THERE = "SELECT count(*) FROM sessions WHERE ended_at IS NULL AND origin = 'handoff'"


class Approved:
    """A device that was let in and has not come for it yet."""

    def __init__(self, on: Deployment, device: AppAt) -> None:
        self.on = on
        self.device = device
        on.forget_attempts()
        browser = on.signed_in("alice")
        device_code, user_code = ask(on, device)
        address = on.ask(opening(browser, user_code)).path()
        fields = browser.get(address).hidden_fields() | {"action": "allow"}
        assert on.ask(browser.posting(address, fields)).status == 303
        browser.close()
        self.poll = device.posting("/token", grant_type=DEVICE_CODE, device_code=device_code)
        self.before = self.sessions()

    def sessions(self) -> int:
        return int(self.on.scalar("SELECT count(*) FROM sessions"))

    def made(self) -> int:
        """How many sessions came of it; with each its grant, and the pairing says so."""
        count = self.sessions() - self.before
        assert count in (0, 1)
        [row] = self.on.rows("SELECT * FROM pairings ORDER BY created_at DESC, id LIMIT 1")
        assert (row["state"] == "consumed") is bool(count)
        if count:
            [grant] = self.on.rows(
                "SELECT session_id FROM authorizations WHERE id = :id", id=row["authorization_id"]
            )
            assert grant["session_id"] == row["new_session_id"]
        return count

    def go_on(self) -> bool:
        """Whether the device gets its tokens by asking again; they are good, and it gets no others."""
        answer = self.on.ask(self.poll)
        if answer.status == 200:
            assert json_of(answer)["access_token"]
            assert self.made() == 1
        assert error_of(self.on.ask(self.poll)) == "invalid_grant"
        return answer.status == 200


@pytest.mark.crash
def test_a_death_between_allow_and_tokens_leaves_one_session_or_none(
    mortal: Deployment, say: Say
) -> None:
    mortal.person("alice")
    mortal.limit_sessions(1_000)
    device = device_of(mortal)
    deaths: list[tuple[str, int, bool]] = []
    for point in ("before-commit", "after-commit"):
        for number in range(1, MOST_COMMITS):
            approved = Approved(mortal, device)
            if not _dies(mortal, approved.poll, point, number):
                break
            made = approved.made()
            # The last commit spends the code: if the answer to it was lost, so are the tokens.
            assert approved.go_on() or (point, made) == ("after-commit", 1)
            deaths.append((point, number, bool(made)))
    # The session comes with the first commit; the second only spends the code.
    assert deaths == [
        ("before-commit", 1, False),
        ("before-commit", 2, True),
        ("after-commit", 1, True),
        ("after-commit", 2, True),
    ]
    rows = [mortal.rows(f"SELECT * FROM {table}") for table in ("sessions", "authorizations")]
    assert ledger.audit_is_complete(mortal, *rows) == []
    say(f"device code: {len(deaths)} deaths, one session or none")


@pytest.mark.crash
def test_a_death_while_a_browser_comes_for_its_session_leaves_one_or_none(
    mortal: Deployment, say: Say
) -> None:
    mortal.person("alice")
    mortal.limit_sessions(1_000)
    deaths: list[tuple[str, int, bool]] = []
    for point in ("before-commit", "after-commit"):
        for number in range(1, MOST_COMMITS):
            before = mortal.scalar("SELECT count(*) FROM sessions")
            finish, page, asker = _let_in(mortal)
            if not _dies(mortal, finish, point, number):
                break
            made = mortal.scalar("SELECT count(*) FROM sessions") - before - 1
            assert made == (handoffs.state(mortal) == "consumed")
            again = mortal.ask(finish)
            # Pressed again: the session, or word that it was given and its cookie was lost.
            assert (b"idp_session=" in again.head) is not bool(made)
            assert mortal.scalar("SELECT count(*) FROM sessions") - before == 2
            assert b"This is done already" in asker.get(page).body
            deaths.append((point, number, bool(made)))
    assert deaths == [("before-commit", 1, False), ("after-commit", 1, True)]
    tables = [mortal.rows(f"SELECT * FROM {table}") for table in ("sessions", "authorizations")]
    assert ledger.audit_is_complete(mortal, *tables) == []
    say(f"QR code: {len(deaths)} deaths, one session or none")


@pytest.mark.crash
def test_a_death_while_a_session_moves_leaves_the_old_one_or_the_new_one(
    mortal: Deployment, say: Say
) -> None:
    mortal.person("alice")
    mortal.limit_sessions(1_000)
    deaths: list[tuple[str, int, bool]] = []
    for point in ("before-commit", "after-commit"):
        for number in range(1, MOST_COMMITS):
            old, finish, page, asker = _moving(mortal)
            before = mortal.scalar(RUNNING_THERE)
            if not _dies(mortal, finish, point, number):
                break
            is_over = "SELECT end_reason FROM sessions WHERE id = :id"
            made = handoffs.state(mortal) == "consumed"
            assert mortal.scalar(is_over, id=old) == ("moved" if made else None)
            again = mortal.ask(finish)
            assert (b"idp_session=" in again.head) is not made
            assert b"This is done already" in asker.get(page).body
            # By now it has moved, once: whoever it was told to was told with it.
            assert mortal.scalar(is_over, id=old) == "moved"
            assert mortal.scalar(RUNNING_THERE) == before + 1
            deaths.append((point, number, made))
    assert deaths == [("before-commit", 1, False), ("after-commit", 1, True)]
    tables = [mortal.rows(f"SELECT * FROM {table}") for table in ("sessions", "authorizations")]
    assert ledger.audit_is_complete(mortal, *tables) == []
    say(f"moving: {len(deaths)} deaths, one session")


@pytest.mark.crash
def test_a_death_while_a_browser_opens_a_moving_code_leaves_it_opened_once_or_not(
    mortal: Deployment,
) -> None:
    mortal.person("alice")
    for point, state in (("before-commit", "pending"), ("after-commit", "claimed")):
        mortal.forget_attempts()
        alice, page = handoffs.showing(mortal, "alice")
        code, asker = handoffs.scanned(mortal, page), mortal.browser()
        opening = handoffs.opening(asker, code)
        assert _dies(mortal, opening, point, 1)
        assert handoffs.state(mortal) == state
        # Pressed again, it is theirs either way; another browser has it neither way.
        there = mortal.ask(opening).path()
        other = mortal.browser()
        assert mortal.ask(handoffs.opening(other, code)).status == 404
        assert handoffs.number_on(asker, there)
        assert alice.get(page).path().startswith("/device/")


def _moving(mortal: Deployment) -> tuple[str, bytes, str, Browser]:
    """A session that was moved but for the last button: its id, what is sent, its page, the browser."""
    mortal.forget_attempts()
    laptop, page = handoffs.showing(mortal, "alice")
    (old,) = mortal.rows("SELECT id FROM sessions ORDER BY created_at DESC, id LIMIT 1")
    asker = mortal.browser()
    there = mortal.ask(handoffs.opening(asker, handoffs.scanned(mortal, page))).path()
    address = laptop.get(page).path()
    fields = laptop.get(address).hidden_fields() | {"wish": "instead"}
    allow = fields | {"action": f"allow-{handoffs.number_on(asker, there)}"}
    assert mortal.ask(laptop.posting(address, allow)).status == 303
    laptop.close()
    finish = asker.posting(there, asker.get(there).hidden_fields() | {"action": "finish"})
    asker.close()
    return str(old["id"]), finish, there, asker


def _let_in(mortal: Deployment) -> tuple[bytes, str, Browser]:
    """A browser that was let in and has not come for it yet: what it sends, its page, itself."""
    mortal.forget_attempts()
    phone = mortal.signed_in("alice")
    asker, page = handoffs.asking(mortal)
    address = mortal.ask(handoffs.opening(phone, handoffs.scanned(mortal, page))).path()
    fields = phone.get(address).hidden_fields()
    allow = fields | {"action": f"allow-{handoffs.number_on(asker, page)}"}
    assert mortal.ask(phone.posting(address, allow)).status == 303
    phone.close()
    finish = asker.posting(page, asker.get(page).hidden_fields() | {"action": "finish"})
    asker.close()
    return finish, page, asker


def _dies(mortal: Deployment, request: bytes, point: str, number: int) -> bool:
    """Whether the server died there; it runs again afterwards."""
    try:
        mortal.ask(dying(request, point, number))
    except Lost:
        mortal.server.wait_for_death()
    else:
        return False
    mortal.hang_up()
    mortal.server.start(doom=MORTAL)
    return True

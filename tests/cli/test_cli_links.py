"""Links from the command line: invitations, recovery, verification, and the first administrator's."""

import io
import json
import sys
from typing import Any

import pytest

from idp.clock import SystemClock
from tests.cli.test_cli import Terminal, environment, idp_cli, ready
from tests.harness.mails import linked, owed
from tests.harness.provider import ISSUER, Idp
from tests.web.html import Page

__all__ = ["environment", "idp_cli", "ready"]

NEW = "seven quiet herons at dusk"


def works(idp: Idp, link: str, button: str) -> bool:
    # Commands read the machine's clock.
    idp.clock.instant = SystemClock().now()
    browser = idp.browser()
    response = browser.get(link.removeprefix(ISSUER))
    return response.status_code == 200 and Page(response).has(button)


def test_an_invitation_makes_a_user_without_a_password_and_mails_a_link(
    ready: Terminal, idp: Idp
) -> None:
    ready.ok("role", "define", "editor")
    made = ready.ok(
        "user", "invite", "anna", "--email", "anna@example.com", "--name", "Anna Meier",
        "--role", "editor",
    )  # fmt: skip
    assert (made["has_password"], made["roles"]) == (False, ["editor"])
    # Nobody but the mailbox learns the link, unless it was asked for.
    assert "link" not in made
    assert owed(idp, "invitation")[0].to == "anna@example.com"
    assert works(idp, linked(idp, "invitation"), "invitation-submit")


def test_inviting_again_sends_another_link_and_the_older_is_dead(ready: Terminal, idp: Idp) -> None:
    invite = ("user", "invite", "anna", "--email", "anna@example.com", "--print-link")
    first, second = ready.ok(*invite), ready.ok(*invite)
    assert first["id"] == second["id"]
    assert not works(idp, first["link"], "invitation-submit")
    assert works(idp, second["link"], "invitation-submit")


def test_whoever_has_a_password_is_not_invited_again(ready: Terminal, idp: Idp) -> None:
    idp.person("anna")
    refused = ready.refused("user", "invite", "anna", "--email", "anna@example.com")
    assert "already in use" in refused
    assert owed(idp) == []


def test_another_address_invites_nobody_to_an_account_that_exists(
    ready: Terminal, idp: Idp
) -> None:
    ready.ok("user", "invite", "anna", "--email", "anna@example.com")
    assert "already in use" in ready.refused(
        "user", "invite", "anna", "--email", "mallory@evil.example"
    )
    assert [mail.to for mail in owed(idp)] == ["anna@example.com"]


def test_a_recovery_link_is_printed_or_mailed(ready: Terminal, idp: Idp) -> None:
    """ASVS 6.4.6: an administrator begins a reset and does not choose the password."""
    idp.person("anna")
    printed = ready.ok("user", "recovery-link", "anna")
    assert printed["minutes"] == 30
    assert owed(idp) == []
    assert works(idp, printed["link"], "reset-submit")
    mailed = ready.ok("user", "recovery-link", "anna", "--mail")
    assert "link" not in mailed
    assert works(idp, linked(idp, "reset_password"), "reset-submit")
    assert not works(idp, printed["link"], "reset-submit")
    assert {row["actor_id"] for row in idp.events("link.sent")} == {"cli"}


def test_links_are_for_people_who_may_sign_in_and_have_an_address(
    ready: Terminal, idp: Idp
) -> None:
    idp.person("silent", email=None)
    assert "no e-mail address" in ready.refused("user", "recovery-link", "silent", "--mail")
    assert "no e-mail address" in ready.refused("user", "verify-email", "silent")
    assert ready.ok("user", "recovery-link", "silent")["link"]
    ready.ok("user", "disable", "silent")
    assert "enable them first" in ready.refused("user", "recovery-link", "silent")
    assert "no user" in ready.refused("user", "recovery-link", "nobody")


def test_a_verification_is_mailed(ready: Terminal, idp: Idp) -> None:
    idp.person("anna")
    assert "link" not in ready.ok("user", "verify-email", "anna")
    assert owed(idp, "verify_email")[0].to == "anna@example.com"
    printed = ready.ok("user", "verify-email", "anna", "--print-link")
    assert works(idp, printed["link"], "verify-submit")


def test_a_password_alone_needs_fifteen_characters_here_too(ready: Terminal, idp: Idp) -> None:
    idp.person("anna")
    refused = ready.refused("user", "password", "anna", "--password-stdin", typed="vwkzqhxj\n")
    assert "at least 15 characters" in refused


# --- idp serve ------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been served: the server itself does not begin."""
    from idp.cli import serving

    apps: list[Any] = []
    monkeypatch.setattr(serving, "run", lambda app, settings: apps.append(app))
    return apps


def test_the_first_start_prints_a_link_for_the_first_administrator(
    ready: Terminal, idp: Idp, served: list[Any]
) -> None:
    """ASVS 6.3.2: instead of a default account."""
    ran = ready("serve")
    assert (ran.code, len(served)) == (0, 1)
    assert "within 15 minutes" in ran.out
    (link,) = [word for word in ran.out.split() if word.startswith("http")]
    assert works(idp, link, "setup-submit")
    printed = ready.ok("serve")
    assert printed["setup"].startswith(f"{ISSUER}/setup?token=")
    assert works(idp, printed["setup"], "setup-submit")
    assert not works(idp, link, "setup-submit")


def test_once_there_is_a_user_nothing_is_printed(
    ready: Terminal, idp: Idp, served: list[Any]
) -> None:
    idp.person("anna")
    assert ready("serve").out == ""
    assert "setup" not in ready.ok("serve")
    assert idp.count("action_tokens") == 0


def test_the_link_is_written_before_the_server_takes_over(
    ready: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the output through a pipe has the link while the server runs."""
    from idp.cli import serving

    seen: list[str] = []

    class Pipe(io.StringIO):
        def flush(self) -> None:
            seen.append(self.getvalue())

    pipe = Pipe()
    monkeypatch.setattr(serving, "run", lambda app, settings: seen.append("serving"))
    monkeypatch.setattr(sys, "stdout", pipe)
    ready("serve", "--json")
    before = seen[: seen.index("serving")]
    assert "/setup?token=" in json.loads(before[-1])["setup"]

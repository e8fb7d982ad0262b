"""Every change of how somebody signs in is told to them, by real SMTP (ASVS 6.3.7)."""

import re
from typing import Any

import pytest

from idp.clock import MINUTE
from idp.events.actor import Actor
from idp.events.catalogue import (
    AccountSecured,
    DeviceTrusted,
    EmailChangeAsked,
    EmailChanged,
    Event,
    FactorAdded,
    FactorRemoved,
    FactorSuspended,
    LimitReached,
    PairingConsumed,
    PairingReported,
    PasswordChanged,
    RecoveryCodesMade,
    RecoveryCodeUsed,
    RememberCopied,
    UserChanged,
)
from idp.notify import notices
from idp.policy.deadlines import Ownership
from idp.sessions.device import Visit
from idp.sessions.sign_in import Entry, with_password
from idp.users import queries, rules
from idp.users.model import User
from tests.harness.mail import Received, owed
from tests.harness.provider import ADMIN, ISSUER, PASSWORD, Idp
from tests.notify.conftest import Mailing

NOT_ME = f"{ISSUER}/account/security/not-me"
PASSKEY: dict[str, Any] = {"kind": "passkey", "name": "Blue key", "credential": "psk_1"}
TOTP: dict[str, Any] = {"kind": "totp", "name": "Old phone", "credential": "otp_1"}
LET_IN: dict[str, Any] = {"device": "Terminal", "pairing": "par_1", "approver": "ses_1"}
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"
)

NOTICES = [
    (PasswordChanged, {}, "Your password was changed", "Acme ID account was changed"),
    (FactorAdded, PASSKEY, "A passkey was added", "Blue key"),
    (FactorAdded, TOTP, "A code generator was added", "Old phone"),
    (FactorRemoved, PASSKEY, "A passkey was removed", "Blue key"),
    (FactorRemoved, TOTP, "A code generator was removed", "Old phone"),
    (FactorSuspended, PASSKEY, "A passkey is not accepted any more", "a copy of it"),
    (RecoveryCodesMade, {"count": 10}, "New recovery codes were made", "10 new recovery codes"),
    (RecoveryCodeUsed, {"left": 1}, "A recovery code was used", "1 of them is left"),
    (RecoveryCodeUsed, {"left": 0}, "A recovery code was used", "None is left"),
    (EmailChangeAsked, {}, "Another e-mail address was asked for", "Nothing has changed yet"),
    (DeviceTrusted, {"device": "Safari 19 on iPhone"}, "A device is trusted now", "for 30 days"),
    (
        RememberCopied, {"series": "rem_1", "browser": "Firefox 150 on Linux"},
        "A device was signed out: its cookie was copied",
        "A copy of the cookie that kept you signed in on Firefox 150 on Linux was used.",
    ),
    (PairingConsumed, LET_IN | {"kind": "device"}, "Another device was let in", "Terminal was signed"),
    (PairingConsumed, LET_IN | {"kind": "move"}, "Another device was let in", "without your password"),
]  # fmt: skip


def links_of(mail: Received) -> set[str]:
    """Every address in either part, wherever it stands."""
    return {
        found.rstrip(".,;")
        for part in (mail.part("plain"), mail.part("html"))
        for found in re.findall(r"[a-z]+://[^\s\"<>']+", part)
    }


def record(idp: Idp, event: Event) -> None:
    with idp.work.begin() as unit:
        unit.record(event)


@pytest.mark.parametrize(("kind", "particulars", "subject", "sentence"), NOTICES)
def test_a_change_is_told_in_text_and_html(
    mailing: Mailing,
    kind: type[Event],
    particulars: dict[str, Any],
    subject: str,
    sentence: str,
) -> None:
    anna = mailing.idp.person("anna")
    session = mailing.idp.session(anna, agent=CHROME, ip="198.51.100.9").session.id
    record(
        mailing.idp,
        kind(actor="user", actor_id=session, user_id=anna.id, **particulars),
    )
    mailing.post.send()
    (mail,) = mailing.server.received
    message = mail.message
    assert mail.recipients == ["anna@example.com"] == [message["To"]]
    assert message["Subject"] == subject
    assert message["From"] == "Acme ID <no-reply@localhost>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime.timestamp() == mailing.idp.clock.now() / 1_000_000
    assert message.get_content_type() == "multipart/alternative"
    for part in (mail.part("plain"), mail.part("html")):
        assert sentence in part
        assert "15 January 2027, 08:00 UTC" in part
        assert "Chrome 156 on Windows" in part
        assert "198.51.100.9" in part
        assert NOT_ME in part
    assert links_of(mail) == {NOT_ME}


def test_a_changed_address_is_told_to_the_old_and_the_new_one(mailing: Mailing) -> None:
    anna = mailing.idp.person("anna")
    with mailing.idp.work.begin() as unit:
        user = unit.orm.get_one(User, anna.id)
        queries.set_email(unit, user, "new@example.net", Actor("user", anna.id))
    mailing.post.send()
    assert len(mailing.server.received) == 2
    old, new = mailing.server.to("anna@example.com"), mailing.server.to("new@example.net")
    assert old.message["Subject"] == new.message["Subject"] == "Your e-mail address was changed"
    assert "does not use this e-mail address any more" in old.part("plain")
    assert "uses this e-mail address from now on" in new.part("plain")
    # The old one may be read by a stranger now, or the new one may be a stranger's.
    assert b"new@example.net" not in old.raw
    assert b"anna@example.com" not in new.raw


def test_the_event_of_a_changed_address_holds_the_old_one_sealed(idp: Idp) -> None:
    anna = idp.person("anna")
    for address in ("anna@example.com", "new@example.net", None):
        with idp.work.begin() as unit:
            queries.set_email(unit, unit.orm.get_one(User, anna.id), address, ADMIN)
    assert len(idp.events(UserChanged.type)) == 3
    changes = idp.events(EmailChanged.type)
    assert len(changes) == 2, "setting the same address changes nothing"
    assert all("example" not in change["data"] for change in changes)
    told = {(one.to, one.message) for one in owed(idp.work)}
    assert told == {
        ("anna@example.com", "email_left"),
        ("new@example.net", "email_changed"),
        ("new@example.net", "email_left"),
    }


def test_an_administrator_is_named_as_such(mailing: Mailing) -> None:
    anna = mailing.idp.person("anna")
    with mailing.idp.work.begin() as unit:
        queries.set_password(unit, unit.orm.get_one(User, anna.id), "hash", ADMIN)
    mailing.post.send()
    (mail,) = mailing.server.received
    assert "an administrator" in mail.part("plain")
    assert "an administrator" in mail.part("html")
    assert "Device" not in mail.part("plain")


def test_somebody_without_an_address_or_who_is_gone_is_told_nothing(idp: Idp) -> None:
    nobody = idp.person("nobody", email=None)
    record(idp, PasswordChanged(user_id=nobody.id))
    record(idp, PasswordChanged(user_id="usr_gone"))
    record(idp, PasswordChanged())
    assert owed(idp.work) == []


def test_a_change_that_is_rolled_back_is_told_to_nobody(idp: Idp) -> None:
    anna = idp.person("anna")

    def failing() -> None:
        with idp.work.begin() as unit:
            queries.set_password(unit, unit.orm.get_one(User, anna.id), "hash", ADMIN)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert owed(idp.work) == []


def test_another_persons_session_is_never_named(idp: Idp) -> None:
    """AD-02: what a session of somebody else says of its device and address stays theirs."""
    anna, bob = idp.person("anna"), idp.person("bob")
    theirs = idp.session(bob, ip="203.0.113.77").session.id
    record(idp, PasswordChanged(actor="user", actor_id=theirs, user_id=anna.id))
    (mail,) = owed(idp.work)
    assert mail.values["device"] is None
    assert mail.values["ip"] is None


def test_the_same_message_comes_at_most_ten_times_an_hour(either_idp: Idp) -> None:
    """BF-13: whoever can make mail be sent cannot fill a mailbox with it."""
    idp = either_idp
    anna, bob = idp.person("anna"), idp.person("bob")
    for _ in range(15):
        record(idp, RecoveryCodeUsed(user_id=anna.id, left=3))
    assert len(owed(idp.work)) == 10
    record(idp, PasswordChanged(user_id=anna.id))
    record(idp, RecoveryCodeUsed(user_id=bob.id, left=3))
    assert len(owed(idp.work)) == 12
    idp.clock.advance(61 * 60 * 1_000_000)
    record(idp, RecoveryCodeUsed(user_id=anna.id, left=3))
    assert len(owed(idp.work)) == 13


def test_a_request_that_was_reported_is_told_with_its_address_and_no_device(
    mailing: Mailing,
) -> None:
    anna = mailing.idp.person("anna")
    session = mailing.idp.session(anna, agent=CHROME, ip="192.0.2.9").session.id
    reported = PairingReported(
        actor="user",
        actor_id=session,
        session_id=session,
        user_id=anna.id,
        ip="198.51.100.9",
        pairing="par_1",
        kind="sign_in",
    )
    record(mailing.idp, reported)
    mailing.post.send()
    (mail,) = mailing.server.received
    assert mail.message["Subject"] == "You reported a request to be let in"
    for part in (mail.part("plain"), mail.part("html")):
        assert "They were given nothing" in part
        assert "198.51.100.9" in part
        assert "192.0.2.9" not in part
        assert "Chrome" not in part


def test_every_told_event_has_a_notice() -> None:
    told = {kind for kind, _, _, _ in NOTICES} | {
        AccountSecured,
        EmailChanged,
        LimitReached,
        PairingReported,
    }
    assert told == set(notices.TOLD)


# --- pushed out by a limit ------------------------------------------------------------------------


def limit(idp: Idp, at_limit: str) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 1, "at_limit": at_limit}, ADMIN)


def sign_in(idp: Idp, browser: str, *, ownership: Ownership = "own") -> None:
    visit = Visit(ip="198.51.100.9", agent=CHROME, device_hash=browser * 64)
    entry = Entry(visit, None, ownership=ownership)
    with_password(idp.work, idp.hasher, name="anna", password=PASSWORD, entry=entry)
    idp.clock.advance(MINUTE)


def test_somebody_whom_a_limit_signed_out_for_a_new_device_is_told(mailing: Mailing) -> None:
    mailing.idp.person("anna")
    limit(mailing.idp, "end_oldest")
    sign_in(mailing.idp, "a")
    sign_in(mailing.idp, "b")
    mailing.post.send()
    (mail,) = mailing.server.received
    assert mail.message["Subject"] == "A new device signed in, and another was signed out"
    for part in (mail.part("plain"), mail.part("html")):
        assert "You may be signed in on 1 device at a time." in part
        assert "The one that rested longest was signed out." in part
        assert "Chrome 156 on Windows" in part
        assert "198.51.100.9" in part
    assert links_of(mail) == {NOT_ME}


def test_who_goes_back_and_forth_between_devices_is_told_of_each_once(idp: Idp) -> None:
    idp.person("anna")
    limit(idp, "end_oldest")
    for browser in "abababcab":
        sign_in(idp, browser)
    assert [one.message for one in owed(idp.work)] == ["signed_out_by_limit"] * 2
    # Of a device that others use too nobody knows who was there before.
    for _ in range(2):
        sign_in(idp, "a", ownership="shared")
    assert len(owed(idp.work)) == 4


@pytest.mark.parametrize("at_limit", ["ask", "block"])
def test_where_nobody_was_signed_out_by_a_rule_nothing_is_told(idp: Idp, at_limit: str) -> None:
    idp.person("anna")
    limit(idp, at_limit)
    sign_in(idp, "a")
    sign_in(idp, "b")
    assert idp.events("session.limit_reached")
    assert owed(idp.work) == []

"""Handing over to servers that encrypt, ask for a password, refuse, hang up and hang."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from idp.notify.composing import compose
from idp.notify.letters import Letter
from idp.notify.smtp import Server, Smtp
from idp.sections import MailSettings
from idp.settings import Settings, SettingsError, load
from tests.harness.certificates import Authority
from tests.harness.mail import PASSWORD, USER, MailServer, mail_server
from tests.harness.workbench import NOON, SECRET

# Seconds after which something hangs.
PATIENCE = 20.0
SIGNED_IN = f"{USER}:{quote(PASSWORD, safe='')}@"


def message(to: str = "anna@example.com") -> Any:
    settings = Settings(secret_key=SECRET)
    letter = Letter("Subject", "text\n.\nend", "<p>html</p>")
    return compose(letter, settings, to=to, delivery_id="dlv_1", at=NOON)


def sender(address: str) -> Smtp:
    server = Server.of(MailSettings(server=address))
    assert server is not None
    return Smtp(server, name="id.example")


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this process trusts."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """One that it does not: its certificates are as good as self-signed."""
    return Authority(tmp_path)


def test_mail_goes_out_encrypted_and_signed_in(trusted: Authority) -> None:
    with mail_server(starttls=trusted.server("127.0.0.1"), with_password=True) as server:
        outcome = sender(f"smtp://{SIGNED_IN}127.0.0.1:{server.port}").hand_over(
            message(), seconds=10
        )
        (mail,) = server.received
    assert (outcome.verdict, outcome.status) == ("accepted", 250)
    assert mail.encrypted
    assert mail.user == USER
    assert mail.part("plain").splitlines() == ["text", ".", "end"]


def test_mail_goes_out_over_tls_from_the_start(trusted: Authority) -> None:
    with mail_server(tls=trusted.server("127.0.0.1")) as server:
        outcome = sender(f"smtps://127.0.0.1:{server.port}").hand_over(message(), seconds=10)
        (mail,) = server.received
    assert outcome.verdict == "accepted"
    assert mail.encrypted


def test_a_server_without_starttls_gets_neither_mail_nor_password(server: MailServer) -> None:
    """B8: whoever takes STARTTLS out of the answer on the way must not get the mail."""
    outcome = sender(f"smtp://u:p@127.0.0.1:{server.port}").hand_over(message(), seconds=10)
    assert outcome.verdict == "failed"
    assert outcome.error == "the mail server does not offer STARTTLS, which is needed"
    assert server.received == []


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_nobody_vouches_for_is_refused(stranger: Authority, scheme: str) -> None:
    """B8: an encrypted line to an impostor is no line to the mail server."""
    tls = stranger.server("127.0.0.1")
    with mail_server(**{"starttls" if scheme == "smtp" else "tls": tls}) as server:  # type: ignore[arg-type]
        outcome = sender(f"{scheme}://127.0.0.1:{server.port}").hand_over(message(), seconds=10)
        assert server.received == []
    assert outcome.verdict == "failed"
    assert (outcome.error or "").startswith("the certificate of the mail server:")


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_for_another_name_is_refused(trusted: Authority, scheme: str) -> None:
    """B8: the name in the certificate is compared with the one in the settings."""
    tls = trusted.server("mail.elsewhere.example")
    with mail_server(**{"starttls" if scheme == "smtp" else "tls": tls}) as server:  # type: ignore[arg-type]
        outcome = sender(f"{scheme}://127.0.0.1:{server.port}").hand_over(message(), seconds=10)
        assert server.received == []
    assert "not valid for '127.0.0.1'" in (outcome.error or "")


def test_a_wrong_password_is_tried_again_later_and_not_repeated_in_the_error(
    trusted: Authority,
) -> None:
    with mail_server(starttls=trusted.server("127.0.0.1"), with_password=True) as server:
        address = f"smtp://{USER}:wrong-password@127.0.0.1:{server.port}"
        outcome = sender(address).hand_over(message(), seconds=10)
    assert outcome.verdict == "failed"
    assert outcome.error == "the mail server refused our user name or password (535)"


@pytest.mark.parametrize(
    ("set_up", "verdict", "status", "error"),
    [
        (("at_recipient", "451 4.7.1 <anna@example.com>: come again"), "failed", 451,
         "the mail server refused the recipient (451 4.7.1)"),
        (("at_recipient", "550 5.1.1 <anna@example.com>: no such user"), "hopeless", 550,
         "the mail server refused the recipient (550 5.1.1)"),
        (("at_data", "452 no room for anna@example.com"), "failed", 452,
         "the mail server refused the message (452)"),
        (("at_data", "554 anna@example.com says it is spam"), "hopeless", 554,
         "the mail server refused the message (554)"),
    ],
)  # fmt: skip
def test_a_refusal_says_whether_to_try_again_and_never_to_whom(
    server: MailServer, set_up: tuple[str, str], verdict: str, status: int, error: str
) -> None:
    getattr(server, set_up[0]).append(set_up[1])
    outcome = sender(f"smtp+plain://127.0.0.1:{server.port}").hand_over(message(), seconds=10)
    assert (outcome.verdict, outcome.status, outcome.error) == (verdict, status, error)


@pytest.mark.parametrize("manner", ["hangs", "drips"])
def test_a_server_that_hangs_or_drips_costs_no_more_than_the_time_for_a_mail(
    server: MailServer, manner: str
) -> None:
    """SS-10: bytes that come now and then must not stretch the limit."""
    setattr(server, manner, True)
    began = time.monotonic()
    outcome = sender(f"smtp+plain://127.0.0.1:{server.port}").hand_over(message(), seconds=0.4)
    assert 0.3 < time.monotonic() - began < PATIENCE
    assert outcome.verdict == "failed"
    assert outcome.error == "the mail server did not answer in time"


def test_a_server_that_hangs_within_tls_is_left_in_time(trusted: Authority) -> None:
    """SS-10: the limit holds for the handshake, too."""
    with mail_server() as server:
        server.hangs = True
        began = time.monotonic()
        outcome = sender(f"smtps://127.0.0.1:{server.port}").hand_over(message(), seconds=0.4)
    assert time.monotonic() - began < PATIENCE
    assert outcome.error == "the mail server did not answer in time"


def test_a_server_that_is_not_there_is_said_to_be_so(server: MailServer) -> None:
    with mail_server() as gone:
        port = gone.port
    outcome = sender(f"smtp+plain://127.0.0.1:{port}").hand_over(message(), seconds=5)
    assert outcome.verdict == "failed"
    assert outcome.error == "the mail server cannot be reached: Connection refused"
    outcome = sender("smtps://no-such-host.invalid").hand_over(message(), seconds=5)
    assert outcome.verdict == "failed"
    assert (outcome.error or "").startswith("the mail server cannot be reached")


def test_an_address_beyond_ascii_is_sent_where_the_server_takes_it(server: MailServer) -> None:
    outcome = sender(f"smtp+plain://127.0.0.1:{server.port}").hand_over(
        message("büro@bücher.example"), seconds=10
    )
    assert outcome.verdict == "accepted"
    assert server.received[0].recipients == ["büro@xn--bcher-kva.example"]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Settings]:
    monkeypatch.setenv("IDP_SECRET_KEY", SECRET)

    def make(name: str, value: str) -> Settings:
        monkeypatch.setenv(name, value)
        return load()

    return make


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("smtp+plain://mail.example:25", "readable by all between"),
        ("smtp+plain://10.0.0.1", "readable by all between"),
        ("mail.example:587", "must be smtp://"),
        ("http://mail.example", "must be smtp://"),
        ("smtp://", "must be smtp://"),
        ("smtp://mail.example:99999", "must be smtp://"),
        ("smtp://u:hunter/2@mail.example", "something behind the host|must be smtp://"),
        ("smtp://mail.example/?x=1", "something behind the host"),
        ("smtp://hunter2@mail.example", "both a user name and a password"),
    ],
)
def test_a_server_that_cannot_be_used_safely_refuses_to_start(
    loaded: Callable[[str, str], Settings], address: str, sentence: str
) -> None:
    """B8: and the sentence does not repeat the password."""
    with pytest.raises(SettingsError, match=f"IDP_MAIL__SERVER.*({sentence})") as refused:
        loaded("IDP_MAIL__SERVER", address)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "mail.localhost"])
def test_mail_may_be_plain_on_this_machine(
    loaded: Callable[[str, str], Settings], host: str
) -> None:
    settings = loaded("IDP_MAIL__SERVER", f"smtp+plain://{host}:2525")
    assert Server.of(settings.mail) == Server("smtp+plain", host.strip("[]"), 2525)


def test_ports_and_passwords_are_read_from_the_address() -> None:
    assert Server.of(MailSettings(server="smtp://a%40b:p%2Fw@mail.example")) == Server(
        "smtp", "mail.example", 587, "a@b", "p/w"
    )
    assert Server.of(MailSettings(server="smtps://mail.example")) == Server(
        "smtps", "mail.example", 465
    )
    assert Server.of(MailSettings()) is None
    assert not re.search("secret", repr(Server("smtp", "h", 1, "u", "secret")))


@pytest.mark.parametrize(
    "address",
    ["Acme <no-reply@acme.example>", "no-reply", "a@b\r\nBcc: c@d", "a@b,c@d", "@acme.example"],
)
def test_a_sender_is_one_plain_address(
    loaded: Callable[[str, str], Settings], address: str
) -> None:
    """AR-08"""
    with pytest.raises(SettingsError, match="IDP_MAIL__SENDER"):
        loaded("IDP_MAIL__SENDER", address)

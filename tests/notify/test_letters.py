"""What stands in letters, and what cannot be brought into them."""

from email import message_from_bytes
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Any

import pytest

from idp import languages
from idp.errors import Refused
from idp.notify import letters, messages
from idp.notify.composing import compose
from idp.notify.letters import Letter, Letters
from idp.notify.messages import MESSAGES
from idp.settings import Settings
from tests.harness.workbench import NOON, SECRET
from tests.notify.conftest import Mailing

LINK = "https://id.example/recover/reset?token=abc"
VALUES: dict[str, Any] = {
    "at": NOON, "device": "Chrome 156 on Windows 11", "ip": "192.0.2.1", "actor": "user",
    "kind": "passkey", "name": "Blue key", "count": 10, "left": 3,
    "city": "Lyon", "country": "FR",
    "trusted": "Safari 19 on iPhone", "browser": "Safari 19 on iPhone", "days": 30, "link": LINK,
    "minutes": 30, "hours": 24, "limit": 3, "ended": 1,
    "begun": NOON, "sessions": 2, "grants": 1, "passwords": 1, "passkeys": 1, "totps": 1, "devices": 1,
}  # fmt: skip
NOT_ME = "https://id.example/account/security/not-me"
HOSTILE = "a\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>\u202etxt\x00\u2028"


def settings(**values: Any) -> Settings:
    return Settings(secret_key=SECRET, **({"url": "https://id.example", "name": "Acme"} | values))


class Tags(HTMLParser):
    """The tags of a letter, and what they point to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


@pytest.mark.parametrize("message", sorted(MESSAGES))
def test_a_letter_has_one_link_and_loads_nothing(message: str) -> None:
    letter = Letters(settings()).write(message, VALUES, language="en")
    wanted = LINK if LINK in letter.text else NOT_ME
    assert [word for word in letter.text.split() if "://" in word] == [wanted]
    tags = Tags(letter.html)
    assert set(tags.links) == {wanted}
    assert not {"img", "script", "link", "iframe", "form", "object"} & set(tags.names)
    assert not {"src", "srcset", "background", "onclick"} & tags.attributes
    assert "url(" not in letter.html
    assert "prefers-color-scheme: dark" in letter.html
    assert letter.subject in letter.html
    assert letter.subject.strip() not in ("", "None")


@pytest.mark.parametrize("message", sorted(MESSAGES))
def test_every_value_a_letter_needs_must_be_given(message: str) -> None:
    with pytest.raises(Exception, match="undefined"):
        Letters(settings()).write(message, {}, language="en")


def test_a_real_mail_server_is_given_every_message_whole(mailing: Mailing) -> None:
    with mailing.idp.work.begin() as unit:
        for name in MESSAGES:
            address = f"{name}@example.com"
            messages.owe(
                unit, to=address, message=name, values=VALUES, language="fr", user_id="usr_1"
            )
    mailing.post.send()
    letters_of = Letters(mailing.idp.settings)
    for name in MESSAGES:
        mail = mailing.server.to(f"{name}@example.com")
        letter = letters_of.write(name, VALUES, language="fr")
        assert mail.message["Subject"] == letter.subject
        assert mail.part("plain").split() == letter.text.split()
        assert mail.part("html").split() == letter.html.split()


def test_every_message_has_its_templates() -> None:
    folder = languages.templates_folder() / "mail"
    shared = {"base", "notice", "link", "parts"}
    for ending in ("txt", "html"):
        assert {file.stem for file in folder.glob(f"*.{ending}")} - shared == MESSAGES


@pytest.mark.parametrize(
    ("language", "day"),
    [
        ("en", "15 January 2027"), ("de", "15. Januar 2027"), ("fr", "15 janvier 2027"),
        ("es", "15 de enero de 2027"), ("pt-BR", "15 de janeiro de 2027"), ("ja", "2027年1月15日"),
    ],
)  # fmt: skip
def test_a_day_is_written_as_its_reader_writes_it(language: str, day: str) -> None:
    letter = Letters(settings()).write("password_changed", VALUES, language=language)
    assert f"{day}, 08:00 UTC" in letter.text
    assert f"{day}, 08:00 UTC" in letter.html


def test_an_unknown_language_is_english() -> None:
    assert letters.choose("en-GB") == letters.choose("xx_YY") == letters.choose(None) == "en"


@pytest.mark.parametrize(
    "message", ["factor_added", "factor_removed", "device_trusted", "remember_copied"]
)
@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example/secure", "evil.example", "www.evil.co", "evil。example", "evil．example",
        "mailto:x@evil.example", "a@b", "x" * 81, "",
    ],
)  # fmt: skip
def test_a_name_that_a_mail_program_would_link_is_not_shown(message: str, name: str) -> None:
    """AR-08: whoever is in the account for a moment could name a passkey to lead its owner on."""
    values = VALUES | dict.fromkeys(("name", "trusted", "browser", "device", "city"), name)
    letter = Letters(settings()).write(message, values, language="en")
    for part in (letter.text, letter.html):
        assert "evil" not in part
        assert "a@b" not in part
        assert "xxx" not in part
        assert "“”" not in part


@pytest.mark.parametrize(
    ("city", "country", "shown"),
    [
        ("Lyon", "FR", "Place: Lyon, France (approximate)"),
        (None, "FR", "Place: France (approximate)"),
        ("Lyon", None, "Place: Lyon (approximate)"),
        ("evil.example", "FR", "Place: France (approximate)"),
        ("<b>Lyon</b>", "FR", "Place: France (approximate)"),
        (None, None, None),
    ],
)
def test_a_notice_says_the_place_as_far_as_it_is_known(
    city: str | None, country: str | None, shown: str | None
) -> None:
    values = VALUES | {"city": city, "country": country}
    letter = Letters(settings()).write("password_changed", values, language="en")
    for part in (letter.text, letter.html):
        assert ("Place" in part) == (shown is not None)
        assert shown is None or shown in part


def test_a_letter_that_was_owed_before_there_were_places_is_written() -> None:
    values = {name: value for name, value in VALUES.items() if name not in ("city", "country")}
    letter = Letters(settings()).write("password_changed", values, language="en")
    assert "192.0.2.1" in letter.text
    assert "Place" not in letter.text + letter.html


@pytest.mark.parametrize("name", ["Blue key", "iPhone 15.2", "Büro-Schlüssel (alt)", "鍵 2"])
def test_an_honest_name_is_shown(name: str) -> None:
    letter = Letters(settings()).write("factor_added", VALUES | {"name": name}, language="en")
    assert f"“{name}”" in letter.text
    assert f"“{name}”" in letter.html


@pytest.mark.parametrize("message", sorted(MESSAGES))
def test_no_value_brings_headers_lines_or_markup_into_a_letter(message: str) -> None:
    """AR-08: CRLF, markup and direction marks in every value that is text."""
    values = {name: HOSTILE if isinstance(v, str) else v for name, v in VALUES.items()}
    values["kind"] = "passkey"
    letter = Letters(settings(name="Acme\r\nBcc: v@x")).write(message, values, language="en")
    assert "\n" not in letter.subject
    assert not any(line.startswith("Bcc:") for line in letter.text.splitlines())
    for part in (letter.subject, letter.text, letter.html):
        assert not {"\r", "\x00", "\u202e", "\u2028"} & set(part)
    assert "script" not in Tags(letter.html).names


@pytest.mark.parametrize(
    "address",
    [
        "a@x.example,b@y.example", "a@x.example\r\nBcc: b@y.example", "Anna <a@x.example>",
        "a@x.example b@y.example", "a@x.example\n", "@x.example", "a", "a@x.example\x00",
        '"a\r\nb"@x.example', "a@x.example>\r\nRCPT TO:<b@y.example",
    ],
)  # fmt: skip
def test_only_one_plain_address_is_ever_written_to(address: str) -> None:
    """AR-08: two addresses, a display name or a line break in the address are refused."""
    letter = Letter("Subject", "text", "<p>html</p>")
    if address == "a@x.example\n":  # a blank at the end is none of it
        message = compose(letter, settings(), to=address, delivery_id="dlv_1", at=NOON)
        assert message["To"] == "a@x.example"
        return
    with pytest.raises(Refused):
        compose(letter, settings(), to=address, delivery_id="dlv_1", at=NOON)


def test_headers_stay_headers_whatever_the_names_are() -> None:
    """AR-08: the product's name and the subject are one line each, also when they are hostile."""
    letter = Letter(f"Hello {HOSTILE}", "text", "<p>html</p>")
    made = compose(
        letter, settings(name="Acme\r\nBcc: v@x.example"), to="a@x.example", delivery_id="dlv_1",
        at=NOON,
    )  # fmt: skip
    message = message_from_bytes(made.as_bytes(), policy=SMTP)
    assert message.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
        "Content-Type",
    ]  # fmt: skip
    assert message["From"].addresses[0].addr_spec == "no-reply@id.example"
    assert message["Message-ID"] == "<dlv_1@id.example>"


def test_the_sender_is_ours_or_as_it_was_set() -> None:
    letter = Letter("Subject", "text", "<p>html</p>")
    for url, mail, expected in (
        ("https://id.example", {}, "no-reply@id.example"),
        ("http://127.0.0.1:8000", {}, "no-reply@[127.0.0.1]"),
        ("http://[::1]:8000", {}, "no-reply@[IPv6:::1]"),
        ("https://id.example", {"sender": "accounts@acme.example"}, "accounts@acme.example"),
    ):
        made = compose(
            letter, settings(url=url, mail=mail), to="a@x.example", delivery_id="dlv_1", at=NOON
        )
        assert made["From"].addresses[0].addr_spec == expected

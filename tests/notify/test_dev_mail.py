"""/dev/mail: readable where the product is tried out, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest

from idp.clock import MINUTE
from idp.notify import mailbox, messages
from idp.storage.vault import Vault
from tests.harness.mail import delivering
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.notify.conftest import Mailing
from tests.web.html import Page

LINK = "http://localhost:8000/recover/reset?token=abc"


def send(idp: Idp, *, to: str = "anna@example.com", link: str = LINK) -> None:
    with idp.work.begin() as unit:
        messages.owe(
            unit, to=to, message="reset_password", values={"link": link, "minutes": 30},
            language=None, user_id=None,
        )  # fmt: skip
    with delivering(idp.work) as post:
        post.send()


def test_mail_can_be_read_and_its_link_followed(idp: Idp) -> None:
    send(idp, to="first@example.com")
    idp.clock.advance(MINUTE)
    send(idp, to="<b>second</b>@example.com")
    response = idp.browser().get("/dev/mail")
    page = Page(response)
    assert "Choose a new password" in page.text
    assert page.text.index("<b>second</b>@example.com") < page.text.index("first@example.com")
    links = [one.attributes["href"] for one in page.elements if one.tag == "a"]
    assert links.count(LINK) == 2
    assert "b" not in {one.tag for one in page.elements}
    assert response.headers["cache-control"] == "no-store"


def test_the_page_says_so_when_there_is_no_mail(idp: Idp) -> None:
    assert "No mail yet." in Page(idp.browser().get("/dev/mail")).text


def test_only_our_own_links_can_be_followed(idp: Idp) -> None:
    """RU-11: text in a mail that looks like a link elsewhere stays text."""
    send(idp, link="http://localhost:8000.evil.example/x")
    send(idp, link="javascript:alert(1)")
    send(idp, link='http://localhost:8000/x"onmouseover="alert(1)')
    page = Page(idp.browser().get("/dev/mail"))
    links = {one.attributes["href"] for one in page.elements if one.tag == "a"}
    assert links == {"#main", "/account", "/dev/mail", "http://localhost:8000/x"}
    assert all("onmouseover" not in one.attributes for one in page.elements)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://id.example"},
        {"mail": {"server": "smtp+plain://127.0.0.1:2525"}},
        {"mail": {"server": "smtps://mail.example"}, "url": "https://id.example"},
    ],
)
def test_the_page_is_not_there_in_earnest(
    tmp_path: Path, templates: Templates, clock: ManualClock, changes: dict[str, Any]
) -> None:
    """B8: mail holds links that sign people in; only a trial shows them."""
    prepared = settings_for(templates.sqlite(tmp_path / "idp.db"))
    idp = Idp(prepared, clock)
    send(idp)
    idp.close()
    values = prepared.model_dump() | changes
    idp = Idp(type(prepared)(**values), clock)
    response = idp.browser().get("/dev/mail")
    idp.close()
    assert response.status_code == 404
    assert "token" not in response.text


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "localhost.evil.example", "", "[", "192.0.2.1"]
)
def test_another_name_for_this_machine_does_not_lead_to_the_page(idp: Idp, host: str) -> None:
    """RU-11: DNS rebinding: a stranger's page must not read links under a name of its own."""
    send(idp)
    response = idp.browser().get("/dev/mail", headers={"host": host})
    assert response.status_code == 404
    assert "token" not in response.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_every_name_of_loopback_leads_to_the_page(idp: Idp, host: str) -> None:
    assert idp.browser().get("/dev/mail", headers={"host": host}).status_code == 200


def test_reading_the_page_changes_nothing(idp: Idp) -> None:
    """LO-10"""
    send(idp)
    before = (idp.count("mails"), idp.count("deliveries"), idp.count("events"))
    for method in ("GET", "HEAD"):
        assert idp.browser().request(method, "/dev/mail").status_code == 200
    assert (idp.count("mails"), idp.count("deliveries"), idp.count("events")) == before
    assert idp.browser().post("/dev/mail").status_code == 405


def test_the_newest_are_kept(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "KEPT", 3)
    for number in range(5):
        send(idp, to=f"p{number}@example.com")
        idp.clock.advance(MINUTE)
    with idp.work.begin() as unit:
        assert mailbox.forget_old(unit) == 2
        assert mailbox.forget_old(unit) == 0
        assert [one.to for one in mailbox.newest(unit, limit=2)] == [
            "p4@example.com",
            "p3@example.com",
        ]
    assert idp.count("mails") == 3


def test_a_mail_whose_key_is_gone_is_left_out(idp: Idp) -> None:
    send(idp)
    idp.work.vault = Vault("another secret, of 32 characters or more")
    assert idp.browser().get("/dev/mail").status_code == 200


def test_with_a_server_nothing_is_kept(mailing: Mailing) -> None:
    send(mailing.idp)
    assert len(mailing.server.received) == 1
    assert mailing.idp.count("mails") == 0

"""Mail through the outbox: retried with the same Message-ID, given up, sealed, beside logout."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from idp.clock import HOUR, SECOND, SystemClock
from idp.events import delivery
from idp.events.catalogue import MailDelivered, MailGivenUp
from idp.events.delivery import HORIZON, Outcome
from idp.events.model import Delivery
from idp.notify import messages
from idp.notify.channel import THREADS, MailChannel, MailWorker, bounded
from idp.sections import MailSettings
from idp.storage.unit_of_work import Work
from idp.storage.vault import Vault
from tests.harness.mail import MailServer, delivering, mail_server, owed, with_server
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.receivers import Receivers, listening
from tests.harness.workbench import ManualClock
from tests.notify.conftest import Mailing

# Seconds for what comes by itself.
PATIENCE = 20.0
LINK = "http://localhost:8000/recover/reset?token=s3cr3t-t0k3n-of-the-link"


def owe(work: Work, *, to: str = "anna@example.com", **changes: Any) -> None:
    values: dict[str, Any] = {
        "message": "reset_password", "values": {"link": LINK, "minutes": 30}, "language": None,
        "user_id": "usr_1",
    }  # fmt: skip
    with work.begin() as unit:
        messages.owe(unit, to=to, **(values | changes))


def rows(work: Work) -> list[Delivery]:
    with work.read() as unit:
        return list(
            unit.orm.scalars(select(Delivery).order_by(Delivery.created_at, Delivery.receiver))
        )


def test_a_mail_is_delivered_once_and_receipted(mailing: Mailing) -> None:
    owe(mailing.idp.work)
    mailing.post.send()
    mailing.post.send()
    (mail,) = mailing.server.received
    assert LINK in mail.part("plain")
    assert LINK in mail.part("html")
    (row,) = rows(mailing.idp.work)
    assert (row.state, row.attempts, row.last_status) == ("delivered", 1, 250)
    (event,) = mailing.idp.events(MailDelivered.type)
    assert event["user_id"] == "usr_1"
    assert '"reset_password"' in event["data"]


@pytest.mark.parametrize("where", ["at_recipient", "at_data"])
def test_a_mail_put_off_comes_again_under_the_same_message_id(mailing: Mailing, where: str) -> None:
    getattr(mailing.server, where).append("451 4.7.1 come again")
    owe(mailing.idp.work)
    mailing.post.send()
    (row,) = rows(mailing.idp.work)
    assert (row.state, row.attempts, row.last_status) == ("owed", 1, 451)
    assert mailing.server.received == []
    mailing.post.send()
    assert mailing.server.received == [], "not before its time"
    mailing.idp.clock.advance(2 * SECOND)
    mailing.post.send()
    (mail,) = mailing.server.received
    (row,) = rows(mailing.idp.work)
    assert (row.state, row.attempts) == ("delivered", 2)
    assert mail.message["Message-ID"] == f"<{row.id}@localhost>"


def test_a_mail_whose_receipt_was_lost_comes_again_under_the_same_message_id(
    mailing: Mailing,
) -> None:
    """The receiver can tell that both are one."""
    owe(mailing.idp.work)
    mailing.post.send()
    mailing.idp.execute("UPDATE deliveries SET state = 'owed', claimed_until = 0")
    mailing.idp.clock.advance(HOUR)
    mailing.post.send()
    first, second = mailing.server.received
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert first.message["Date"] == second.message["Date"]


@pytest.mark.parametrize("where", ["at_recipient", "at_data"])
def test_a_mail_refused_for_good_is_given_up(mailing: Mailing, where: str) -> None:
    getattr(mailing.server, where).append("550 5.1.1 <anna@example.com> is not here")
    owe(mailing.idp.work)
    mailing.post.send()
    (row,) = rows(mailing.idp.work)
    assert (row.state, row.attempts, row.last_status) == ("given_up", 1, 550)
    (event,) = mailing.idp.events(MailGivenUp.type)
    assert event["user_id"] == "usr_1"
    assert event["reason"].endswith("(550 5.1.1)")


def test_a_mail_is_given_up_when_nobody_took_it_for_a_day(mailing: Mailing) -> None:
    mailing.server.at_recipient += ["451 no"] * 2
    owe(mailing.idp.work)
    mailing.post.send()
    mailing.idp.clock.advance(HORIZON)
    mailing.post.send()
    assert [row.state for row in rows(mailing.idp.work)] == ["given_up"]


def test_a_server_that_hangs_is_tried_again(
    tmp_path: Path, templates: Templates, clock: ManualClock, server: MailServer
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    idp = Idp(with_server(settings, server, timeout=1), clock)
    server.hangs = True
    owe(idp.work)
    with delivering(idp.work) as post:
        post.send()
        (row,) = rows(idp.work)
        assert row.state == "owed"
        assert row.last_error == "the mail server did not answer in time"
        server.hangs = False
        clock.advance(3 * SECOND)
        post.send()
    idp.close()
    assert len(server.received) == 1


@pytest.fixture
def apps() -> Iterator[Receivers]:
    with listening() as made:
        yield made


def test_a_mail_server_that_hangs_takes_nothing_from_logout(
    tmp_path: Path, templates: Templates, server: MailServer, apps: Receivers
) -> None:
    """SS-10, LO-11: a hundred mails hang, and an app hears of a logout at once all the same."""
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    idp = Idp(with_server(settings, server, timeout=2 * PATIENCE), SystemClock())  # type: ignore[arg-type]
    server.hangs = True
    app = apps.add()
    client = idp.register(backchannel_logout_uri=app.uri)
    user = idp.person()
    started = idp.session(user)
    idp.grant(client, started)
    for number in range(100):
        owe(idp.work, to=f"person{number}@example.com")
    with idp.browser():  # the server's own life: its workers run
        while server.connections < THREADS * 3 // 4:  # as many as strangers may have at once
            threading.Event().wait(0.01)
        idp.end(started.session.id)
        app.wait_for(1)
        assert server.connections < THREADS
    assert server.received == []


def test_what_a_stopped_worker_had_in_hand_is_given_back(
    tmp_path: Path, templates: Templates, server: MailServer
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    idp = Idp(with_server(settings, server, timeout=2 * PATIENCE), SystemClock())  # type: ignore[arg-type]
    server.hangs = True
    owe(idp.work)
    worker = MailWorker(idp.work)
    worker.start()
    while server.connections < 1:
        threading.Event().wait(0.01)
    assert worker.stop(PATIENCE)
    server.hangs = False
    with delivering(idp.work) as post:
        post.send()
    idp.close()
    assert len(server.received) == 1


def test_a_channel_that_is_closed_begins_nothing_more(
    tmp_path: Path, templates: Templates, clock: ManualClock, server: MailServer
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    idp = Idp(with_server(settings, server, timeout=1), clock)
    server.hangs = True
    for number in range(THREADS + 5):
        owe(idp.work, to=f"person{number}@example.com")
    with idp.work.begin() as unit:
        waiting = delivery.due(unit, delivery.Reach([messages.CHANNEL]), limit=100)
        claimed = delivery.claim(unit, [one for one, _ in waiting], lease=HOUR)
    channel = MailChannel(idp.work)
    reported: list[Outcome] = []
    channel.send(claimed, lambda _, outcome: reported.append(outcome))
    while server.connections < THREADS:
        threading.Event().wait(0.01)
    channel.close()
    for thread in channel._threads:
        thread.join(PATIENCE)
    idp.close()
    assert server.connections == len(reported) == THREADS


def test_a_claim_outlasts_a_mail(mailing: Mailing) -> None:
    work = bounded(mailing.idp.work)
    assert work.settings.outbound.timeout == mailing.idp.settings.mail.timeout
    assert work.settings.outbound.concurrency == THREADS
    assert mailing.idp.work.settings.outbound.concurrency != THREADS


# --- what is kept ---------------------------------------------------------------------------------


def everything(idp: Idp, *tables: str) -> str:
    with idp.work.read() as unit:
        return "\n".join(
            str(tuple(row))
            for table in tables
            for row in unit.connection.exec_driver_sql(f"SELECT * FROM {table}")
        )


def test_neither_address_nor_link_can_be_read_in_the_database(
    idp: Idp, caplog: pytest.LogCaptureFixture
) -> None:
    """B8: owed, kept to be read, delivered: the rows hold nothing that could be used."""
    caplog.set_level(logging.DEBUG)
    anna = idp.person("anna", email="anna@example.com")
    owe(idp.work, user_id=anna.id)
    before = everything(idp, "deliveries", "events")
    with delivering(idp.work) as post:
        post.send()
    after = everything(idp, "deliveries", "events", "mails")
    assert idp.count("mails") == 1
    for secret in ("s3cr3t", "anna@", "/recover/", "Choose a new password"):
        assert secret not in before
        assert secret not in after
        assert secret not in caplog.text
    assert owed(idp.work)[0].values["link"] == LINK


def test_neither_logs_nor_receipts_name_who_could_not_be_reached(
    mailing: Mailing, caplog: pytest.LogCaptureFixture
) -> None:
    """ASVS 14.2.1: servers answer with addresses; their words are not repeated."""
    caplog.set_level(logging.DEBUG, logger="idp")
    mailing.server.at_recipient += ["550 anna@example.com?", "451 anna@example.com?"]
    owe(mailing.idp.work)
    owe(mailing.idp.work)
    mailing.post.send()
    assert "anna@" not in caplog.text
    assert "anna@" not in everything(mailing.idp, "deliveries", "events")


def test_a_payload_opens_in_its_own_row_only(idp: Idp) -> None:
    """B8: a sealed link copied into a delivery to somebody else does not open there."""
    owe(idp.work, to="anna@example.com")
    idp.clock.advance(1)
    owe(idp.work, to="mallory@example.com")
    anna, mallory = rows(idp.work)
    assert anna.receiver != mallory.receiver
    idp.execute(
        "UPDATE deliveries SET payload = (SELECT payload FROM deliveries WHERE id = :a)"
        " WHERE id = :m",
        a=anna.id,
        m=mallory.id,
    )
    with delivering(idp.work) as post:
        post.send()
    states = {row.id: (row.state, row.last_error) for row in rows(idp.work)}
    assert states[anna.id] == ("delivered", None)
    assert states[mallory.id] == ("given_up", "sealed with a key that is gone")
    assert idp.count("mails") == 1


def test_an_address_is_one_receiver_however_it_is_spelled(idp: Idp) -> None:
    for address in ("Anna@Example.com", "anna@example.com", " anna@example.com"):
        owe(idp.work, to=address)
    assert len({row.receiver for row in rows(idp.work)}) == 1


def test_mail_sealed_with_a_key_that_is_gone_is_given_up(idp: Idp) -> None:
    owe(idp.work)
    idp.work.vault = Vault("another secret, of 32 characters or more")
    with delivering(idp.work) as post:
        post.send()
    assert [row.state for row in rows(idp.work)] == ["given_up"]


def test_without_a_server_mail_in_earnest_is_given_up_at_once(
    tmp_path: Path, templates: Templates, clock: ManualClock
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    settings = settings.model_copy(update={"url": "https://id.example"})
    idp = Idp(settings, clock)
    owe(idp.work)
    with delivering(idp.work) as post:
        post.send()
    (row,) = rows(idp.work)
    idp.close()
    assert (row.state, row.attempts, row.last_error) == ("given_up", 1, "no mail server is set")
    assert idp.count("mails") == 0


def test_there_is_no_message_without_a_name(idp: Idp) -> None:
    with pytest.raises(ValueError, match="no message"):
        owe(idp.work, message="../login")
    assert rows(idp.work) == []


def test_a_letter_that_cannot_be_written_stops_no_other(
    mailing: Mailing, caplog: pytest.LogCaptureFixture
) -> None:
    owe(mailing.idp.work, values={}, to="broken@example.com")
    owe(mailing.idp.work)
    mailing.post.send()
    assert [mail.recipients for mail in mailing.server.received] == [["anna@example.com"]]
    assert "UndefinedError" in caplog.text
    assert "broken@" not in caplog.text


def test_mail_works_on_every_database(either_idp: Idp) -> None:
    idp = either_idp
    with mail_server() as server:
        mail = MailSettings(server=f"smtp+plain://127.0.0.1:{server.port}")
        idp.work.settings = idp.settings.model_copy(update={"mail": mail})
        owe(idp.work)
        with delivering(idp.work) as post:
            post.send()
        assert len(server.received) == 1
    idp.work.settings = idp.settings
    owe(idp.work)
    with delivering(idp.work) as post:
        post.send()
    assert idp.count("mails") == 1
    with idp.work.begin() as unit:
        assert delivery.forget_finished(unit, before=unit.now + 1) == 2

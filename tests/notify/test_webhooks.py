"""Webhooks: signed as the standard says, each event owed once, nothing lost while nobody listens."""

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.errors import Refused
from idp.events import log
from idp.events.catalogue import LoginFailed
from idp.notify import webhook_outbox, webhook_signature, webhooks
from idp.notify.model import Webhook
from idp.notify.webhook_channel import WebhookChannel
from idp.sections import OutboundSettings
from idp.work.dispatch import Dispatch
from idp.work.outbound import Outbound
from tests.harness.provider import ADMIN, Idp
from tests.harness.receivers import Receiver, Receivers, Request, closing, saying
from tests.harness.workbench import ManualClock


class Carrier:
    """What the worker does for webhooks, by hand: seals, owes, sends, settles."""

    def __init__(self, idp: Idp, outbound: Outbound) -> None:
        self.idp = idp
        self._work = idp.work
        self._dispatch = Dispatch(
            idp.work,
            {webhook_outbox.CHANNEL: WebhookChannel(idp.work, outbound)},
            wake=threading.Event().set,
        )

    def carry(self) -> None:
        """Everything that can be sent at this moment."""
        log.seal(self._work)
        while webhook_outbox.owe(self._work):
            pass
        before = -1
        while before != (now := self.tries()):
            before = now
            self._dispatch.news()
            self._dispatch.step()
            self._dispatch.finish(within=20)

    def tries(self) -> int:
        return self.idp.count("deliveries WHERE attempts > 0") + sum(
            row["attempts"] for row in self.rows()
        )

    def rows(self) -> list[dict[str, Any]]:
        with self._work.read() as unit:
            return [
                {"state": one.state, "attempts": one.attempts, "event": one.event_id}
                for webhook in webhooks.all_of(unit)
                for one in webhook_outbox.sent(unit, webhook.id, limit=500)
            ]


@pytest.fixture
def carrier(either_idp: Idp) -> Iterator[Carrier]:
    yield Carrier(either_idp, either_idp.app.provider.outbound)
    either_idp.app.provider.outbound.close()


def hook(idp: Idp, app: Receiver, *types: str) -> tuple[str, str]:
    """A webhook to this receiver; its id and secret."""
    with idp.work.begin() as unit:
        made, secret = webhooks.create(unit, url=app.uri, types=types, actor=ADMIN)
        return made.id, secret


def happen(idp: Idp, count: int = 1) -> list[str]:
    """So many failed sign-ins; gives the events' ids."""
    events = [LoginFailed(reason="wrong_password", ip="192.0.2.1") for _ in range(count)]
    with idp.work.begin() as unit:
        for one in events:
            unit.record(one)
    return [one.event_id for one in events]


def headers_of(request: Request) -> dict[str, str]:
    lines = request.head.split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def ids_of(app: Receiver) -> list[str]:
    return [headers_of(one)["webhook-id"] for one in app.requests]


def is_signed_by(request: Request, secret: str) -> bool:
    """As a receiver verifies it, written from the specification."""
    found = headers_of(request)
    signed = f"{found['webhook-id']}.{found['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return f"v1,{wanted}" in found["webhook-signature"].split(" ")


def of(idp: Idp, webhook_id: str) -> Webhook:
    with idp.work.read() as unit:
        return unit.orm.get_one(Webhook, webhook_id)


def test_the_signature_is_the_one_that_the_reference_implementation_makes() -> None:
    """What the reference implementation gives for it (PyPI `standardwebhooks` 1.1.0)."""
    made = webhook_signature.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert made == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_an_event_arrives_signed_with_its_own_id(carrier: Carrier, receivers: Receivers) -> None:
    idp, app = carrier.idp, receivers.add()
    _, secret = hook(idp, app, "login.*")
    (event,) = happen(idp)
    idp.person("alice")  # another kind
    carrier.carry()
    (request,) = app.wait_for(1)
    assert ids_of(app) == [event]
    assert is_signed_by(request, secret)
    assert not is_signed_by(request, webhook_signature.new_secret())
    assert headers_of(request)["content-type"] == "application/json"
    body = json.loads(request.body)
    assert body["type"] == body["data"]["type"] == "login.failed"
    assert body["data"]["id"] == event
    assert body["data"]["position"] > 0
    assert body["timestamp"] == body["data"]["at"]
    assert carrier.rows() == [{"state": "delivered", "attempts": 1, "event": event}]


def test_what_was_sent_is_no_event_so_that_it_ends(carrier: Carrier, receivers: Receivers) -> None:
    app = receivers.add()
    hook(carrier.idp, app)
    happen(carrier.idp)
    for _ in range(3):
        carrier.carry()
    # The webhook's own making is one of everything that it takes.
    assert len(app.requests) == 2


def test_while_a_secret_is_replaced_both_sign(
    carrier: Carrier, receivers: Receivers, clock: ManualClock
) -> None:
    idp, app = carrier.idp, receivers.add()
    webhook_id, old = hook(idp, app, "login.failed")
    with idp.work.begin() as unit:
        held = unit.orm.get_one(Webhook, webhook_id)
        new = webhooks.rotate_secret(unit, held, actor=ADMIN)
    happen(idp)
    carrier.carry()
    assert is_signed_by(app.requests[-1], old)
    assert is_signed_by(app.requests[-1], new)
    clock.advance(DAY)
    happen(idp)
    carrier.carry()
    assert is_signed_by(app.requests[-1], new)
    assert not is_signed_by(app.requests[-1], old)
    assert idp.count(f"webhooks WHERE secret LIKE '%{new[10:30]}%'") == 0, "sealed"


def test_a_receiver_that_is_away_misses_nothing_and_is_owed_so_much_at_a_time(
    carrier: Carrier, receivers: Receivers, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_outbox, "OWED_MAXIMUM", 6)
    monkeypatch.setattr(webhook_outbox, "WALKED", 4)
    idp, app = carrier.idp, receivers.add(closing)
    webhook_id, _ = hook(idp, app, "login.failed")
    events = happen(idp, 20)
    for _ in range(4):
        carrier.carry()
        clock.advance(MINUTE)
    assert idp.count("deliveries WHERE state = 'owed'") == 6
    assert of(idp, webhook_id).disabled_at is None
    app.answering = saying("503 Service Unavailable")
    carrier.carry()
    app.requests.clear()
    app.answering = saying("202 Accepted")
    for _ in range(12):
        clock.advance(MINUTE)
        carrier.carry()
    assert sorted(ids_of(app)) == sorted(events), "each, and each once it was taken only once"


def test_two_nodes_owe_each_event_once(carrier: Carrier, receivers: Receivers) -> None:
    idp, app = carrier.idp, receivers.add()
    hook(idp, app, "login.failed")
    events = happen(idp, 30)
    log.seal(idp.work)
    threads = [threading.Thread(target=webhook_outbox.owe, args=(idp.work,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(row["event"] for row in carrier.rows()) == sorted(events)


def test_one_that_takes_nothing_for_days_is_disabled_and_goes_on_where_it_stopped(
    carrier: Carrier, receivers: Receivers, clock: ManualClock
) -> None:
    idp, app = carrier.idp, receivers.add(saying("500 Internal Server Error"))
    webhook_id, _ = hook(idp, app, "login.failed")
    events = happen(idp, 3)
    carrier.carry()
    clock.advance(webhook_outbox.HORIZON - HOUR)
    carrier.carry()
    assert of(idp, webhook_id).disabled_at is None
    clock.advance(2 * HOUR)
    carrier.carry()
    disabled = of(idp, webhook_id)
    assert disabled.disabled_at == clock.now()
    assert disabled.disabled_reason == "answered 500"
    assert [one["reason"] for one in idp.events("webhook.disabled")] == ["answered 500"]
    assert idp.count("deliveries WHERE state = 'owed'") == 0
    events += happen(idp)
    app.answering = saying("200 OK")
    app.requests.clear()
    carrier.carry()
    assert app.requests == []
    with idp.work.begin() as unit:
        webhooks.enable(unit, unit.orm.get_one(Webhook, webhook_id), ADMIN)
    clock.advance(MINUTE)
    carrier.carry()
    assert set(ids_of(app)) == set(events)


def test_one_event_that_is_never_taken_does_not_disable_what_takes_the_others(
    carrier: Carrier, receivers: Receivers, clock: ManualClock
) -> None:
    idp, app = carrier.idp, receivers.add(saying("422 Unprocessable Content"))
    webhook_id, _ = hook(idp, app, "login.failed")
    happen(idp)
    carrier.carry()
    app.answering = saying("200 OK")
    happen(idp)
    log.seal(idp.work)
    webhook_outbox.owe(idp.work)
    idp.execute("UPDATE deliveries SET next_attempt_at = :at WHERE attempts > 0",
                at=clock.now() + webhook_outbox.HORIZON)  # fmt: skip
    clock.advance(MINUTE)
    carrier.carry()
    app.answering = saying("422 Unprocessable Content")
    clock.advance(webhook_outbox.HORIZON)
    carrier.carry()
    assert len(idp.events("webhook.given_up")) == 1
    assert of(idp, webhook_id).disabled_at is None


def test_one_that_says_it_wants_no_more_is_disabled_at_once(
    carrier: Carrier, receivers: Receivers
) -> None:
    idp, app = carrier.idp, receivers.add(saying("410 Gone"))
    webhook_id, _ = hook(idp, app, "login.failed")
    happen(idp, 3)
    carrier.carry()
    assert of(idp, webhook_id).disabled_reason == "answered 410"
    assert len(idp.events("webhook.disabled")) == 1


def test_events_are_sent_again_under_the_ids_they_had(
    carrier: Carrier, receivers: Receivers
) -> None:
    idp, app = carrier.idp, receivers.add()
    webhook_id, _ = hook(idp, app, "login.failed")
    first, second = happen(idp), happen(idp, 2)
    carrier.carry()
    assert ids_of(app)[0] == first[0]
    behind = json.loads(app.requests[0].body)["data"]["position"]
    app.requests.clear()
    with idp.work.begin() as unit:
        webhooks.replay(unit, unit.orm.get_one(Webhook, webhook_id), behind=behind, actor=ADMIN)
    carrier.carry()
    assert sorted(ids_of(app)) == sorted(second)
    assert idp.events("webhook.replayed")[0]["actor"] == "admin"


def test_a_test_goes_to_one_webhook_whatever_it_takes(
    carrier: Carrier, receivers: Receivers
) -> None:
    idp, app, other = carrier.idp, receivers.add(), receivers.add()
    webhook_id, secret = hook(idp, app, "login.failed")
    hook(idp, other, "login.failed")
    with idp.work.begin() as unit:
        webhooks.send_test(unit, unit.orm.get_one(Webhook, webhook_id), ADMIN)
    carrier.carry()
    (request,) = app.wait_for(1)
    assert json.loads(request.body)["type"] == "webhook.tested"
    assert is_signed_by(request, secret)
    assert other.requests == []


def test_what_is_removed_is_sent_nothing_more(carrier: Carrier, receivers: Receivers) -> None:
    idp, app = carrier.idp, receivers.add(closing)
    webhook_id, _ = hook(idp, app)
    happen(idp, 3)
    carrier.carry()
    app.requests.clear()
    with idp.work.begin() as unit:
        webhooks.remove(unit, unit.orm.get_one(Webhook, webhook_id), ADMIN)
    carrier.carry()
    assert app.requests == []
    assert idp.count("deliveries WHERE state = 'owed'") == 0


@pytest.mark.attack("SS-02")
@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/",
        "ftp://app.example.com", "https://u:p@app.example.com/",
        "https://2130706433/", "https://app.example.com/#x",
    ],
)  # fmt: skip
def test_an_address_inside_is_no_webhook(idp: Idp, url: str) -> None:
    with idp.work.begin() as unit, pytest.raises(Refused) as refused:
        webhooks.create(unit, url=url, types=[], actor=ADMIN)
    assert refused.value.code == "invalid_webhook"
    assert idp.count("webhooks") == 0


@pytest.mark.attack("SS-04")
def test_a_name_that_leads_inside_is_not_called(idp: Idp, receivers: Receivers) -> None:
    """The same guard as at back-channel logout: the address is checked when it is connected to."""
    inside = receivers.add()
    settings = OutboundSettings()
    outbound = Outbound(settings, resolve=lambda host, port: ["127.0.0.1"])
    with idp.work.begin() as unit:
        made, _ = webhooks.create(
            unit, url=f"https://hooks.example:{inside.port}/", types=["login.failed"], actor=ADMIN
        )
    happen(idp)
    Carrier(idp, outbound).carry()
    outbound.close()
    with idp.work.read() as unit:
        (row,) = webhook_outbox.sent(unit, made.id)
    assert row.state == "owed"
    assert row.last_error is not None
    assert "127.0.0.1" in row.last_error
    assert inside.connections == 0


def test_no_more_than_so_many(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST", 2)
    for _ in range(2):
        with idp.work.begin() as unit:
            webhooks.create(unit, url="https://app.example.com/", types=[], actor=ADMIN)
    with idp.work.begin() as unit, pytest.raises(Refused) as refused:
        webhooks.create(unit, url="https://app.example.com/", types=[], actor=ADMIN)
    assert refused.value.code == "too_many_webhooks"


def test_no_more_than_so_many_however_many_are_added_at_once(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MOST", 2)
    idp, ready = either_idp, threading.Barrier(6)

    def add(number: int) -> str:
        ready.wait(20)
        try:
            with idp.work.begin() as unit:
                webhooks.create(unit, url=f"https://a{number}.example.com/", types=[], actor=ADMIN)
        except Refused as refused:
            return refused.code
        return "added"

    with ThreadPoolExecutor(6) as threads:
        outcomes = sorted(threads.map(add, range(6)))
    assert outcomes == ["added"] * 2 + ["too_many_webhooks"] * 4
    assert idp.count("webhooks") == 2
    assert len(idp.events("webhook.created")) == 2


def test_a_kind_of_event_that_is_none_is_refused(idp: Idp) -> None:
    for kind in ("session", "session.begun", "*", "*.ended", ""):
        with idp.work.begin() as unit, pytest.raises(Refused):
            webhooks.create(unit, url="https://app.example.com/", types=[kind], actor=ADMIN)


def test_old_receipts_are_forgotten(
    carrier: Carrier, receivers: Receivers, clock: ManualClock
) -> None:
    idp, app = carrier.idp, receivers.add()
    hook(idp, app, "login.failed")
    happen(idp, 2)
    carrier.carry()
    clock.advance(webhook_outbox.RECEIPTS - SECOND)
    with idp.work.begin() as unit:
        assert webhook_outbox.forget_past(unit) == 0
    clock.advance(2 * SECOND)
    with idp.work.begin() as unit:
        assert webhook_outbox.forget_past(unit) == 2


@pytest.mark.parametrize("hushed", ["/in/hush", "/in?token=hush"])
def test_the_log_names_an_address_without_what_may_be_a_password(idp: Idp, hushed: str) -> None:
    """Many a receiver has its password in the path."""
    base = "https://app.example.com"
    with idp.work.begin() as unit:
        made, _ = webhooks.create(unit, url=base + hushed, types=[], actor=ADMIN)
        webhooks.change(unit, made, url=f"{base}{hushed}2", types=[], actor=ADMIN)
    created, changed = idp.events("webhook.created", "webhook.changed")
    assert base in created["data"]
    assert "hush" not in created["data"] + changed["data"]
    # That it was changed is said all the same.
    assert '"changed":["url"]' in changed["data"]


def test_what_a_webhook_was_sent_is_found_by_its_own_index(idp: Idp) -> None:
    with idp.work.read() as unit:
        asked: list[str] = []
        connection = unit.connection.connection.driver_connection
        assert connection is not None
        connection.set_trace_callback(asked.append)
        webhook_outbox.sent(unit, "whk_x")
        connection.set_trace_callback(None)
        plan = unit.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}").all()
    assert "ix_deliveries_webhook" in str(plan)

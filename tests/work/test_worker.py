import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from idp.clock import SECOND, SystemClock
from idp.errors import Unavailable
from idp.events import delivery
from idp.events.catalogue import LogoutDelivered, LogoutGivenUp
from idp.events.delivery import Claimed, Outcome, Receipt, Report
from idp.storage.unit_of_work import Work
from idp.work import dispatch
from idp.work.schedule import Job
from idp.work.worker import Worker
from tests.harness.stopwatch import least
from tests.harness.workbench import make_work

PATIENCE = 20.0


class Channel:
    """Accepts everything at once and says so to whoever waits."""

    def __init__(self) -> None:
        self.sent: list[Claimed] = []
        self.came = threading.Condition()
        self.refusing: Exception | None = None

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        if self.refusing is not None:
            raise self.refusing
        with self.came:
            self.sent += batch
            self.came.notify_all()
        for claimed in batch:
            report(claimed, Outcome("accepted", 200))

    def delivered(self, claimed: Claimed) -> LogoutDelivered:
        return LogoutDelivered(client_id=claimed.receiver, attempts=claimed.attempts)

    def given_up(self, claimed: Claimed, reason: str) -> LogoutGivenUp:
        return LogoutGivenUp(client_id=claimed.receiver, attempts=claimed.attempts)

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.sent) >= count, PATIENCE)


@pytest.fixture
def live_work(tmp_path: Path) -> Iterator[Work]:
    """With the machine's clock: these tests run real threads."""
    made = make_work(f"sqlite:///{tmp_path / 'live.db'}", SystemClock())
    yield made
    made.database.close()


@pytest.fixture
def start(live_work: Work) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def one(channel: Channel, *jobs: Job) -> Worker:
        started.append(Worker(live_work, channels={"logout": channel}, jobs=jobs))
        started[-1].start()
        return started[-1]

    yield one
    for worker in started:
        assert worker.stop(PATIENCE)


def owe(work: Work, *receivers: str) -> None:
    with work.begin() as unit:
        delivery.owe(
            unit, receivers, event_id="evt_1", channel="logout", session_id="ses_1", payload={}
        )


def receipts(work: Work) -> list[Receipt]:
    with work.read() as unit:
        return delivery.receipts_for(unit, ["ses_1"])["ses_1"]


def test_what_is_owed_is_delivered_as_soon_as_the_worker_is_woken(
    live_work: Work, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 3_600 * SECOND)
    channel = Channel()
    worker = start(channel)
    owe(live_work, "first")
    worker.wake()
    channel.wait_for(1)

    def woken() -> float:
        owe(live_work, "another")
        began = time.monotonic()
        worker.wake()
        channel.wait_for(len(channel.sent) + 1)
        return time.monotonic() - began

    assert least(0.05, woken, rounds=20) < 0.05


def test_what_another_process_owes_is_found_without_waking(live_work: Work, start: Any) -> None:
    channel = Channel()
    start(channel)
    owe(live_work, "a")
    channel.wait_for(1)


def test_what_was_owed_before_the_start_is_delivered(live_work: Work, start: Any) -> None:
    owe(live_work, "a", "b")
    channel = Channel()
    start(channel)
    channel.wait_for(2)


def test_a_long_job_delays_no_delivery(live_work: Work, start: Any) -> None:
    running, go_on = threading.Event(), threading.Event()

    def long() -> None:
        running.set()
        go_on.wait(PATIENCE)

    channel = Channel()
    worker = start(channel, Job("long", SECOND, long))
    try:
        assert running.wait(PATIENCE)
        owe(live_work, "a")
        worker.wake()
        channel.wait_for(1)
    finally:
        go_on.set()


def test_a_failing_job_and_a_failing_channel_do_not_end_the_worker(
    live_work: Work, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ran = threading.Semaphore(0)

    def fail() -> None:
        ran.release()
        raise ZeroDivisionError

    channel = Channel()
    channel.refusing = ZeroDivisionError("broken")
    with caplog.at_level(logging.CRITICAL, logger="idp"):
        worker = start(channel, Job("fails", SECOND // 20, fail))
        owe(live_work, "a")
        worker.wake()
        for _ in range(3):
            assert ran.acquire(timeout=PATIENCE)
        channel.refusing = None
        channel.wait_for(1)


def test_a_step_that_breaks_is_logged_and_tried_again(
    live_work: Work, start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()
    whole = delivery.due

    def breaking(*args: Any, **kwargs: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise ZeroDivisionError
        return whole(*args, **kwargs)

    monkeypatch.setattr(delivery, "due", breaking)
    owe(live_work, "a")
    channel = Channel()
    start(channel)
    channel.wait_for(1)
    assert "a step of the worker failed" in caplog.text


def test_an_outage_of_the_database_is_said_once_and_survived(
    live_work: Work, start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Semaphore(0)
    gone = threading.Event()
    gone.set()
    whole = type(live_work.database).read

    def away(self: Any) -> Any:
        if gone.is_set():
            asked.release()
            raise Unavailable("the database is away")
        return whole(self)

    monkeypatch.setattr(type(live_work.database), "read", away)
    owe(live_work, "a")
    channel = Channel()
    start(channel)
    for _ in range(3):
        assert asked.acquire(timeout=PATIENCE)
    gone.clear()
    channel.wait_for(1)
    warnings = [one for one in caplog.records if "waits for the database" in one.message]
    assert len(warnings) == 1


def test_it_stops_quickly_while_idle(live_work: Work, start: Any) -> None:
    worker = start(Channel(), Job("rare", 3_600 * SECOND, lambda: None))
    assert worker.stop(PATIENCE), "the job was waited for"


def test_it_stops_although_a_receiver_hangs_and_gives_the_delivery_back(
    live_work: Work, start: Any
) -> None:
    class Hanging(Channel):
        def send(self, batch: Sequence[Claimed], report: Report) -> None:
            with self.came:
                self.sent += batch
                self.came.notify_all()

    channel = Hanging()
    worker = start(channel)
    owe(live_work, "a")
    worker.wake()
    channel.wait_for(1)
    assert worker.stop(PATIENCE), "the receiver was waited for"
    next_one = Channel()
    start(next_one)
    next_one.wait_for(1)
    assert next_one.sent[0].id == channel.sent[0].id


def test_after_the_end_every_receipt_is_written(live_work: Work, start: Any) -> None:
    channel = Channel()
    worker = start(channel)
    owe(live_work, *[f"app {number}" for number in range(20)])
    worker.wake()
    channel.wait_for(20)
    assert worker.stop(PATIENCE)
    assert [one.state for one in receipts(live_work)] == ["delivered"] * 20

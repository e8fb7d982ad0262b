import logging

import pytest

from idp.clock import HOUR, SECOND
from idp.errors import Unavailable
from idp.storage.unit_of_work import Work
from idp.work import schedule
from idp.work.schedule import LEASE, Job, Schedule
from tests.harness.workbench import ManualClock


class Runs:
    """A job that counts how often it ran."""

    def __init__(self) -> None:
        self.count = 0
        self.answer: object = None

    def __call__(self) -> object:
        self.count += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_job_runs_once_in_each_period(work: Work, clock: ManualClock) -> None:
    run = Runs()
    jobs = Schedule(work, [Job("often", 5 * SECOND, run)])
    assert jobs.step() == 5.0
    assert run.count == 1
    clock.advance(5 * SECOND - 1)
    assert jobs.step() == pytest.approx(0.000001)
    assert run.count == 1
    clock.advance(1)
    jobs.step()
    assert run.count == 2


def test_of_many_nodes_one_runs_a_job(work: Work, clock: ManualClock) -> None:
    runs = [Runs() for _ in range(3)]
    nodes = [Schedule(work, [Job("often", SECOND, run)]) for run in runs]
    for _ in range(100):
        for node in nodes:
            node.step()
        clock.advance(SECOND)
    assert sorted(run.count for run in runs) == [0, 0, 100]


def test_another_node_takes_over_when_the_first_is_gone(work: Work, clock: ManualClock) -> None:
    first, second = Runs(), Runs()
    Schedule(work, [Job("often", SECOND, first)]).step()
    other = Schedule(work, [Job("often", SECOND, second)])
    other.step()
    assert second.count == 0
    clock.advance(LEASE)
    other.step()
    assert second.count == 1


def test_an_orderly_end_hands_frequent_jobs_over_at_once(work: Work, clock: ManualClock) -> None:
    first, second = Runs(), Runs()
    ending = Schedule(work, [Job("often", SECOND, first)])
    ending.step()
    ending.give_back()
    clock.advance(1)
    Schedule(work, [Job("often", SECOND, second)]).step()
    assert second.count == 1


def test_a_restart_does_not_run_a_rare_job_again(work: Work, clock: ManualClock) -> None:
    first, second = Runs(), Runs()
    ending = Schedule(work, [Job("rare", HOUR, first)])
    ending.step()
    ending.give_back()
    restarted = Schedule(work, [Job("rare", HOUR, second)])
    for _ in range(119):
        clock.advance(LEASE)
        restarted.step()
    assert second.count == 0
    clock.advance(LEASE)
    restarted.step()
    assert second.count == 1


def test_a_rare_job_that_died_runs_again_when_its_lease_has_run_out(
    work: Work, clock: ManualClock
) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        Schedule(work, [Job("rare", HOUR, die)]).step()
    run = Runs()
    other = Schedule(work, [Job("rare", HOUR, run)])
    other.step()
    assert run.count == 0
    clock.advance(LEASE)
    other.step()
    assert run.count == 1


def test_a_job_that_did_not_finish_goes_on_at_once(work: Work, clock: ManualClock) -> None:
    run = Runs()
    run.answer = True
    jobs = Schedule(work, [Job("rare", HOUR, run)])
    assert jobs.step() < 0.1
    clock.advance(SECOND)
    run.answer = False
    jobs.step()
    assert run.count == 2
    clock.advance(SECOND)
    jobs.step()
    assert run.count == 2


def test_a_job_that_fails_is_logged_and_stops_no_other(
    work: Work, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Runs(), Runs()
    bad.answer = ValueError("broken")
    jobs = Schedule(work, [Job("bad", SECOND, bad), Job("good", SECOND, good)])
    with caplog.at_level(logging.ERROR):
        jobs.step()
    assert "bad" in caplog.text
    assert good.count == 1
    clock.advance(SECOND)
    jobs.step()
    assert (bad.count, good.count) == (2, 2)


def test_an_outage_is_left_to_the_caller_and_forgets_no_job(work: Work, clock: ManualClock) -> None:
    run = Runs()
    run.answer = Unavailable("gone")
    jobs = Schedule(work, [Job("often", SECOND, run)])
    with pytest.raises(Unavailable):
        jobs.step()
    run.answer = None
    clock.advance(SECOND)
    jobs.step()
    assert run.count == 2


def test_a_holder_of_a_frequent_job_hardly_writes(work: Work, clock: ManualClock) -> None:
    run = Runs()
    jobs = Schedule(work, [Job("often", SECOND, run)])
    begun = 0
    original = type(work).begin

    def counting(self: Work):  # type: ignore[no-untyped-def]
        nonlocal begun
        begun += 1
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(work), "begin", counting)
        for _ in range(60):
            jobs.step()
            clock.advance(SECOND)
    assert run.count == 60
    assert begun <= 5


def test_the_lease_of_another_cannot_be_kept(work: Work, clock: ManualClock) -> None:
    with work.begin() as unit:
        assert schedule.take(unit, "job", holder="a", lasting=LEASE)
        assert not schedule.take(unit, "job", holder="b", lasting=LEASE)
        schedule.keep(unit, "job", holder="b", until=0)
        assert not schedule.take(unit, "job", holder="b", lasting=LEASE)
        assert schedule.take(unit, "job", holder="a", lasting=LEASE)

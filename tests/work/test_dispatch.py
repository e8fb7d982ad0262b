from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from idp.clock import HOUR, MINUTE, SECOND
from idp.errors import Unavailable
from idp.events import delivery
from idp.events.catalogue import LogoutDelivered, LogoutGivenUp
from idp.events.delivery import HORIZON, Claimed, Outcome, Report
from idp.events.model import Delivery, EventRow
from idp.storage.unit_of_work import Work
from idp.work.dispatch import Dispatch
from idp.work.turns import CALLS_UNKNOWN
from tests.harness.workbench import ManualClock

OK = Outcome("accepted", 200)
SILENCE = Outcome("failed", error="no answer within 5 seconds")


@dataclass
class FakeChannel:
    """Answers at once as `answers` says; None keeps the call under way."""

    answers: Callable[[Claimed], Outcome | None] = lambda claimed: OK
    sent: list[Claimed] = field(default_factory=list)
    open: list[tuple[Claimed, Report]] = field(default_factory=list)

    def send(self, batch: Sequence[Claimed], report: Report) -> None:
        for claimed in batch:
            self.sent.append(claimed)
            outcome = self.answers(claimed)
            if outcome is None:
                self.open.append((claimed, report))
            else:
                report(claimed, outcome)

    def answer_open(self, outcome: Outcome) -> None:
        waiting, self.open = self.open, []
        for claimed, report in waiting:
            report(claimed, outcome)

    def delivered(self, claimed: Claimed) -> LogoutDelivered:
        return LogoutDelivered(client_id=claimed.receiver, attempts=claimed.attempts)

    def given_up(self, claimed: Claimed, reason: str) -> LogoutGivenUp:
        return LogoutGivenUp(client_id=claimed.receiver, attempts=claimed.attempts, reason=reason)


def owe(work: Work, *receivers: str, channel: str = "logout") -> None:
    with work.begin() as unit:
        delivery.owe(
            unit, receivers, event_id="evt_1", channel=channel, session_id="ses_1", payload={}
        )


@pytest.fixture(autouse=True)
def _nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idp.work.dispatch.GATHERING", 0.0)


class Woken(Dispatch):
    """A dispatch that remembers whether it was woken since its last step."""

    def __init__(self, work: Work, channel: FakeChannel) -> None:
        self.woken = False
        super().__init__(work, {"logout": channel}, wake=self.note)

    def note(self) -> None:
        self.woken = True


def dispatch(work: Work, channel: FakeChannel) -> Woken:
    return Woken(work, channel)


def run(made: Woken, *, steps: int = 1_000) -> float:
    """Steps until there is nothing to do now; gives the seconds until there will be."""
    made.news()
    for _ in range(steps):
        made.woken = False
        pause = made.step()
        if pause > 0 and not made.woken:
            return pause
    raise AssertionError("it never comes to rest")


def states(work: Work) -> dict[str, list[str]]:
    with work.read() as unit:
        rows = unit.connection.execute(
            select(Delivery.receiver, Delivery.state).order_by(Delivery.created_at)
        ).all()
    found: dict[str, list[str]] = {}
    for receiver, state in rows:
        found.setdefault(receiver, []).append(state)
    return found


def recorded(work: Work) -> list[tuple[str, str | None, str | None]]:
    with work.read() as unit:
        return [
            (row.type, row.client_id, row.reason)
            for row in unit.orm.scalars(select(EventRow).order_by(EventRow.id))
        ]


def test_what_is_owed_is_sent_and_receipted(work: Work) -> None:
    owe(work, "a", "b")
    channel = FakeChannel()
    run(dispatch(work, channel))
    assert sorted(one.receiver for one in channel.sent) == ["a", "b"]
    assert states(work) == {"a": ["delivered"], "b": ["delivered"]}
    assert sorted(recorded(work)) == [
        ("logout.delivered", "a", None),
        ("logout.delivered", "b", None),
    ]


def test_a_claim_is_committed_before_anything_is_sent(work: Work, clock: ManualClock) -> None:
    owe(work, "a")

    def looking(claimed: Claimed) -> Outcome:
        with work.read() as unit:
            row = unit.orm.get(Delivery, claimed.id)
            assert row is not None
            assert row.claimed_until > clock.now()
        return OK

    run(dispatch(work, FakeChannel(looking)))
    assert states(work) == {"a": ["delivered"]}


def test_a_failure_is_tried_again_with_the_same_id(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    channel = FakeChannel(lambda claimed: SILENCE if claimed.attempts < 4 else OK)
    made = dispatch(work, channel)
    for _ in range(4):
        assert run(made) <= 0.5
        clock.advance(10 * SECOND)
    assert [one.attempts for one in channel.sent] == [1, 2, 3, 4]
    assert len({one.id for one in channel.sent}) == 1
    assert states(work) == {"a": ["delivered"]}


def test_a_step_says_how_long_nothing_will_be_due(work: Work, clock: ManualClock) -> None:
    made = dispatch(work, FakeChannel(lambda claimed: SILENCE))
    assert run(made) == 0.5
    owe(work, "a")
    made.step()
    clock.advance(SECOND // 2)
    made.step()
    assert states(work) == {"a": ["owed"]}, "another process's delivery is seen without being told"


def test_a_process_that_dies_after_claiming_loses_nothing(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    dying = FakeChannel(lambda claimed: None)
    run(dispatch(work, dying))
    next_process = FakeChannel()
    made = dispatch(work, next_process)
    run(made)
    assert next_process.sent == []
    clock.advance(30 * SECOND)
    run(made)
    assert [one.id for one in next_process.sent] == [one.id for one in dying.sent]
    assert states(work) == {"a": ["delivered"]}


def test_two_processes_do_not_send_the_same(work: Work) -> None:
    owe(work, *[f"app {number}" for number in range(60)])
    first, second = FakeChannel(lambda claimed: None), FakeChannel(lambda claimed: None)
    run(dispatch(work, first))
    run(dispatch(work, second))
    sent = [one.id for one in first.sent + second.sent]
    assert len(sent) == len(set(sent)) == 60


def test_past_the_horizon_it_is_given_up_and_recorded(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    made = dispatch(work, FakeChannel(lambda claimed: SILENCE))
    run(made)
    clock.advance(HORIZON)
    run(made)
    assert states(work) == {"a": ["given_up"]}
    assert recorded(work) == [("logout.given_up", "a", "no answer within 5 seconds")]


def test_what_is_hopeless_is_given_up_at_once(work: Work) -> None:
    owe(work, "a")
    run(dispatch(work, FakeChannel(lambda claimed: Outcome("hopeless", error="removed"))))
    assert states(work) == {"a": ["given_up"]}
    assert recorded(work) == [("logout.given_up", "a", "removed")]


def test_a_channel_that_breaks_puts_its_deliveries_off(
    work: Work, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    owe(work, "a", "b")

    def broken(claimed: Claimed) -> Outcome:
        if len(channel.sent) == 2:
            raise KeyError("b")
        return OK

    channel = FakeChannel(broken)
    made = dispatch(work, channel)
    run(made)
    assert sorted(state for (state,) in states(work).values()) == ["delivered", "owed"]
    assert "sending by logout failed" in caplog.text
    clock.advance(10 * SECOND)
    run(made)
    assert sorted(state for (state,) in states(work).values()) == ["delivered", "delivered"]


def test_deliveries_of_an_unknown_channel_are_left_to_those_who_know_it(work: Work) -> None:
    owe(work, "a", channel="pigeon")
    channel = FakeChannel()
    assert run(dispatch(work, channel)) == 0.5
    assert channel.sent == []
    assert states(work) == {"a": ["owed"]}


@pytest.mark.attack("LO-11")
def test_a_receiver_that_hangs_has_few_calls_and_delays_no_other(
    work: Work, clock: ManualClock
) -> None:
    owe(work, *["hanging"] * 700)
    clock.advance(1)
    owe(work, *["good"] * 30)
    channel = FakeChannel(lambda claimed: None if claimed.receiver == "hanging" else OK)
    run(dispatch(work, channel))
    assert sum(one.receiver == "hanging" for one in channel.sent) == CALLS_UNKNOWN
    assert states(work)["good"] == ["delivered"] * 30


def test_nothing_is_looked_for_while_every_call_is_under_way(
    sqlite_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp.work.dispatch.WINDOW", 8)
    good = [f"good {number}" for number in range(20)]
    hanging = False
    channel = FakeChannel(lambda claimed: None if hanging else OK)
    made = dispatch(sqlite_work, channel)
    owe(sqlite_work, *good)
    run(made)
    hanging = True
    owe(sqlite_work, *good * 8)
    assert run(made) == 0.5
    assert len(channel.open) == 64
    channel.answer_open(OK)
    run(made)
    assert len(channel.open) == 64


def test_one_look_is_enough_for_receivers_that_have_their_calls(sqlite_work: Work) -> None:
    owe(sqlite_work, *["hanging"] * 20)
    made = dispatch(sqlite_work, FakeChannel(lambda claimed: None))
    assert made.step() == 0.5


@pytest.mark.attack("SS-10")
def test_a_thousand_that_hang_do_not_stop_those_known_to_answer(
    work: Work, clock: ManualClock
) -> None:
    channel = FakeChannel(lambda claimed: OK if claimed.receiver == "good" else None)
    made = dispatch(work, channel)
    owe(work, "good")
    run(made)
    owe(work, *[f"hanging {number}" for number in range(1_000)])
    clock.advance(1)
    run(made)
    assert len(channel.open) == 48
    owe(work, *["good"] * 20)
    run(made)
    assert states(work)["good"] == ["delivered"] * 21
    assert len(channel.open) == 48


@pytest.mark.attack("LO-11")
def test_a_receiver_that_was_away_is_told_of_all_within_a_minute(
    work: Work, clock: ManualClock
) -> None:
    away = True
    channel = FakeChannel(lambda claimed: SILENCE if away else OK)
    made = dispatch(work, channel)
    owe(work, *["a"] * 200)
    for _ in range(10 * 60):
        run(made)
        clock.advance(SECOND)
    assert len(channel.sent) < 200, "a dead receiver is probed, not battered"
    away = False
    for _ in range(31):
        run(made)
        clock.advance(SECOND)
    assert states(work)["a"] == ["delivered"] * 200


@pytest.mark.attack("LO-11")
def test_what_was_put_off_for_long_follows_the_first_that_is_accepted(
    work: Work, clock: ManualClock
) -> None:
    away = True
    channel = FakeChannel(lambda claimed: SILENCE if away else OK)
    made = dispatch(work, channel)
    owe(work, *["a"] * 3)
    for _ in range(4 * 60):
        run(made)
        clock.advance(MINUTE)
    away = False
    owe(work, "a")
    run(made)
    assert states(work)["a"] == ["delivered"] * 4


def test_a_receiver_that_dislikes_one_message_still_gets_the_others_at_once(work: Work) -> None:
    owe(work, *["a"] * 10)
    first: list[str] = []

    def picky(claimed: Claimed) -> Outcome:
        first.append(claimed.id)
        return Outcome("failed", 400, "answered 400") if claimed.id == first[0] else OK

    run(dispatch(work, FakeChannel(picky)))
    assert sorted(states(work)["a"]) == ["delivered"] * 9 + ["owed"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_receiver_that_is_unwell_is_given_a_pause(work: Work, status: int) -> None:
    owe(work, *["a"] * 10)
    channel = FakeChannel(lambda claimed: Outcome("failed", status, "unwell"))
    run(dispatch(work, channel))
    assert len(channel.sent) <= CALLS_UNKNOWN


def test_an_answer_during_an_outage_of_the_database_is_receipted_later(
    sqlite_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = sqlite_work
    owe(work, "a")
    channel = FakeChannel(lambda claimed: None)
    made = dispatch(work, channel)
    run(made)
    channel.answer_open(OK)

    def gone(*args: object, **kwargs: object) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as outage:
        outage.setattr(delivery, "finish", gone)
        for _ in range(3):
            with pytest.raises(Unavailable):
                made.step()
    made.step()
    assert states(work) == {"a": ["delivered"]}
    assert len(channel.sent) == 1


def test_a_claim_that_was_not_committed_takes_no_turn(
    sqlite_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = sqlite_work
    owe(work, *["a"] * CALLS_UNKNOWN)
    channel = FakeChannel()
    made = dispatch(work, channel)

    def gone(*args: object, **kwargs: object) -> None:
        raise Unavailable("gone")

    with monkeypatch.context() as outage:
        outage.setattr(delivery, "claim", gone)
        for _ in range(CALLS_UNKNOWN + 1):
            with pytest.raises(Unavailable):
                made.step()
    run(made)
    assert states(work)["a"] == ["delivered"] * CALLS_UNKNOWN


def test_an_orderly_end_notes_what_was_answered_and_gives_back_the_rest(
    work: Work, clock: ManualClock
) -> None:
    owe(work, "answers", "hangs")
    channel = FakeChannel(lambda claimed: None)
    made = dispatch(work, channel)
    run(made)
    (claimed, report) = next(pair for pair in channel.open if pair[0].receiver == "answers")
    report(claimed, OK)
    made.finish(within=0.01)
    assert states(work) == {"answers": ["delivered"], "hangs": ["owed"]}
    after = FakeChannel()
    run(dispatch(work, after))
    assert [one.receiver for one in after.sent] == ["hangs"]


def test_receipts_of_answers_that_come_together_share_a_transaction(sqlite_work: Work) -> None:
    work = sqlite_work
    owe(work, *[f"app {number}" for number in range(40)])
    channel = FakeChannel(lambda claimed: None)
    made = dispatch(work, channel)
    run(made)
    begun = 0
    original = Work.begin

    def counting(self: Work):  # type: ignore[no-untyped-def]
        nonlocal begun
        begun += 1
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "begin", counting)
        channel.answer_open(OK)
        run(made)
    assert list(states(work).values()) == [["delivered"]] * 40
    assert begun == 1


def test_a_dead_receiver_is_hardly_called_once_it_has_been_dead_for_hours(
    sqlite_work: Work, clock: ManualClock
) -> None:
    owe(sqlite_work, "dead")
    channel = FakeChannel(lambda claimed: SILENCE)
    made = dispatch(sqlite_work, channel)
    for _ in range(3 * 60):
        run(made)
        clock.advance(MINUTE)
    clock.advance(HOUR)
    in_three_hours = len(channel.sent)
    assert in_three_hours <= 60 + 2 * 12

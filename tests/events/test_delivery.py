import pytest

from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events import delivery
from idp.events.delivery import HORIZON, Claimed, Reach, Receipt
from idp.storage.unit_of_work import Work
from tests.harness.workbench import ManualClock

LEASE = 30 * SECOND
ALL = Reach(channels=["logout"])


def owe(work: Work, *receivers: str, session_id: str = "ses_1") -> None:
    with work.begin() as unit:
        delivery.owe(
            unit,
            receivers,
            event_id="evt_1",
            channel="logout",
            session_id=session_id,
            payload={"sub": "usr_1"},
        )


def claim_due(work: Work, *, limit: int = 100, reach: Reach = ALL) -> list[Claimed]:
    with work.begin() as unit:
        found = [one for one, _ in delivery.due(unit, reach, limit=limit)]
        return delivery.claim(unit, found, lease=LEASE)


def receipts(work: Work, session_id: str = "ses_1") -> list[Receipt]:
    with work.read() as unit:
        return delivery.receipts_for(unit, [session_id])[session_id]


def test_what_is_owed_goes_with_its_cause(work: Work) -> None:
    def owing_and_failing() -> None:
        with work.begin() as unit:
            delivery.owe(
                unit, ["a"], event_id="evt_1", channel="logout", session_id="ses_1", payload={}
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        owing_and_failing()
    assert receipts(work) == []
    owe(work, "a", "b")
    assert [one.state for one in receipts(work)] == ["owed", "owed"]


def test_owing_nobody_writes_nothing(work: Work) -> None:
    with work.begin() as unit:
        owed = delivery.owe(
            unit, [], event_id="evt_1", channel="logout", session_id=None, payload={}
        )
    assert owed == 0


def test_a_claim_holds_what_is_needed_to_send(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    (claimed,) = claim_due(work)
    assert claimed.receiver == "a"
    assert claimed.payload == {"sub": "usr_1"}
    assert claimed.session_id == "ses_1"
    assert claimed.attempts == 1
    assert claimed.claimed_until == clock.now() + LEASE
    assert claimed.give_up_at == clock.now() + HORIZON


def test_what_is_claimed_is_not_claimed_again_until_the_lease_has_run_out(
    work: Work, clock: ManualClock
) -> None:
    owe(work, "a")
    (first,) = claim_due(work)
    with work.begin() as unit:
        assert delivery.due(unit, ALL, limit=10) == []
        assert delivery.next_due(unit, ALL) == clock.now() + LEASE
        assert delivery.claim(unit, [first.id], lease=LEASE) == []
    clock.advance(LEASE)
    (again,) = claim_due(work)
    assert (again.id, again.attempts) == (first.id, 2)


def test_two_that_choose_the_same_rows_share_them(work: Work) -> None:
    owe(work, *[f"app {number}" for number in range(10)])
    with work.read() as unit:
        chosen = [one for one, _ in delivery.due(unit, ALL, limit=10)]
    with work.begin() as unit:
        first = delivery.claim(unit, chosen[:6], lease=LEASE)
    with work.begin() as unit:
        second = delivery.claim(unit, chosen, lease=LEASE)
    assert (len(first), len(second)) == (6, 4)
    assert {one.id for one in first} | {one.id for one in second} == set(chosen)


def test_the_longest_due_come_first_within_reach(work: Work, clock: ManualClock) -> None:
    owe(work, "late")
    clock.advance(-SECOND)
    owe(work, "early", "other")
    clock.advance(SECOND)
    with work.read() as unit:
        found = [receiver for _, receiver in delivery.due(unit, ALL, limit=10)]
        assert found[-1] == "late"
        assert set(found[:2]) == {"early", "other"}
        barred = Reach(channels=["logout"], barred=["early", "late"])
        assert [who for _, who in delivery.due(unit, barred, limit=10)] == ["other"]
        only = Reach(channels=["logout"], only=["late"])
        assert [who for _, who in delivery.due(unit, only, limit=10)] == ["late"]
        nobody = Reach(channels=["logout"], only=[])
        assert delivery.due(unit, nobody, limit=10) == []
        assert delivery.next_due(unit, nobody) is None
        assert delivery.due(unit, Reach(channels=["mail"]), limit=10) == []


def test_a_receipt_says_when_and_how_it_was_accepted(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    claimed = claim_due(work)
    clock.advance(SECOND)
    with work.begin() as unit:
        assert delivery.finish(unit, claimed, 204) == claimed
        assert delivery.finish(unit, claimed, 204) == []
    (receipt,) = receipts(work)
    assert receipt == Receipt("a", "logout", "delivered", 1, clock.now(), 204, None)
    clock.advance(DAY)
    assert claim_due(work) == []


def test_an_acceptance_counts_although_the_lease_had_run_out(
    work: Work, clock: ManualClock
) -> None:
    owe(work, "a")
    late = claim_due(work)
    clock.advance(LEASE)
    (second,) = claim_due(work)
    with work.begin() as unit:
        assert delivery.finish(unit, late, 200) == late
        assert delivery.postpone(unit, second, error="no answer", status=None) == "not_ours"
    assert [one.state for one in receipts(work)] == ["delivered"]


def test_a_failure_of_a_lease_that_ran_out_changes_nothing(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    (late,) = claim_due(work)
    clock.advance(LEASE)
    (second,) = claim_due(work)
    with work.begin() as unit:
        assert delivery.postpone(unit, late, error="no answer", status=None) == "not_ours"
        assert delivery.give_up(unit, late, error="gone") == "not_ours"
        delivery.release(unit, [late])
        assert delivery.next_due(unit, ALL) == second.claimed_until


def test_attempts_come_after_doubling_waits_up_to_half_a_minute_in_the_first_hour(
    work: Work, clock: ManualClock
) -> None:
    owe(work, "a")
    began = clock.now()
    waits: list[float] = []
    while clock.now() - began < 10 * MINUTE:
        (claimed,) = claim_due(work)
        with work.begin() as unit:
            delivery.postpone(unit, claimed, error="answered 500", status=500)
            again = delivery.next_due(unit, ALL)
        assert again is not None
        waits.append((again - clock.now()) / SECOND)
        clock.advance(again - clock.now())
    for wait, longest in zip(waits, [1, 2, 4, 8, 16] + [30] * len(waits), strict=False):
        assert longest * 0.75 <= wait <= longest
    assert len(set(waits[5:])) > 1, "many that failed together must not come together"


def test_after_the_first_hour_the_waits_grow_to_ten_minutes() -> None:
    claimed = Claimed("dlv_1", "evt", "logout", "a", None, {}, 1, 0, DAY, 0)
    for attempts, longest in [(8, 128), (9, 256), (10, 512), (11, 600), (500, 600)]:
        tried = Claimed(
            id="dlv_1", event_id="evt", channel="logout", receiver="a", session_id=None,
            payload={}, attempts=attempts, created_at=0, give_up_at=DAY, claimed_until=0,
        )  # fmt: skip
        wait = delivery.next_attempt(tried, 2 * HOUR) - 2 * HOUR
        assert longest * SECOND * 3 // 4 <= wait <= longest * SECOND
    assert delivery.next_attempt(claimed, 5) == delivery.next_attempt(claimed, 5)


def test_past_the_horizon_it_is_given_up(work: Work, clock: ManualClock) -> None:
    owe(work, "a")
    clock.advance(HORIZON - SECOND // 4)
    (claimed,) = claim_due(work)
    with work.begin() as unit:
        became = delivery.postpone(unit, claimed, error="answered 503", status=503)
    assert became == "given_up"
    (receipt,) = receipts(work)
    assert receipt.state == "given_up"
    assert receipt.finished_at == clock.now()
    assert (receipt.last_status, receipt.last_error) == (503, "answered 503")
    clock.advance(DAY)
    assert claim_due(work) == []


def test_what_was_put_off_can_be_hurried(work: Work, clock: ManualClock) -> None:
    owe(work, "back", "back", "away")
    for claimed in claim_due(work):
        with work.begin() as unit:
            delivery.postpone(unit, claimed, error="no answer", status=None)
    assert claim_due(work) == []
    with work.begin() as unit:
        delivery.hurry(unit, [])
        delivery.hurry(unit, ["back"])
    assert [one.receiver for one in claim_due(work)] == ["back", "back"]
    with work.begin() as unit:
        delivery.hurry(unit, ["back"])
    assert claim_due(work) == [], "what is under way must not be sent twice"
    with work.begin() as unit:
        assert delivery.next_due(unit, Reach(["logout"], barred=["away"])) == unit.now + LEASE


def test_what_is_given_back_is_due_at_once(work: Work) -> None:
    owe(work, "a")
    claimed = claim_due(work)
    with work.begin() as unit:
        delivery.release(unit, claimed)
    (again,) = claim_due(work)
    assert again.attempts == 2


def test_receipts_are_found_by_session(work: Work) -> None:
    owe(work, "b", "a", session_id="ses_1")
    owe(work, "c", session_id="ses_2")
    with work.read() as unit:
        found = delivery.receipts_for(unit, ["ses_1", "ses_2", "ses_3"])
        assert {key: [one.receiver for one in value] for key, value in found.items()} == {
            "ses_1": ["a", "b"],
            "ses_2": ["c"],
            "ses_3": [],
        }
        assert delivery.receipts_for(unit, []) == {}


def test_only_old_and_finished_deliveries_are_forgotten(work: Work, clock: ManualClock) -> None:
    owe(work, "old")
    claimed = claim_due(work)
    with work.begin() as unit:
        delivery.finish(unit, claimed, 200)
    owe(work, "still owed")
    clock.advance(DAY)
    with work.begin() as unit:
        assert delivery.forget_finished(unit, before=clock.now() - DAY) == 0
        assert delivery.forget_finished(unit, before=clock.now() - DAY + 1) == 1
    assert [one.receiver for one in receipts(work)] == ["still owed"]

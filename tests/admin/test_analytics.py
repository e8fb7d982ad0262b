"""Charts say what happened: every fact is counted once, in its hour, under labels of ours."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.admin import analytics, tally
from idp.clock import DAY, HOUR, MINUTE, SECOND
from idp.events import log
from idp.events.actor import Actor
from idp.events.catalogue import LoginFailed
from idp.policy.histogram import LASTED, bucket, percentile
from idp.sessions import lifecycle
from tests.harness.provider import Idp
from tests.harness.workbench import ManualClock

ADMIN = Actor("admin", "x")


def count_all(idp: Idp) -> int:
    log.seal(idp.work)
    counted = 0
    while True:
        with idp.work.begin() as unit:
            now = tally.count(unit)
        counted += now
        if not now:
            return counted


def fail(idp: Idp, times: int) -> None:
    with idp.work.begin() as unit:
        for _ in range(times):
            unit.record(LoginFailed(reason="wrong_password"))


def test_a_day_in_figures(either_idp: Idp, clock: ManualClock) -> None:
    idp = either_idp
    begun = clock.now() - clock.now() % HOUR
    alice, bob = idp.person("alice"), idp.person("bob")
    first = idp.session(alice)
    idp.session(alice)
    idp.session(bob)
    fail(idp, 3)
    clock.advance(30 * MINUTE)
    with idp.work.begin() as unit:
        lifecycle.end(unit, [first.session.id], reason="signed_out", actor=ADMIN)
    clock.advance(HOUR)
    fail(idp, 1)
    assert count_all(idp) > 0
    assert count_all(idp) == 0, "nothing is counted twice"
    with idp.work.read() as unit:
        seen = analytics.picture(unit, since=begun, until=begun + DAY, step="hour")
        now = analytics.now(unit)
    assert len(seen.points) == 24
    assert [(one.signed_in, one.failed, one.ended) for one in seen.points[:2]] == [
        (3, 3, 1),
        (0, 1, 0),
    ]
    assert dict(seen.methods) == {"password": 3}
    assert dict(seen.failures) == {"wrong_password": 4}
    assert dict(seen.endings) == {"signed_out": 1}
    assert sum(number for _, number in seen.devices) == 3
    assert dict(seen.lasted.counts)["1800"] == 1
    assert 900 < (seen.lasted.p50 or 0) <= 1_800
    assert (now.sessions, now.people) == (0, 0), "the others have run out since"


def test_what_is_now_counts_people_and_their_sessions(either_idp: Idp) -> None:
    idp = either_idp
    alice, bob = idp.person("alice"), idp.person("bob")
    for _ in range(3):
        idp.session(alice)
    idp.session(bob)
    with idp.work.read() as unit:
        now = analytics.now(unit)
    assert (now.sessions, now.people) == (4, 2)
    assert now.per_person == ((1, 1), (3, 1))
    assert dict(now.by_level) == {"aal1": 4}


def test_the_present_is_asked_at_most_once_a_minute(idp: Idp, clock: ManualClock) -> None:
    asked: list[int] = []

    def ask(unit: object) -> analytics.Now:
        asked.append(clock.now())
        return analytics.Now(clock.now(), 0, 0, (), (), (), ())

    present = analytics.Present(ask)
    with idp.work.read() as unit:
        for _ in range(5):
            present.of(unit)
    assert len(asked) == 1
    clock.advance(MINUTE)
    with idp.work.read() as unit:
        present.of(unit)
    assert len(asked) == 2
    # A clock that was set back does not make an old picture last.
    clock.advance(-HOUR)
    with idp.work.read() as unit:
        present.of(unit)
    assert len(asked) == 3


def test_of_two_nodes_that_count_at_once_one_does(either_idp: Idp) -> None:
    idp = either_idp
    fail(idp, 2)
    count_all(idp)
    fail(idp, 2)
    log.seal(idp.work)
    with idp.work.begin() as unit:
        mark = tally._mark(unit)
        assert tally._move_mark(unit, mark, mark + 1)
        assert not tally._move_mark(unit, mark, mark + 1), "the mark is no more where it was"
        assert tally._move_mark(unit, mark + 1, mark)
    assert count_all(idp) > 0


def test_a_crash_while_counting_counts_nothing_twice_and_nothing_never(idp: Idp) -> None:
    fail(idp, 5)
    log.seal(idp.work)
    with pytest.raises(ZeroDivisionError):
        _count_and_die(idp)
    count_all(idp)
    with idp.work.read() as unit:
        failed = tally.totals(unit, "failed", since=0, until=unit.now + DAY)
    assert failed == {"wrong_password": 5}


def _count_and_die(idp: Idp) -> None:
    with idp.work.begin() as unit:
        tally.count(unit)
        raise ZeroDivisionError


def test_counts_go_when_history_does(idp: Idp, clock: ManualClock) -> None:
    fail(idp, 1)
    count_all(idp)
    clock.advance((idp.settings.history_days + 1) * DAY)
    with idp.work.begin() as unit:
        assert tally.forget_past(unit) > 0
        assert tally.totals(unit, "failed", since=0, until=unit.now) == {}
    assert count_all(idp) == 0, "the mark stays"


def test_a_long_tail_is_one_label() -> None:
    ranks = analytics.ranked({f"app {number}": number for number in range(1, 30)})
    assert len(ranks) == analytics.TOP + 1
    assert ranks[0] == ("app 29", 29)
    assert ranks[-1] == ("…", sum(range(1, 30 - analytics.TOP)))


@given(st.lists(st.floats(0, 5_000_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_is_right_to_its_bucket(values: list[float], share: float) -> None:
    counts = Counter(bucket(one, LASTED) for one in values)
    said = percentile(counts, LASTED, share)
    ordered = sorted(values)
    wanted = share * len(ordered)
    exact = ordered[max(0, -int(-wanted // 1) - 1)]
    assert said is not None
    if exact > LASTED[-1]:
        assert said == LASTED[-1]
    else:
        assert bucket(max(said, 1e-9), LASTED) == bucket(exact, LASTED) or said in LASTED


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile({}, LASTED, 0.5) is None
    assert percentile({"longer": 3}, LASTED, 0.5) == LASTED[-1]


def test_minutes_and_seconds_fall_into_their_buckets() -> None:
    assert bucket(60, LASTED) == "60"
    assert bucket(60.1, LASTED) == "300"
    assert bucket(10**9, LASTED) == "longer"
    assert bucket(30 * MINUTE / SECOND, LASTED) == "1800"

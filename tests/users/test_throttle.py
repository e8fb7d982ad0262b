import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from idp.clock import DAY, SECOND
from idp.storage.unit_of_work import Work
from idp.users import throttle
from idp.users.model import Throttle
from idp.users.throttle import Refusal, Reservation
from tests.harness.backends import postgres_with_tables
from tests.harness.workbench import ManualClock, make_work

LIMITS = {"per_account": 3, "per_account_device": 4, "per_address": 10, "window": 900}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def work(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Work]:
    if request.param == "sqlite":
        made = make_work(f"sqlite:///{tmp_path / 'idp.db'}", clock, throttle=LIMITS)
        yield made
        made.database.close()
        return
    with postgres_with_tables() as url:
        made = make_work(url, clock, throttle=LIMITS)
        yield made
        made.database.close()


def reserve(
    work: Work,
    *,
    user_id: str | None = "usr_anna",
    name_key: str = "anna",
    ip: str | None = "192.0.2.1",
    device: str | None = None,
) -> Reservation | Refusal:
    with work.begin() as unit:
        return throttle.reserve(unit, user_id=user_id, name_key=name_key, ip=ip, device=device)


def refusal(outcome: Reservation | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def counted(work: Work) -> set[str]:
    with work.read() as unit:
        return set(unit.orm.scalars(select(Throttle.key)))


def test_so_many_attempts_go_on_and_the_next_is_refused(work: Work) -> None:
    assert all(isinstance(reserve(work), Reservation) for _ in range(3))
    refused = refusal(reserve(work))
    assert (refused.scope, refused.attempts, refused.limit) == ("account", 4, 3)


@pytest.mark.attack("BF-02")
def test_attempts_side_by_side_do_not_pass_the_limit(work: Work) -> None:
    outcomes: list[Reservation | Refusal] = []
    together = threading.Barrier(12)

    def attempt(number: int) -> None:
        together.wait()
        outcomes.extend(reserve(work, ip=f"192.0.2.{number}") for _ in range(5))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 60
    assert sum(isinstance(one, Reservation) for one in outcomes) == 3
    # No attempt was lost in counting: each got a number of its own.
    numbers = sorted(one.attempts for one in outcomes if isinstance(one, Refusal))
    assert numbers == list(range(4, 61))


def test_the_wait_is_what_is_left_of_the_window_and_then_counting_begins_anew(
    work: Work, clock: ManualClock
) -> None:
    reserve(work)
    clock.advance(300 * SECOND + 1)
    reserve(work)
    reserve(work)
    assert refusal(reserve(work)).retry_after == 600
    clock.advance(599 * SECOND)
    # A refused attempt does not make the wait longer.
    assert refusal(reserve(work)).retry_after == 1
    clock.advance(SECOND)
    assert isinstance(reserve(work), Reservation)


@pytest.mark.attack("BF-10")
def test_a_name_that_leads_nowhere_is_counted_like_one_that_does(work: Work) -> None:
    known = [reserve(work, ip="192.0.2.1") for _ in range(5)]
    unknown = [reserve(work, user_id=None, name_key="nobody", ip="192.0.2.2") for _ in range(5)]
    assert [type(one) for one in known] == [type(one) for one in unknown]
    assert [one for one in known if isinstance(one, Refusal)] == [
        one for one in unknown if isinstance(one, Refusal)
    ]


def test_what_was_typed_as_a_name_is_not_stored(work: Work) -> None:
    reserve(work, user_id=None, name_key="my secret password \ud800")
    with work.read() as unit:
        keys = unit.orm.scalars(select(Throttle.key)).all()
    assert len(keys) == 3
    assert not any("secret" in key for key in keys)
    assert all(len(key) <= 128 for key in keys)


@pytest.mark.attack("BF-07")
def test_a_known_device_has_attempts_of_its_own(work: Work) -> None:
    for _ in range(6):
        reserve(work, ip="198.51.100.7")
    mine = [reserve(work, device="d" * 64) for _ in range(5)]
    assert sum(isinstance(one, Reservation) for one in mine) == 4
    assert refusal(mine[-1]).scope == "device"
    # And another device of theirs is not held up by this one.
    assert isinstance(reserve(work, device="e" * 64), Reservation)


@pytest.mark.attack("BF-07")
def test_a_flooding_address_does_not_spend_the_accounts_attempts(work: Work) -> None:
    for number in range(10):
        reserve(work, user_id=None, name_key=f"name {number}", ip="198.51.100.7")
    for _ in range(5):
        assert refusal(reserve(work, ip="198.51.100.7")).scope == "address"
    assert all(isinstance(reserve(work), Reservation) for _ in range(3))


@pytest.mark.parametrize(
    "one, other, together",
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("not an address", None, True),
    ],
)
def test_addresses_are_counted_whole_and_ipv6_by_its_64(
    work: Work, one: str, other: str | None, together: bool
) -> None:
    for number in range(10):
        reserve(work, user_id=None, name_key=f"name {number}", ip=one)
    outcome = reserve(work, user_id=None, name_key="another", ip=other)
    assert isinstance(outcome, Refusal) is together


def test_a_success_forgets_the_accounts_attempts_and_takes_its_own_off_the_address(
    work: Work,
) -> None:
    for _ in range(2):
        reserve(work)
    reservation = reserve(work)
    assert isinstance(reservation, Reservation)
    with work.begin() as unit:
        throttle.succeeded(unit, reservation)
    with work.read() as unit:
        left = unit.orm.execute(select(Throttle.key, Throttle.count)).all()
    assert left == [("address:192.0.2.1", 2)]


def test_counters_whose_window_is_over_are_deleted(work: Work, clock: ManualClock) -> None:
    reserve(work, ip="192.0.2.1")
    clock.advance(600 * SECOND)
    reserve(work, user_id="usr_bob", ip="192.0.2.2")
    clock.advance(300 * SECOND)
    with work.begin() as unit:
        assert throttle.forget_past(unit) == 2
    long = {"ever:account:usr_anna", "ever:account:usr_bob"}
    assert counted(work) == long | {"account:usr_bob", "address:192.0.2.2"}
    clock.advance(30 * DAY)
    with work.begin() as unit:
        assert throttle.forget_past(unit) == 4
    assert counted(work) == set()


def test_a_flood_of_refusals_is_noted_at_doubling_counts() -> None:
    noted = [count for count in range(11, 1_001) if Refusal("account", count, 10, 1).is_noteworthy]
    assert noted == [11, 21, 41, 81, 161, 321, 641]

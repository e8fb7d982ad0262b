"""The long count of wrong passwords, and the counts of codes and of bare addresses."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import select

from idp.clock import DAY, SECOND
from idp.storage.unit_of_work import Work
from idp.users import throttle
from idp.users.model import Throttle
from idp.users.throttle import Refusal, Reservation
from tests.harness.backends import postgres_with_tables
from tests.harness.workbench import ManualClock, make_work

WINDOW = 900 * SECOND
LIMITS = {
    "per_account": 3,
    "per_account_device": 3,
    "per_account_ever": 10,
    "per_account_codes": 5,
    "per_address": 20,
    "window": 900,
}
Outcome = Reservation | Refusal


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
    ip: str = "192.0.2.1",
    device: str | None = None,
) -> Outcome:
    with work.begin() as unit:
        return throttle.reserve(unit, user_id=user_id, name_key=name_key, ip=ip, device=device)


def reserve_code(
    work: Work,
    *,
    user_id: str = "usr_anna",
    ip: str | None = "192.0.2.1",
    device: str | None = None,
    kind: Literal["totp", "recovery_code"] = "totp",
) -> Outcome:
    with work.begin() as unit:
        return throttle.reserve_code(unit, user_id=user_id, ip=ip, device=device, kind=kind)


def reserve_address(work: Work, *, ip: str | None = "192.0.2.1") -> Outcome:
    with work.begin() as unit:
        return throttle.reserve_address(unit, ip=ip)


def succeed(work: Work, outcome: Outcome) -> None:
    assert isinstance(outcome, Reservation)
    with work.begin() as unit:
        throttle.succeeded(unit, outcome)


def counts(work: Work) -> dict[str, int]:
    with work.read() as unit:
        return {row.key: row.count for row in unit.orm.scalars(select(Throttle))}


def guess_for_days(
    work: Work, clock: ManualClock, *, user_id: str | None = "usr_anna", name_key: str = "anna"
) -> list[Outcome]:
    """Ten guesses, no more at once than the short count allows."""
    outcomes = []
    for number in range(10):
        outcomes.append(reserve(work, user_id=user_id, name_key=name_key, ip=f"192.0.2.{number}"))
        clock.advance(WINDOW)
    return outcomes


@pytest.mark.attack("BF-01")
def test_a_patient_guesser_is_stopped_for_the_month(work: Work, clock: ManualClock) -> None:
    """BF-01: waiting for each new window does not give guesses without end."""
    began = clock.now()
    assert all(isinstance(one, Reservation) for one in guess_for_days(work, clock))
    refused = reserve(work)
    assert isinstance(refused, Refusal)
    assert (refused.scope, refused.attempts, refused.limit) == ("ever", 11, 10)
    assert refused.retry_after == (began + 30 * DAY - clock.now()) // SECOND
    clock.advance(29 * DAY)
    assert isinstance(reserve(work), Refusal)
    clock.advance(began + 30 * DAY - clock.now())
    assert isinstance(reserve(work), Reservation)


@pytest.mark.attack("BF-01")
def test_the_first_ever_refusal_is_noteworthy(work: Work, clock: ManualClock) -> None:
    """BF-01: the audit log is told when an account's long count is full."""
    guess_for_days(work, clock)
    refused = reserve(work)
    assert isinstance(refused, Refusal)
    assert refused.is_noteworthy


@pytest.mark.attack("BF-10")
def test_a_name_that_leads_nowhere_is_also_stopped_for_the_month(
    work: Work, clock: ManualClock
) -> None:
    """BF-10: the long count does not show who exists either."""
    guess_for_days(work, clock, user_id=None, name_key="nobody")
    guess_for_days(work, clock)
    clock.advance(WINDOW)
    known, unknown = reserve(work), reserve(work, user_id=None, name_key="nobody")
    assert isinstance(known, Refusal)
    assert isinstance(unknown, Refusal)
    assert (known.scope, known.attempts, known.limit) == (
        unknown.scope,
        unknown.attempts,
        unknown.limit,
    )


@pytest.mark.attack("BF-07")
def test_a_known_device_has_a_long_count_of_its_own(work: Work, clock: ManualClock) -> None:
    """BF-07: an attacker who fills the month does not lock the owner out."""
    guess_for_days(work, clock)
    assert isinstance(reserve(work), Refusal)
    for _ in range(5):
        mine = reserve(work, device="d" * 64)
        succeed(work, mine)
    # And their success gives the attacker no new guesses.
    clock.advance(WINDOW)
    assert isinstance(reserve(work), Refusal)


@pytest.mark.attack("BF-01")
def test_a_known_device_does_not_guess_for_ever(work: Work, clock: ManualClock) -> None:
    """BF-01: whoever has the laptop is stopped for the month too; other devices are not."""
    for _ in range(10):
        assert isinstance(reserve(work, device="d" * 64), Reservation)
        clock.advance(WINDOW)
    refused = reserve(work, device="d" * 64)
    assert isinstance(refused, Refusal)
    assert refused.scope == "ever"
    assert isinstance(reserve(work, device="e" * 64), Reservation)
    assert isinstance(reserve(work), Reservation)
    # A new password that was set by mail is unknown to them.
    with work.begin() as unit:
        throttle.forgive(unit, user_id="usr_anna")
    assert isinstance(reserve(work, device="d" * 64), Reservation)


@pytest.mark.attack("BF-07")
def test_what_the_short_count_refuses_does_not_use_up_the_month(work: Work) -> None:
    """BF-07: a flood of a minute cannot lock an account for a month."""
    for number in range(40):
        reserve(work, ip=f"192.0.2.{number}")
    assert counts(work)["ever:account:usr_anna"] == LIMITS["per_account"]


def test_a_success_forgets_the_long_count_too(work: Work, clock: ManualClock) -> None:
    guess_for_days(work, clock)[-1]
    clock.advance(30 * DAY)
    for _ in range(9):
        reserve(work)
        clock.advance(WINDOW)
    succeed(work, reserve(work))
    assert {key for key in counts(work) if "usr_anna" in key} == set()
    assert all(isinstance(one, Reservation) for one in guess_for_days(work, clock))


@pytest.mark.attack("BF-07")
def test_a_reset_password_starts_with_no_wrong_tries(work: Work, clock: ManualClock) -> None:
    """BF-07: an owner whose account was flooded gets in with their new password."""
    guess_for_days(work, clock)
    for _ in range(3):
        reserve_code(work)
    assert isinstance(reserve(work), Refusal)
    with work.begin() as unit:
        throttle.forgive(unit, user_id="usr_anna")
    assert isinstance(reserve(work), Reservation)
    # Codes are another matter: whoever reads the mail gets no new tries of them.
    assert counts(work)["totp:usr_anna"] == 3


# --- Codes and passkeys ---------------------------------------------------------------------


@pytest.mark.attack("BF-01")
def test_codes_have_one_count_per_account_from_wherever_they_come(
    work: Work, clock: ManualClock
) -> None:
    """BF-01: five tries of codes a window, whatever the address."""
    outcomes = [reserve_code(work, ip=f"192.0.2.{number}") for number in range(8)]
    assert [isinstance(one, Reservation) for one in outcomes] == [True] * 5 + [False] * 3
    refused = outcomes[-1]
    assert isinstance(refused, Refusal)
    assert (refused.scope, refused.attempts, refused.limit) == ("account", 8, 5)
    assert refused.retry_after == 900
    assert isinstance(reserve_code(work, user_id="usr_bob"), Reservation)
    clock.advance(WINDOW)
    assert isinstance(reserve_code(work), Reservation)


@pytest.mark.attack("BF-07")
def test_each_kind_of_code_and_each_known_device_is_counted_by_itself(
    work: Work, clock: ManualClock
) -> None:
    """BF-07: wrong digits from elsewhere spend neither recovery codes nor digits on a laptop."""
    for _ in range(2):
        for _ in range(6):
            refused = reserve_code(work)
        assert isinstance(refused, Refusal)
        assert isinstance(reserve_code(work, kind="recovery_code"), Reservation)
        assert isinstance(reserve_code(work, device="d" * 64), Reservation)
        clock.advance(WINDOW)
    refused = reserve_code(work)
    assert isinstance(refused, Refusal)
    assert refused.scope == "ever"
    right = reserve_code(work, kind="recovery_code")
    succeed(work, reserve_code(work, device="d" * 64))
    assert isinstance(reserve_code(work), Refusal)
    # A recovery code does what neither digits elsewhere nor a mailbox can.
    succeed(work, right)
    clock.advance(WINDOW)
    assert isinstance(reserve_code(work), Reservation)


@pytest.mark.attack("BF-02")
def test_codes_side_by_side_do_not_pass_the_limit(work: Work) -> None:
    """BF-02: forty at once are five."""
    outcomes: list[Outcome] = []
    together = threading.Barrier(8)

    def attempt(number: int) -> None:
        together.wait()
        outcomes.extend(reserve_code(work, ip=f"192.0.2.{number}") for _ in range(5))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 40
    assert sum(isinstance(one, Reservation) for one in outcomes) == 5
    numbers = sorted(one.attempts for one in outcomes if isinstance(one, Refusal))
    assert numbers == list(range(6, 41))


@pytest.mark.attack("BF-07")
def test_wrong_passwords_do_not_spend_the_codes_nor_codes_the_passwords(work: Work) -> None:
    """BF-07: a stranger who floods the password leaves the owner's codes alone."""
    for number in range(10):
        reserve(work, ip=f"192.0.2.{number}")
    assert isinstance(reserve_code(work), Reservation)
    for number in range(10):
        reserve_code(work, user_id="usr_bob", ip=f"192.0.2.{number}")
    assert isinstance(reserve(work, user_id="usr_bob", name_key="bob"), Reservation)


@pytest.mark.attack("BF-07")
def test_a_flooding_address_does_not_spend_the_codes(work: Work) -> None:
    """BF-07: what the address refuses is not counted for the account."""
    for _ in range(20):
        reserve_address(work, ip="198.51.100.7")
    for _ in range(10):
        refused = reserve_code(work, ip="198.51.100.7")
        assert isinstance(refused, Refusal)
        assert refused.scope == "address"
    assert isinstance(reserve_code(work), Reservation)
    assert counts(work)["totp:usr_anna"] == 1


def test_a_right_code_forgets_the_wrong_ones_and_takes_its_own_off_the_address(work: Work) -> None:
    for _ in range(2):
        reserve_code(work)
    succeed(work, reserve_code(work))
    assert counts(work) == {"address:192.0.2.1": 2}


def test_of_a_passkey_only_the_address_is_counted(work: Work) -> None:
    outcomes = [reserve_address(work) for _ in range(21)]
    assert [isinstance(one, Reservation) for one in outcomes] == [True] * 20 + [False]
    assert counts(work) == {"address:192.0.2.1": 21}
    succeed(work, outcomes[0])
    assert counts(work) == {"address:192.0.2.1": 20}


@pytest.mark.attack("BF-08")
def test_counts_are_there_after_a_restart(work: Work, clock: ManualClock) -> None:
    """BF-08: nothing of them is kept in a process or a cache that is flushed."""
    guess_for_days(work, clock)
    for number in range(5):
        reserve_code(work, ip=f"192.0.2.{number}")
    again = make_work(
        work.database.url.render_as_string(hide_password=False), clock, throttle=LIMITS
    )
    try:
        assert isinstance(reserve(again), Refusal)
        assert isinstance(reserve_code(again), Refusal)
    finally:
        again.database.close()

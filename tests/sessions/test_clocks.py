"""Clocks that are wrong: set back, smeared, or not the same on two nodes (FT-09).

Every deadline is a moment that was written down, and every node compares it with its own clock. So a
node whose clock is wrong ends a session too early or too late by just as much as its clock is, and
what one of them has ended is over for all, whatever their clocks say afterwards.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.clock import DAY, HOUR, MINUTE, SECOND, Duration
from idp.events.actor import SYSTEM
from idp.sessions import expiry, lifecycle, review
from idp.sessions.device import Visit
from idp.sessions.model import Session
from idp.sessions.prove import PASSWORD as BY_PASSWORD
from idp.users import rules
from tests.harness.provider import ADMIN, Idp, settings_for
from tests.harness.workbench import NOON, ManualClock

OFFICE = {"timezone": "Europe/London", "from": "07:00", "to": "09:00", "grace": 0}


def row(idp: Idp, session_id: str) -> Session:
    with idp.work.read() as unit:
        return unit.orm.get_one(Session, session_id)


def is_alive(idp: Idp, secret: str) -> bool:
    with idp.work.begin() as unit:
        return lifecycle.resume(unit, secret) is not None


def run_worker(idp: Idp) -> None:
    with idp.work.begin() as unit:
        review.go_on(unit)
    with idp.work.begin() as unit:
        expiry.end_expired(unit)


def set_rule(idp: Idp, kind: str, value: dict[str, Any]) -> None:
    with idp.work.begin() as unit:
        rules.set_rule(unit, kind, {}, value, ADMIN)


@pytest.mark.parametrize("back", [SECOND, HOUR, 30 * DAY])
@pytest.mark.parametrize("why", ["idle_timeout", "absolute_timeout", "hours", "temporary"])
def test_a_clock_that_is_set_back_revives_nothing(idp: Idp, why: str, back: Duration) -> None:
    if why == "hours":
        set_rule(idp, "hours", OFFICE)
    if why == "temporary":
        set_rule(idp, "timeouts", {"temporary": 3_000})
    if why == "absolute_timeout":
        set_rule(idp, "timeouts", {"absolute": 3_000, "idle": 3_000})
    app, started = idp.register(), idp.session(idp.person())
    tokens = idp.grant(app, started)
    idp.clock.advance(HOUR)
    run_worker(idp)
    assert row(idp, started.session.id).end_reason == why
    idp.clock.advance(-back)
    assert not is_alive(idp, started.secret)
    assert not idp.is_active(app, tokens["access_token"])
    assert idp.refresh(app, tokens["refresh_token"])[1]["error"] == "invalid_grant"
    with idp.work.begin() as unit:
        assert not lifecycle.extend(unit, unit.orm.get_one(Session, started.session.id), SYSTEM)
    set_rule(idp, "timeouts", {"absolute": 10 * 86_400, "idle": 86_400})
    run_worker(idp)
    assert row(idp, started.session.id).end_reason == why


def test_whoever_finds_a_session_over_ends_it_for_good(idp: Idp) -> None:
    """Also before the worker has been here, and although the clock goes back right afterwards."""
    started = idp.session(idp.person())
    idp.clock.advance(HOUR)
    assert not is_alive(idp, started.secret)
    idp.clock.advance(-HOUR)
    assert not is_alive(idp, started.secret)


def test_while_a_clock_that_was_set_back_catches_up_nobody_is_signed_out(idp: Idp) -> None:
    started = idp.session(idp.person())
    idp.clock.advance(-HOUR)
    for _ in range(12):
        idp.clock.advance(10 * MINUTE)
        assert is_alive(idp, started.secret)
        with idp.work.begin() as unit:
            lifecycle.touch(unit, unit.orm.get_one(Session, started.session.id))
    assert row(idp, started.session.id).idle_at == NOON + 2 * HOUR


def test_a_second_that_comes_twice_neither_closes_early_nor_opens_again(idp: Idp) -> None:
    """A leap second, as a clock without smearing shows it."""
    set_rule(idp, "hours", OFFICE)
    started = idp.session(idp.person())
    for moment in (-SECOND, -SECOND // 2, -SECOND, -SECOND // 2, -1):
        idp.clock.instant = NOON + HOUR + moment
        with idp.work.begin() as unit:
            lifecycle.touch(unit, unit.orm.get_one(Session, started.session.id))
        assert is_alive(idp, started.secret)
    idp.clock.instant = NOON + HOUR
    assert not is_alive(idp, started.secret)
    idp.clock.advance(-SECOND)
    assert not is_alive(idp, started.secret)
    assert row(idp, started.session.id).end_reason == "hours"


def test_a_smeared_day_is_a_day(idp: Idp) -> None:
    """Clocks that run slower by one in 86,400 for a day: whole microseconds, nothing drifts."""
    started = idp.session(idp.person())
    before = row(idp, started.session.id).expires_at
    for _ in range(48):
        idp.clock.advance(30 * MINUTE - 30 * MINUTE // 86_400)
        with idp.work.begin() as unit:
            lifecycle.touch(unit, unit.orm.get_one(Session, started.session.id))
    assert is_alive(idp, started.secret)
    assert row(idp, started.session.id).expires_at == before
    idp.clock.advance(SECOND)
    assert not is_alive(idp, started.secret)


@pytest.fixture
def other(idp: Idp) -> Iterator[Idp]:
    """A second node on the same database, with a clock of its own."""
    made = Idp(settings_for(str(idp.settings.database_url)), ManualClock())
    yield made
    made.close()


@pytest.mark.parametrize("skew", [-5 * MINUTE, -30 * SECOND, 30 * SECOND, 5 * MINUTE])
def test_two_nodes_differ_by_as_much_as_their_clocks_and_agree_on_what_is_over(
    idp: Idp, other: Idp, skew: Duration, say: Callable[[str], None]
) -> None:
    started = idp.session(idp.person())

    def at(moment: Duration) -> None:
        idp.clock.instant, other.clock.instant = NOON + moment, NOON + moment + skew

    at(30 * MINUTE)
    for node in (idp, other):
        assert is_alive(node, started.secret)
        with node.work.begin() as unit:
            lifecycle.touch(unit, unit.orm.get_one(Session, started.session.id))
    # Activity on the node that is behind takes nothing from what the other has written.
    assert row(idp, started.session.id).idle_at == NOON + 90 * MINUTE + max(skew, 0)
    over = 90 * MINUTE + max(skew, 0)
    first, later = (other, idp) if skew > 0 else (idp, other)
    at(over - max(skew, 0) - 1)
    assert is_alive(idp, started.secret)
    assert is_alive(other, started.secret)
    at(over - max(skew, 0))
    assert not is_alive(first, started.secret)
    assert not is_alive(later, started.secret)
    say(f"FT-09, nodes {abs(skew) // SECOND} s apart: n=1 deadline, revived 0")


@pytest.mark.parametrize("skew", [-60 * SECOND, -5 * SECOND, 5 * SECOND, 60 * SECOND])
def test_what_one_node_gave_is_good_on_one_whose_clock_is_a_minute_off(
    idp: Idp, other: Idp, skew: Duration, say: Callable[[str], None]
) -> None:
    """Behind a proxy the next request of an app comes to the other node, a moment later."""
    other.clock.instant = NOON + skew
    app, rounds = idp.register(), 3
    tokens = idp.grant(app, idp.session(idp.person()))
    for number in range(rounds):
        giving, taking = (idp, other) if number % 2 else (other, idp)
        assert taking.is_active(app, tokens["access_token"])
        assert taking.userinfo(tokens["access_token"])[0] == 200
        status, tokens = giving.refresh(app, tokens["refresh_token"])
        assert status == 200, tokens
    # An end is an end, by whichever clock.
    session_id = str(idp.events("session.created")[-1]["session_id"])
    other.end(session_id)
    for node in (idp, other):
        assert not node.is_active(app, tokens["access_token"])
        assert node.refresh(app, tokens["refresh_token"])[0] == 400
    say(f"FT-09, nodes {abs(skew) // SECOND} s apart: n={rounds} hand-overs, refused 0, revived 0")


steps = st.lists(
    st.tuples(
        st.sampled_from(["touch", "extend", "prove", "tighten", "loosen", "close", "work", "use"]),
        st.integers(-2 * HOUR, 3 * HOUR),
    ),
    max_size=12,
)


@given(steps)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_end_never_moves_later_and_what_has_ended_never_lives_again(
    idp: Idp, steps: list[tuple[str, int]]
) -> None:
    """Whatever happens, in whatever order, with clocks that go forth and back."""
    idp.clock.instant = NOON
    idp.execute("DELETE FROM rules")
    started = idp.session(idp.person(f"u{idp.count('users')}"))
    known = row(idp, started.session.id)
    secret, ended = started.secret, False
    for what, moved in steps:
        idp.clock.advance(moved)
        with idp.work.begin() as unit:
            session = unit.orm.get_one(Session, started.session.id)
            if what == "touch":
                lifecycle.touch(unit, session)
            elif what == "extend":
                lifecycle.extend(unit, session, SYSTEM)
            elif what == "prove" and lifecycle.resume(unit, secret) is not None:
                secret = lifecycle.reauthenticate(unit, session, [BY_PASSWORD], Visit())
        if what == "tighten":
            set_rule(idp, "timeouts", {"absolute": 7_200, "idle": 600})
        elif what == "loosen":
            set_rule(idp, "timeouts", {"absolute": 20 * 86_400, "idle": 86_400})
        elif what == "close":
            set_rule(idp, "hours", OFFICE)
        elif what == "work":
            run_worker(idp)
        lives = is_alive(idp, secret) if what == "use" else None
        now = row(idp, started.session.id)
        assert now.expires_at <= known.expires_at
        assert not (ended and lives)
        assert known.ended_at is None or now.ended_at == known.ended_at
        ended, known = ended or now.ended_at is not None, now

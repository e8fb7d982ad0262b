"""Every step of a pairing from every state, by its session and by another one, in time and too late.

The pages ask before they take a step; here it is the statement that takes it which decides, because
between asking and taking somebody else may have been quicker.
"""

from collections.abc import Callable

import pytest

from idp.clock import MINUTE
from idp.sessions import handoff, pairing, pairing_details, pairing_stage, user_code
from idp.sessions.device import Visit
from idp.sessions.model import Pairing, Session
from idp.storage.unit_of_work import UnitOfWork
from idp.storage.vault import Vault
from tests.harness.provider import Idp

STATES = ("pending", "claimed", "approved", "denied", "reported", "consumed")
Step = Callable[[UnitOfWork, Pairing, Session], object]

# From which states a step is taken, and to which it leads.
STEPS: dict[str, tuple[Step, set[str], str]] = {
    "approve": (
        lambda unit, asked, session: pairing.approve(unit, asked, session, proved_since=0),
        {"claimed"},
        "approved",
    ),
    "deny": (
        lambda unit, asked, session: pairing.deny(unit, asked, session, reason="denied"),
        {"pending", "claimed", "approved"},
        "denied",
    ),
    "report": (pairing.report, {"claimed", "approved", "denied"}, "reported"),
    "withdraw": (
        lambda unit, asked, session: pairing.withdraw(unit, asked),
        {"pending", "claimed", "approved"},
        "denied",
    ),
    "refuse": (
        lambda unit, asked, session: pairing.refuse(unit, asked.id, reason="assurance"),
        {"approved"},
        "denied",
    ),
    "consume": (
        lambda unit, asked, session: pairing.consume(unit, asked, new_session_id="ses_new"),
        {"approved"},
        "consumed",
    ),
}
# Steps that are its session's own.
BY_ITS_SESSION = ("approve", "deny", "report")


def made(unit: UnitOfWork, session_id: str, *, kind: str, state: str) -> Pairing:
    """A pairing of a session in a state, whatever led there."""
    asked = unit.orm.get_one(Pairing, handoff.offer(unit, unit.orm.get_one(Session, session_id)))
    asked.kind, asked.state = kind, state
    unit.flush()
    return asked


def sessions(idp: Idp) -> tuple[str, str]:
    alice, mallory = idp.person("alice"), idp.person("mallory")
    return idp.session(alice).session.id, idp.session(mallory).session.id


@pytest.mark.attack("XD-02")
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_taken_from_where_it_begins_and_in_time(idp: Idp, step: str) -> None:
    take, begins, leads_to = STEPS[step]
    own, _ = sessions(idp)
    for state in STATES:
        for late in (0, MINUTE):
            with idp.work.begin() as unit:
                asked = made(unit, own, kind="sign_in", state=state)
                asked.expires_at = unit.now + MINUTE - late
                unit.flush()
                take(unit, asked, unit.orm.get_one(Session, own))
                unit.orm.refresh(asked)
                is_time = state in begins and not late
                assert asked.state == (leads_to if is_time else state), (state, late)


@pytest.mark.attack("XD-01")
@pytest.mark.parametrize("step", BY_ITS_SESSION)
def test_nobody_takes_the_step_of_another_session(idp: Idp, step: str) -> None:
    take, begins, _ = STEPS[step]
    own, other = sessions(idp)
    for state in begins:
        with idp.work.begin() as unit:
            asked = made(unit, own, kind="sign_in", state=state)
            take(unit, asked, unit.orm.get_one(Session, other))
            unit.orm.refresh(asked)
            assert asked.state == state


@pytest.mark.attack("XD-07")
def test_a_code_that_a_browser_shows_is_claimed_once_and_in_time(idp: Idp) -> None:
    own, other = sessions(idp)
    for state in STATES:
        for late in (0, MINUTE):
            with idp.work.begin() as unit:
                asked = made(unit, own, kind="sign_in", state=state)
                asked.session_id = None if state == "pending" else own
                asked.expires_at = unit.now + MINUTE - late
                unit.flush()
                claimed = pairing.claim(unit, asked, unit.orm.get_one(Session, other))
                assert claimed is (state == "pending" and not late), (state, late)


@pytest.mark.attack("XD-07")
def test_a_code_that_a_session_shows_is_taken_once_and_in_time(idp: Idp) -> None:
    own, _ = sessions(idp)
    visit = Visit(ip="192.0.2.1")
    for state in STATES:
        for late in (0, MINUTE):
            with idp.work.begin() as unit:
                asked = made(unit, own, kind="move", state=state)
                asked.browser_hash = None if state == "pending" else "somebody else"
                asked.expires_at = unit.now + MINUTE - late
                unit.flush()
                taken = handoff.take(unit, asked, browser_hash="b", visit=visit, current=None)
                assert taken is (state == "pending" and not late), (state, late)


@pytest.mark.attack("XD-07")
def test_a_code_that_was_replaced_meanwhile_is_not_taken(idp: Idp) -> None:
    """Between reading a code and taking it a new one was shown: the old one is worth nothing."""
    own, _ = sessions(idp)
    with idp.work.begin() as unit:
        asked = made(unit, own, kind="move", state="pending")
    with idp.work.begin() as unit:
        assert handoff.renew(unit, unit.orm.get_one(Pairing, asked.id))
    with idp.work.begin() as unit:
        visit = Visit(ip="192.0.2.1")
        stale = unit.orm.merge(asked, load=False)
        assert not handoff.take(unit, stale, browser_hash="b", visit=visit, current=None)


@pytest.mark.attack("XD-07")
def test_only_a_code_that_waits_is_replaced(idp: Idp) -> None:
    own, _ = sessions(idp)
    for state in STATES:
        with idp.work.begin() as unit:
            asked = made(unit, own, kind="move", state=state)
            before = asked.code_hash
            assert handoff.renew(unit, asked) is (state == "pending")
            unit.orm.refresh(asked)
            assert (asked.code_hash != before) is (state == "pending")
    with idp.work.begin() as unit:
        asked = made(unit, own, kind="move", state="pending")
    idp.clock.advance(pairing_stage.WAITING)
    with idp.work.begin() as unit:
        assert not handoff.renew(unit, unit.orm.get_one(Pairing, asked.id))


@pytest.mark.attack("XD-05")
def test_what_is_stored_of_a_typed_code_cannot_be_tried_out(idp: Idp) -> None:
    """34 bits are tried out in a minute by whoever has a copy of the database and no key."""
    own, _ = sessions(idp)
    with idp.work.begin() as unit:
        asked = made(unit, own, kind="move", state="pending")
        code = pairing_details.of(unit, asked).user_code
        assert user_code.digest(code, unit.vault) == asked.user_code_hash
        assert user_code.digest(code, Vault("another key " * 8)) != asked.user_code_hash

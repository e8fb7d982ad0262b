"""How sessions stand: many in one statement, on every database."""

from idp.clock import HOUR, MINUTE, SECOND
from idp.sessions.state import State, session_of, states_of
from tests.harness.provider import Idp
from tests.harness.workbench import NOON


def states(idp: Idp, *session_ids: str) -> dict[str, State]:
    with idp.work.read() as unit:
        return states_of(unit, session_ids)


def test_each_session_is_told_with_the_list_of_its_own_person(either_idp: Idp) -> None:
    idp = either_idp
    alice, bob = idp.person("alice"), idp.person("bob")
    first, his = idp.session(alice).session.id, idp.session(bob).session.id
    idp.clock.advance(MINUTE)
    second = idp.session(alice).session.id
    idp.end(second, "limit")
    found = states(idp, first, second, his, "ses_of_nobody")
    assert found.keys() == {first, second, his}
    assert found[first] == State(
        session_id=first,
        user_id=alice.id,
        idle_at=NOON + HOUR,
        expires_at=NOON + 24 * HOUR,
        expiry_reason=None,
        ended_at=None,
        end_reason=None,
        running=1,
        newest_at=NOON,
    )
    assert (found[second].ended_at, found[second].end_reason) == (NOON + MINUTE, "limit")
    assert found[his].running == 1
    assert states(idp) == {}


def test_the_list_has_another_name_whenever_it_is_another(either_idp: Idp) -> None:
    idp = either_idp
    alice = idp.person()
    one = idp.session(alice).session.id
    names, newest = [states(idp, one)[one].list_id], one
    for step in ("begin", "exchange", "end"):
        idp.clock.advance(SECOND)
        if step != "begin":
            idp.end(newest)
        if step != "end":
            newest = idp.session(alice).session.id
        names.append(states(idp, one)[one].list_id)
    assert len(set(names)) == 3
    assert names[3] == names[0], "as it was at first"


def test_a_person_whose_last_session_ended_has_an_empty_list(either_idp: Idp) -> None:
    idp = either_idp
    only = idp.session(idp.person()).session.id
    idp.end(only)
    assert states(idp, only)[only].list_id == "0.0"


def test_a_secret_names_its_session_also_when_that_is_over(either_idp: Idp) -> None:
    idp = either_idp
    started = idp.session(idp.person())
    with idp.work.read() as unit:
        assert session_of(unit, started.secret) == started.session.id
        assert session_of(unit, "unknown") is None
    idp.end(started.session.id)
    with idp.work.read() as unit:
        assert session_of(unit, started.secret) == started.session.id

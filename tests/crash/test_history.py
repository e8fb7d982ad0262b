"""The checker itself: it sees each kind of contradiction, and none in what may be true."""

from collections.abc import Callable

from tests.crash.ledger import limits_held
from tests.harness.history import History, Op, contradictions

GRACE = 10.0


def _history(*build: Callable[[History], None]) -> History:
    history = History()
    history.hangs_on("session:s", "person:p", since=0.0)
    history.hangs_on("grant:g", "session:s", since=0.0)
    history.hangs_on("token:t", "grant:g", since=0.0)
    for one in build:
        one(history)
    return history


def _op(
    history: History, kind: str, at: float, until: float, outcome: str = "ok", **said: object
) -> Op:
    facts = said.pop("facts", {})
    may_end = said.pop("may_end", ())
    op = history.begin(kind, may_end=may_end, **facts)  # type: ignore[arg-type]
    op.answered(outcome, **said)  # type: ignore[arg-type]
    op.invoked, op.returned = at, until
    return op


def _wrong(history: History) -> list[str]:
    return [line.split(":")[0] for line in contradictions(history, grace=GRACE)]


def _revoked(history: History) -> None:
    _op(history, "revoke", 1, 2, dead=["grant:g"], may_end=["grant:g"])


def test_a_token_that_is_active_after_its_grant_was_revoked_is_seen() -> None:
    history = _history(_revoked)
    _op(history, "introspect", 3, 4, alive=["token:t"])
    assert _wrong(history) == ["I1"]


def test_a_token_that_is_active_while_its_grant_is_being_revoked_may_be() -> None:
    history = _history(_revoked)
    _op(history, "introspect", 1.5, 4, alive=["token:t"])
    assert _wrong(history) == []


def test_a_token_that_was_seen_dead_and_lives_again_is_seen() -> None:
    history = _history()
    _op(history, "end", 0.5, 9, "unknown", may_end=["session:s"])
    _op(history, "introspect", 1, 2, found_dead=["token:t"])
    _op(history, "introspect", 3, 4, alive=["token:t"])
    assert _wrong(history) == ["I1"]


def test_a_session_that_comes_back_after_its_person_ended_all_is_seen() -> None:
    history = _history()
    _op(history, "end everywhere", 1, 2, dead=["session:s"], may_end=["person:p"])
    _op(history, "page", 3, 4, alive=["session:s"])
    assert _wrong(history) == ["I1"]


def test_a_session_that_is_lost_without_anybody_asking_is_seen() -> None:
    history = _history()
    _op(history, "page", 3, 4, found_dead=["session:s"])
    assert _wrong(history) == ["I11"]


def test_an_end_that_was_answered_before_the_session_began_excuses_nothing() -> None:
    history = _history()
    history.born["session:s"] = 5.0
    _op(history, "end everywhere", 1, 2, may_end=["person:p"])
    _op(history, "page", 6, 7, found_dead=["session:s"])
    assert _wrong(history) == ["I11"]


def test_an_end_of_the_session_excuses_a_grant_that_came_too_late() -> None:
    history = _history()
    history.born["grant:g"] = 5.0
    _op(history, "end", 1, 2, dead=["session:s"], may_end=["session:s"])
    _op(history, "redeem", 6, 7, "refused", found_dead=["grant:g"])
    assert _wrong(history) == []


def test_an_end_whose_answer_was_lost_excuses_what_is_found_later() -> None:
    history = _history()
    op = history.begin("revoke", may_end=["grant:g"])
    op.invoked = 1
    _op(history, "introspect", 3, 4, found_dead=["token:t"])
    assert _wrong(history) == []


def test_two_successors_of_one_refresh_token_are_seen() -> None:
    history = _history()
    for successor in ("b", "c"):
        _op(history, "refresh", 1, 2, facts={"token": "a", "successor": successor})
    assert _wrong(history) == ["I2"]


def test_a_refresh_token_that_is_honoured_after_its_successor_was_used_is_seen() -> None:
    history = _history()
    _op(history, "refresh", 1, 2, facts={"token": "a", "successor": "b"})
    _op(history, "refresh", 3, 4, facts={"token": "b", "successor": "c"})
    _op(history, "refresh", 5, 6, facts={"token": "a", "successor": "b"})
    assert _wrong(history) == ["I2"]


def test_a_refresh_token_that_is_honoured_after_the_grace_is_seen() -> None:
    history = _history()
    _op(history, "refresh", 1, 2, facts={"token": "a", "successor": "b"})
    _op(history, "refresh", 3, 4, facts={"token": "a", "successor": "b"})
    assert _wrong(history) == []
    _op(history, "refresh", 2.1 + GRACE, 14, facts={"token": "a", "successor": "b"})
    assert _wrong(history) == ["I2"]


def test_a_token_that_is_said_to_be_of_somebody_else_is_seen() -> None:
    history = _history()
    _op(history, "introspect", 1, 2, facts={"sub": "alice", "belongs_to": "alice"})
    assert _wrong(history) == []
    _op(history, "introspect", 3, 4, facts={"sub": "bob", "belongs_to": "alice"})
    assert _wrong(history) == ["I8"]


def test_a_code_that_is_redeemed_twice_is_seen() -> None:
    history = _history()
    for at in (1, 3):
        _op(history, "redeem", at, at + 1, facts={"code": "a"})
    assert _wrong(history) == ["I3"]


def test_a_limit_is_judged_in_the_order_of_the_log() -> None:
    """A sign-in that waited for the end of another session, and began before it."""

    def event(type_: str, at: int) -> dict[str, object]:
        return {"user_id": "a", "type": f"session.{type_}", "at": at}

    two = [event("created", 1), event("created", 2)]
    waited = [event("ended", 5), event("created", 4)]
    gave_way = [event("created", 6), event("ended", 6)]
    assert limits_held([*two, *waited, *gave_way], {"a": 2}) == []
    assert limits_held([*two, *waited[::-1]], {"a": 2}) == ["I7: a had 3 sessions at 4, of 2"]
    assert limits_held([*two, event("created", 3), event("ended", 4)], {"a": 2}) != []
    assert limits_held([*two, *waited[::-1]], {"b": 2}) == []
    between = [gave_way[0], event("ended", 7), gave_way[1]]
    assert limits_held([*two, *between], {"a": 2}) == []
    assert limits_held([*two, *between, event("created", 8), event("created", 9)], {"a": 2}) != []

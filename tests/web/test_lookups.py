"""How many statements requests cost, without and with what the Store keeps; `tests.bench.lookups`."""

from tests.bench import lookups
from tests.harness.workbench import ManualClock

# Without, with. The protocol endpoints keep nothing: what they decide on is read at every request.
STATEMENTS = {
    "/authorize, silent": (3, 3),
    "/token, refresh": (3, 3),
    "/introspect": (1, 1),
    "/userinfo": (1, 1),
    "own sessions, API, 1": (8, 8),
    "own sessions, page, 1": (13, 12),
    "own sessions, page, 20": (13, 12),
    "one session, management API": (6, 6),
    "all sessions, management API, 50": (6, 6),
}


def test_requests_cost_so_many_statements_however_many_sessions_there_are() -> None:
    clock = ManualClock()
    found = {}
    with lookups.provider("embedded", clock) as idp:
        for name, act in lookups.paths(idp, sessions=20, refreshes=0).items():
            act()
            found[name] = tuple(
                lookups.asked(idp, clock, act, empty=empty).statements for empty in ("yes", "no")
            )
    assert found == STATEMENTS

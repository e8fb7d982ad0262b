"""What is asked of the log costs what it finds, however much else is in it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, insert

from idp.admin import incidents
from idp.events import log, queries
from idp.events.catalogue import SessionDisowned, TokenRefreshed
from idp.events.model import NOTABLE, EventRow
from tests.harness.provider import Idp

GRAIN = 10
FEW, MANY = 100, 20_000


def steps_of(idp: Idp, do: Callable[[], object]) -> int:
    """How many steps SQLite takes for it, once everything was read before."""
    count = 0

    def one_more() -> None:
        nonlocal count
        count += GRAIN

    def connected(connection: Any, _: object) -> None:
        connection.set_progress_handler(one_more, GRAIN)

    idp.work.database.close()
    event.listen(idp.work.database.reading, "connect", connected)
    do()
    before = count
    do()
    event.remove(idp.work.database.reading, "connect", connected)
    idp.work.database.close()
    return count - before


def refreshed(idp: Idp, user_id: str, count: int) -> None:
    """So many ordinary events of somebody."""
    made = TokenRefreshed(
        user_id=user_id, client_id="cli_x", authorization_id="azn_x", generation=1
    )
    row = log.values(made, idp.clock.now() - 1)
    with idp.work.begin() as unit:
        unit.connection.execute(
            insert(EventRow), [row | {"event_id": f"evt_{user_id}{n}"} for n in range(count)]
        )


def newest(idp: Idp, user_id: str) -> list[str]:
    with idp.work.read() as unit:
        found = queries.newest_of(unit, "session.disowned", user_id=user_id, limit=10)
        theirs = queries.newest_of(
            unit, "session.disowned", user_id=user_id, session_id="ses_1", limit=1
        )
        never = queries.newest_of(unit, "user.secured", user_id=user_id)
        assert [row.session_id for row in theirs] == ["ses_1"]
        assert never == []
        return [row.session_id or "" for row in found]


def test_the_latest_of_a_kind_is_found_without_a_walk_through_the_log(either_idp: Idp) -> None:
    idp = either_idp
    taken = {}
    for count in (FEW, MANY):
        user_id = f"usr_{count}"
        with idp.work.begin() as unit:
            for number in range(3):
                unit.record(SessionDisowned(user_id=user_id, session_id=f"ses_{number}"))
        refreshed(idp, user_id, count)
        assert newest(idp, user_id) == ["ses_2", "ses_1", "ses_0"]
        if idp.work.database.is_sqlite:
            taken[count] = steps_of(idp, lambda who=user_id: newest(idp, who))  # type: ignore[misc]
    if taken:
        assert taken[MANY] <= taken[FEW] + 200, taken


def test_what_reports_list_is_what_their_index_holds() -> None:
    listed = {type_ for types in incidents.OF_REPORT.values() for type_ in types}
    assert listed == set(NOTABLE)


def test_a_report_reads_what_it_lists_alone(idp: Idp) -> None:
    def report() -> None:
        with idp.work.read() as unit:
            incidents.listed(unit, "incidents", since=0, until=idp.clock.now())

    refreshed(idp, "usr_1", FEW)
    few = steps_of(idp, report)
    refreshed(idp, "usr_2", MANY)
    assert steps_of(idp, report) <= few + 200


def test_of_what_has_no_index_nothing_is_asked(idp: Idp) -> None:
    with idp.work.read() as unit, pytest.raises(ValueError, match=r"no index of session\.ended"):
        queries.newest_of(unit, "session.ended", user_id="usr_1")

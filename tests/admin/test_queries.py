"""Stored queries: searches and reports that are kept under a name."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import text

from idp.admin import repeats, stored_queries
from idp.admin.model import QueryKind
from idp.errors import Refused
from idp.policy import management
from idp.storage.unit_of_work import UnitOfWork
from tests.admin.conftest import Caller, good, problem, program
from tests.harness.provider import ADMIN, Idp
from tests.harness.server_process import until


def save(
    caller: Caller, name: str, kind: str = "sessions", query: str = "", **more: Any
) -> Response:
    return caller("POST", "/queries", json={"name": name, "kind": kind, "query": query, **more})


def of(made: Response) -> tuple[str, dict[str, str]]:
    """The address of a query, and the header by which it is changed."""
    return f"/queries/{good(made)['id']}", {"if-match": made.headers["etag"]}


def test_a_query_is_kept_as_it_was_typed_and_leads_to_its_page(either_idp: Idp) -> None:
    caller = program(either_idp, "queries:read", "queries:write", "sessions:read", "events:read")
    for kind, query, kept, page in (
        ("sessions", "", "", "/admin/sessions"),
        ("sessions", "device:phone  country:FR", "device:phone country:FR",
         "/admin/sessions?q=device%3Aphone+country%3AFR"),
        ("events", "by:root type:session.*", "by:root type:session.*",
         "/admin/events?q=by%3Aroot+type%3Asession.%2A"),
        ("usage", "days:7", "days:7", "/admin/reports/usage?q=days%3A7"),
        ("compliance", "to:2026-11-30 from:2026-11-01", "to:2026-11-30 from:2026-11-01",
         "/admin/reports/compliance?q=to%3A2026-11-30+from%3A2026-11-01"),
    ):  # fmt: skip
        made = good(save(caller, f"{kind} {query}", kind, query))
        assert (made["query"], made["page"]) == (kept, page)
        assert caller.get(f"/queries/{made['id']}") == made
    names = [one["name"] for one in caller.get("/queries")["items"]]
    assert len(names) == 5
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("sessions", "colour:red"), ("sessions", "type:session.*"), ("events", "device:phone"),
        ("sessions", "x" * 1_001), ("usage", "days:0"), ("usage", "days:401"), ("usage", "days:x"),
        ("usage", "days:7 from:2026-11-01"), ("usage", "from:2026-11-30 to:2026-11-01"),
        ("usage", "country:FR"), ("usage", "days>7"), ("usage", "days:7 days:8"), ("secrets", ""),
        ("usage", "from:"),
    ],
)  # fmt: skip
def test_what_its_grammar_does_not_know_is_not_kept(robot: Caller, kind: str, query: str) -> None:
    assert problem(save(robot, "wrong", kind, query))[0] == 400
    assert robot.get("/queries")["items"] == []


def test_it_is_renamed_changed_and_removed_by_who_saw_it(idp: Idp, robot: Caller) -> None:
    path, seen = of(save(robot, "Phones", query="device:phone"))
    assert problem(robot("PATCH", path, json={"name": "x"})) == (428, "precondition_required")
    changed = robot("PATCH", path, json={"name": "Phones in France"}, headers=seen)
    assert good(changed)["query"] == "device:phone"
    assert problem(robot("PATCH", path, json={"name": "x"}, headers=seen)) == (
        412, "precondition_failed",
    )  # fmt: skip
    seen = {"if-match": changed.headers["etag"]}
    for wrong in ({"query": "colour:red"}, {"name": ""}, {"name": "x" * 81}, {"kind": "events"}):
        assert problem(robot("PATCH", path, json=wrong, headers=seen))[0] == 400
    changed = robot("PATCH", path, json={"query": "device:phone country:FR"}, headers=seen)
    seen = {"if-match": changed.headers["etag"]}
    assert problem(robot("DELETE", path, headers=seen))[0] == 400
    assert good(robot("DELETE", path, params={"reason": "not needed"}, headers=seen))
    assert problem(robot("GET", path)) == (404, "query_not_found")
    told = {
        kind: [json.loads(one["data"]) for one in idp.events(f"query.{kind}")]
        for kind in ("saved", "changed", "removed")
    }
    assert told["saved"][0]["after"] == {
        "name": "Phones", "kind": "sessions", "query": "device:phone",
    }  # fmt: skip
    assert [one["after"]["name"] for one in told["changed"]] == ["Phones in France"] * 2
    assert told["removed"][0]["because"] == "not needed"


def test_a_name_is_given_once(robot: Caller) -> None:
    other, seen = of(save(robot, "Others"))
    good(save(robot, "Phones"))
    assert problem(save(robot, " Phones ")) == (409, "name_taken")
    assert problem(robot("PATCH", other, json={"name": "Phones"}, headers=seen)) == (
        409, "name_taken",
    )  # fmt: skip
    assert problem(save(robot, "   "))[0] == 400
    assert problem(save(robot, "a\u202eb"))[0] == 400


@pytest.mark.attack("AD-07")
def test_so_many_are_kept_and_no_more(
    idp: Idp, robot: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_queries, "MOST", 2)
    for number in range(2):
        good(save(robot, f"number {number}"))
    assert problem(save(robot, "one more")) == (409, "too_many_queries")


@pytest.mark.attack("AD-01")
def test_nobody_sees_a_question_that_they_may_not_ask(
    robot: Caller, call_as: Callable[..., Caller]
) -> None:
    """It may name people: what `user:anna` asks is for those who may read sessions."""
    path, seen = of(save(robot, "Anna", query="user:anna"))
    good(save(robot, "Month", "usage", "days:30"))
    half = call_as("half", "queries:read", "queries:write", "events:read")
    assert [one["name"] for one in half.get("/queries")["items"]] == ["Month"]
    assert problem(half("GET", path)) == (404, "query_not_found")
    assert problem(half("PATCH", path, json={"name": "x"}, headers=seen)) == (
        404, "query_not_found",
    )  # fmt: skip
    refused = half("DELETE", path, params={"reason": "x"}, headers=seen)
    assert problem(refused) == (404, "query_not_found")
    assert problem(save(half, "Phones", query="device:phone")) == (403, "above_you")
    # Nor learns, by a name that is refused, that there is one.
    good(save(half, "Anna", "events"))


def test_the_database_gives_a_name_once_for_each_kind(either_idp: Idp) -> None:
    def saved(kind: QueryKind) -> None:
        with either_idp.work.begin() as unit:
            stored_queries.save(unit, name="Phones", kind=kind, text="", actor=ADMIN)

    saved("sessions")
    with pytest.raises(Refused, match="under this name"):
        saved("sessions")
    saved("events")


@pytest.mark.parametrize(
    "either_idp", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_of_many_who_save_at_one_moment_no_more_are_kept_than_there_may_be(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL: SQLite has one writer at a time."""
    monkeypatch.setattr(stored_queries, "MOST", 1)
    refused = []

    def save_another() -> None:
        try:
            with either_idp.work.begin() as unit:
                stored_queries.save(unit, name="Two", kind="usage", text="", actor=ADMIN)
        except Refused as refusal:
            refused.append(refusal.code)

    other = threading.Thread(target=save_another, daemon=True)
    with either_idp.work.begin() as unit:
        stored_queries.save(unit, name="One", kind="usage", text="", actor=ADMIN)
        other.start()
        # It would count while this one is not committed yet; it waits for it.
        until(lambda: somebody_waits(either_idp), "the other waits for this one", within=8)
    other.join(timeout=30)
    assert refused == ["too_many_queries"]
    assert either_idp.count("stored_queries") == 1


def somebody_waits(idp: Idp) -> bool:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with idp.work.read() as unit:
        return bool(unit.connection.scalar(waiting))


def test_a_saved_query_sent_again_is_kept_once(idp: Idp) -> None:
    caller = program(idp, *management.SCOPES)
    sent = {
        "json": {"name": "Phones", "kind": "sessions"},
        "headers": {"idempotency-key": "k" * 20},
    }
    first = good(caller("POST", "/queries", **sent))
    again = caller("POST", "/queries", **sent)
    assert good(again) == first
    # It may be changed from what was answered, too.
    assert again.headers["etag"] == caller("GET", f"/queries/{first['id']}").headers["etag"]
    assert len(caller.get("/queries")["items"]) == 1


def test_a_saved_query_sent_twice_at_one_moment_is_kept_once(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one looks for an answer before there is any, and then finds its name taken."""
    caller = program(either_idp, *management.SCOPES)
    sent = {"json": {"name": "Phones", "kind": "sessions"}, "headers": {"idempotency-key": "k"}}
    first = good(caller("POST", "/queries", **sent))
    kept, looks = repeats.kept, []

    def too_early(unit: UnitOfWork, repeat: repeats.Repeatable) -> tuple[int, bytes] | None:
        looks.append(repeat)
        return None if len(looks) == 1 else kept(unit, repeat)

    monkeypatch.setattr(repeats, "kept", too_early)
    assert good(caller("POST", "/queries", **sent)) == first
    assert len(looks) == 2
    assert problem(save(caller, "Phones")) == (409, "name_taken")

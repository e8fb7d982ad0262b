"""The audit log over the API: which events are meant, found in bounded steps, exported whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.admin import event_filter, event_search
from idp.admin.event_filter import EventFilter
from idp.admin.grammar import Range, terms
from idp.clock import DAY, MINUTE, SECOND, to_rfc3339
from idp.errors import Refused
from idp.events import log
from idp.events.catalogue import LoginFailed
from idp.policy import network
from idp.users import rules
from tests.admin.conftest import Caller, problem, program
from tests.harness.provider import ADMIN, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

FAILED = "login.failed"


def parse(text: str) -> EventFilter:
    return event_filter.of_values({}, text)


def fail(idp: Idp, ip: str, count: int = 1) -> None:
    with idp.work.begin() as unit:
        for _ in range(count):
            unit.record(LoginFailed(reason="wrong_password", ip=ip))


def everything(caller: Caller, **asked: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = caller.get("/events", **asked, **token)
        found += page["items"]
        if page["next_page_token"] is None:
            return found
        token = {"page_token": page["next_page_token"]}


def exported(caller: Caller, **asked: Any) -> list[dict[str, Any]]:
    answer = caller("GET", "/events/export", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["cache-control"] == "no-store"
    return [json.loads(line) for line in answer.content.splitlines()]


def test_every_term_has_its_meaning() -> None:
    assert parse(
        "type:session.* user:anna session:ses_1 client:cli_x actor:admin by:root ip:10.0.0.0/8 "
        "reason:admin at>=2026-11-01 at<2026-11-02"
    ) == EventFilter(
        type="session.*",
        user="anna",
        session="ses_1",
        client="cli_x",
        actor="admin",
        by="root",
        ip=network.parsed("10.0.0.0/8"),
        reason="admin",
        at=Range(1_793_491_200 * SECOND, 1_793_491_200 * SECOND + DAY),
    )


@pytest.mark.parametrize(
    "text",
    [
        "type:nothing", "type:*.ended", "actor:god", "ip:10.0.0.1/8", "user<anna", "colour:red",
        "type:a.b type:a.b", "at:2026-11-01", "at>yesterday", "at>1 at>2", "session", "reason:a;b",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_sentence(robot: Caller, text: str) -> None:
    assert problem(robot("GET", "/events", params={"q": text})) == (400, "invalid_filter")
    assert problem(robot("GET", "/events/export", params={"q": text})) == (400, "invalid_filter")


@given(
    st.builds(
        EventFilter,
        type=st.none() | st.sampled_from(["session.*", "login.failed"]),
        user=st.none() | st.from_regex(r"[a-z0-9@.]{1,40}", fullmatch=True),
        actor=st.none() | st.sampled_from(event_filter.ACTORS),
        ip=st.none() | st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]).map(network.parsed),
        at=st.builds(Range, since=st.none() | st.integers(0, 4_000_000_000 * SECOND)),
    )
)
def test_a_filter_reads_as_it_is_written(meant: EventFilter) -> None:
    assert event_filter.of_terms(terms(meant.text)) == meant


def test_events_are_found_by_each_term(either_idp: Idp, clock: ManualClock) -> None:
    idp = either_idp
    caller = program(idp, "events:read")
    anna = idp.person("anna")
    session = idp.session(anna, ip="10.1.2.3").session.id
    idp.end(session)
    clock.advance(20 * MINUTE)
    middle = clock.now()
    fail(idp, "10.9.9.9")
    fail(idp, "192.0.2.7")
    clock.advance(20 * MINUTE)
    fail(idp, "2001:db8::7")

    def kinds(**asked: str) -> list[str]:
        return [one["type"] for one in everything(caller, **asked)]

    assert kinds(type="session.*") == ["session.ended", "session.created"]
    assert kinds(user="anna", type="user.*") == ["user.created"]
    assert kinds(user="anna@example.com", session=session) == kinds(session=session)
    assert kinds(user="nobody") == []
    assert kinds(ip="10.0.0.0/8", type=FAILED) == [FAILED]
    assert kinds(ip="2001:db8::/32") == [FAILED]
    assert kinds(reason="wrong_password") == [FAILED] * 3
    assert kinds(q=f"at>={to_rfc3339(middle)} type:{FAILED}") == [FAILED] * 3
    assert kinds(at_after=to_rfc3339(middle + SECOND)) == [FAILED]
    assert kinds(at_before=to_rfc3339(middle), type=FAILED) == []
    assert kinds(by=anna.id) == kinds(by="anna")
    client = idp.register()
    assert kinds(client=client.id) == ["client.created"]


def test_a_moment_is_found_although_the_order_of_numbers_is_a_little_off(
    idp: Idp, clock: ManualClock
) -> None:
    base = clock.now()
    for second in (0, 200, 40, 300, 260, 900, 1_000, 990, 2_000):
        clock.advance(base + second * SECOND - clock.now())
        fail(idp, "192.0.2.1")
    with idp.work.read() as unit:
        for since, until in ((0, 250), (41, 991), (901, 3_000), (2_001, 9_000)):
            at = Range(base + since * SECOND, base + until * SECOND)
            found = event_search.page(unit, EventFilter(type=FAILED, at=at), before=None, limit=50)
            seen = {(row.at - base) // SECOND for row in found.rows}
            assert seen == {
                one
                for one in (0, 200, 40, 300, 260, 900, 1_000, 990, 2_000)
                if since <= one < until
            }


@pytest.mark.attack("AD-07")
def test_pages_and_exports_look_at_so_many_rows_at_a_time_and_miss_none(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = either_idp
    caller = program(idp, "events:read")
    for turn in range(6):
        fail(idp, f"10.0.0.{turn}", count=3)
        fail(idp, "192.0.2.1", count=2)
    log.seal(idp.work)
    whole = everything(caller)
    monkeypatch.setattr(event_search, "WALKED", 4)
    monkeypatch.setattr(event_search, "STEP", 3)
    assert everything(caller, page_size=2) == whole
    matching = [one for one in whole if one["ip"] and one["ip"].startswith("10.")]
    assert everything(caller, ip="10.0.0.0/8", page_size=5) == matching
    assert exported(caller, ip="10.0.0.0/8") == matching[::-1]
    assert exported(caller) == whole[::-1]
    middle = whole[10]["position"]
    assert exported(caller, after=middle) == whole[:10][::-1]


def test_an_export_of_one_person_or_of_some_days_is_the_same_as_all_without_the_rest(
    either_idp: Idp, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = either_idp
    monkeypatch.setattr(event_search, "WALKED", 4)
    monkeypatch.setattr(event_search, "STEP", 3)
    anna, bob = idp.person("anna"), idp.person("bob")
    days = []
    for _ in range(4):
        clock.advance(DAY)
        days.append(clock.now())
        for person in (anna, bob):
            idp.end(idp.session(person).session.id)
        log.seal(idp.work)
    session = idp.session(anna).session.id
    caller = program(idp, "events:read")
    whole = exported(caller)

    def those(**like: str) -> list[dict[str, Any]]:
        return [one for one in whole if all(one[name] == said for name, said in like.items())]

    hers = those(user_id=anna.id)
    assert len(hers) > 2 * event_search.WALKED
    assert exported(caller, user="anna") == hers
    assert exported(caller, user="anna", after=hers[4]["position"]) == hers[5:]
    assert exported(caller, session=session) == those(session_id=session)
    assert exported(caller, user="anna", type="session.ended") == those(
        user_id=anna.id, type="session.ended"
    )
    first, last = to_rfc3339(days[1]), to_rfc3339(days[3])
    between = [one for one in whole if first <= one["at"] < last]
    assert exported(caller, at_after=first, at_before=last) == between
    assert len(between) == 8


def test_a_line_of_an_export_is_what_the_api_shows(idp: Idp, robot: Caller) -> None:
    with idp.work.begin() as unit:
        unit.because = "the auditors’ wish: \u2028 “quoted”"
        rules.set_rule(unit, "limits", {}, {"maximum": 9, "at_limit": "ask"}, ADMIN)
    log.seal(idp.work)
    assert exported(robot) == everything(robot)[::-1]


@pytest.mark.postgres
def test_whoever_exports_in_parts_is_given_what_committed_late(templates: Templates) -> None:
    """Numbers are given when rows are written; of two transactions the first may commit last."""
    with templates.postgres() as url:
        idp = Idp(settings_for(url), ManualClock())
        caller = program(idp, "events:read")
        with idp.work.begin() as slow:
            slow.record(LoginFailed(reason="late", ip=None))
            fail(idp, "192.0.2.1")
            before = exported(caller, type=FAILED)
        assert [one["reason"] for one in before] == ["wrong_password"]
        after = exported(caller, type=FAILED, after=before[-1]["position"])
        assert [one["reason"] for one in after] == ["late"]
        written = [row["id"] for row in idp.events(FAILED)]
        assert [row["reason"] for row in idp.events(FAILED)] == ["late", "wrong_password"]
        assert written == sorted(written)
        # Whoever wants again what was written at that moment is sent both.
        with idp.work.read() as unit:
            behind = event_search.position_before(unit, idp.clock.now())
            newest = event_search.position_before(unit, idp.clock.now() + DAY)
        assert behind < before[0]["position"] < after[0]["position"] <= newest
        idp.close()


def test_an_event_is_shown_by_its_position(idp: Idp, robot: Caller) -> None:
    fail(idp, "192.0.2.1")
    assert robot.get("/events", type=FAILED)["items"][0]["position"] is None
    log.seal(idp.work)
    newest = robot.get("/events")["items"][0]
    assert robot.get(f"/events/{newest['position']}") == newest
    for position in ("0", "999999999", "9" * 40, "evt_1", "-1", "１"):
        assert problem(robot("GET", f"/events/{position}")) == (404, "event_not_found")


def test_what_an_event_is_called_outside_is_its_place_in_the_chain(idp: Idp, robot: Caller) -> None:
    """Rows are numbered with gaps, and some were put in late: neither is anybody's business."""
    fail(idp, "192.0.2.1", count=3)
    idp.execute("UPDATE events SET id = 2 * id + 700")
    log.seal(idp.work)
    count = idp.count("events")
    for found in (robot.get("/events", type=FAILED)["items"][::-1], exported(robot, type=FAILED)):
        assert [one["position"] for one in found] == [count - 2, count - 1, count]
        assert not {"number", "row"} & set(found[0])


def test_a_name_that_nobody_has_is_refused_before_a_line_is_sent(robot: Caller) -> None:
    answer = robot("GET", "/events/export", params={"user": "nobody"})
    assert problem(answer) == (400, "unknown_user")


def test_the_old_search_by_position_is_no_part_of_an_export(robot: Caller) -> None:
    answer = robot("GET", "/events/export", params={"page_size": "5"})
    assert problem(answer) == (400, "invalid_parameter")


def test_refusals_name_the_word(robot: Caller) -> None:
    with pytest.raises(Refused) as refused:
        parse("colour:red")
    assert "There is no colour" in refused.value.sentence

"""Ending many sessions: dry runs, orders, progress, crashes, and the trace of each (AD-08)."""

from typing import Any

import pytest

from idp.admin import bulk
from idp.clock import MINUTE
from idp.events import log
from idp.sessions import lifecycle
from idp.sessions.model import Session
from idp.storage.unit_of_work import UnitOfWork
from tests.admin.conftest import Caller, good, problem, program
from tests.admin.test_users import reasons
from tests.harness import crowd
from tests.harness.provider import Idp
from tests.web.conftest import LAPTOP, PHONE, settle

PATH = "/sessions/revoke"


def revoke(caller: Caller, meant: dict[str, Any], *, key: str = "k", **more: Any) -> dict[str, Any]:
    body = {"filter": meant, "reason": "incident 7", **more}
    return good(caller("POST", PATH, json=body, headers={"idempotency-key": key}))


def running(idp: Idp) -> set[str]:
    with idp.work.read() as unit:
        rows = unit.connection.exec_driver_sql("SELECT id FROM sessions WHERE ended_at IS NULL")
        return set(rows.scalars())


def carried_out(idp: Idp) -> None:
    """What the worker does until there is nothing left."""
    while bulk.carry_on(idp.work):
        pass


def test_a_dry_run_counts_and_changes_nothing(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "sessions:revoke", "sessions:read")
    anna = idp.person("anna")
    phones = {idp.session(anna, agent=PHONE).session.id for _ in range(7)}
    idp.session(anna, agent=LAPTOP)
    before = (running(idp), idp.count("events"), idp.count("kept_answers"))
    said = caller.post(PATH, filter={"device": "phone"}, reason="x", dry_run=True)
    assert (said["matched"], said["operation"]) == (7, None)
    assert len(said["sample"]) == 5
    assert {one["id"] for one in said["sample"]} <= phones
    assert (running(idp), idp.count("events"), idp.count("kept_answers")) == before


@pytest.mark.attack("AD-04")
def test_whoever_may_end_sessions_is_not_shown_those_they_may_not_read(idp: Idp) -> None:
    """A dry run for every address in turn would be the list, with everything in it."""
    started = idp.session(idp.person("anna"), ip="198.51.100.7")
    caller = program(idp, "sessions:revoke")
    for dry_run in (True, False):
        asked = {"filter": {"ip": "198.51.100.0/24"}, "reason": "x", "dry_run": dry_run}
        said = good(caller("POST", PATH, json=asked, headers={"idempotency-key": "1"}))
        assert (said["matched"], said["sample"]) == (1, [])
    assert started.session.id not in running(idp)


@pytest.mark.attack("AD-08")
def test_every_session_that_ends_leaves_who_and_why(either_idp: Idp) -> None:
    idp = either_idp
    caller = program(idp, "sessions:revoke", "sessions:read")
    anna, bob = idp.person("anna"), idp.person("bob")
    notes = idp.register(name="Notes", backchannel_logout_uri="http://127.0.0.1:1/logout")
    payroll = idp.register(name="Payroll")
    phones = [idp.session(anna, agent=PHONE) for _ in range(2)] + [idp.session(bob, agent=PHONE)]
    kept = idp.session(anna, agent=LAPTOP).session.id
    tokens = [idp.grant(notes, one) for one in phones[:2]] + [idp.grant(payroll, phones[0])]
    done = revoke(caller, {"device": "phone"})
    assert done["matched"] == 3
    operation = done["operation"]
    assert (operation["state"], operation["ended"]) == ("done", 3)
    assert running(idp) == {kept}
    assert not any(idp.is_active(notes, one["access_token"]) for one in tokens[:2])
    who = operation["asked_by"]
    assert who.startswith("cli_")
    assert reasons(idp, "session.ended") == [("admin", who, "incident 7")] * 3
    assert {one["session_id"] for one in idp.events("session.ended")} == {
        one.session.id for one in phones
    }
    (asked,) = idp.events("bulk_sign_out.asked")
    assert '"filter":"device:phone","matched":3' in asked["data"]
    assert len(idp.events("bulk_sign_out.done")) == 1
    shown = caller.get(f"/operations/{operation['id']}")
    same = {"not_told": 0, "told": 0}
    assert shown["apps"] == [
        {"client_id": notes.id, "name": "Notes", "sessions": 2, "telling": 2, **same},
        {"client_id": payroll.id, "name": "Payroll", "sessions": 1, "telling": 0, **same},
    ]
    settle(idp, accepted=(notes.id,))
    shown = caller.get(f"/operations/{operation['id']}")
    assert (shown["apps"][0]["told"], shown["apps"][0]["telling"]) == (2, 0)
    assert [one["id"] for one in caller.get("/operations")["items"]] == [operation["id"]]
    assert problem(caller("GET", "/operations/blk_0")) == (404, "operation_not_found")


@pytest.mark.parametrize(
    ("meant", "code"),
    [
        ({}, "empty_filter"),
        ({"q": " "}, "empty_filter"),
        ({"q": "state:active"}, "empty_filter"),
        ({"q": "state:ended"}, "invalid_filter"),
        ({"q": "reason:admin"}, "invalid_filter"),
        ({"q": "colour:red"}, "invalid_filter"),
        ({"user": "nobody"}, "unknown_user"),
        ({"all": False}, "invalid_field"),
        ({"all": True, "device": "phone"}, "invalid_filter"),
        ({"everything": True}, "invalid_field"),
        ({"state": "active"}, "invalid_field"),
    ],
    ids=str,
)
def test_an_empty_filter_never_means_everything(
    idp: Idp, robot: Caller, meant: dict[str, Any], code: str
) -> None:
    idp.session(idp.person("anna"))
    for dry_run in (True, False):
        body = {"filter": meant, "reason": "x", "dry_run": dry_run}
        response = robot("POST", PATH, json=body, headers={"idempotency-key": "k"})
        assert problem(response) == (400, code)
    for body in ({"reason": "x"}, {"filter": {"all": True}}, {"filter": None, "reason": "x"}):
        assert problem(robot("POST", PATH, json=body)) == (400, "invalid_field")
    without = robot("POST", PATH, json={"filter": {"all": True}, "reason": "x"})
    assert problem(without) == (400, "idempotency_key_required")
    assert len(running(idp)) == 1
    assert idp.count("bulk_sign_outs") == 0


def test_a_request_that_is_sent_again_ends_nobody_twice(idp: Idp, robot: Caller) -> None:
    anna = idp.person("anna")
    idp.session(anna)
    first = revoke(robot, {"all": True}, key="once")
    again_in = idp.session(anna).session.id
    assert revoke(robot, {"all": True}, key="once") == first
    assert running(idp) == {again_in}
    assert idp.count("bulk_sign_outs") == 1
    revoke(robot, {"all": True}, key="twice")
    carried_out(idp)
    assert running(idp) == set()


def test_everybody_includes_what_outlived_its_session(idp: Idp, robot: Caller) -> None:
    app = idp.register()
    started = idp.session(idp.person("anna"))
    offline = idp.grant(app, started, scope="openid offline_access")
    idp.end(started.session.id, "absolute_timeout")
    idp.session(idp.person("bob"))
    revoke(robot, {"all": True})
    carried_out(idp)
    assert running(idp) == set()
    assert idp.refresh(app, offline["refresh_token"])[0] == 400
    assert robot.get("/operations")["items"][0]["state"] == "done"


@pytest.mark.attack("AD-04")
def test_whoever_has_more_rights_is_spared(either_idp: Idp) -> None:
    idp = either_idp
    helper = program(idp, "sessions:revoke", "users:read")
    boss = idp.session(idp.person("boss", roles=["administrator"])).session.id
    peer = idp.session(idp.person("peer", roles=["support"])).session.id
    idp.session(idp.person("anna"))
    said = helper.post(PATH, filter={"all": True}, reason="x", dry_run=True)
    assert said["matched"] == 1
    assert revoke(helper, {"all": True})["matched"] == 1
    carried_out(idp)
    # The support person reads sessions, which this program may not.
    assert running(idp) == {boss, peer}


@pytest.mark.attack("AD-04")
def test_what_outlived_the_sessions_of_people_above_is_left_to_them(idp: Idp) -> None:
    helper = program(idp, "sessions:revoke", "users:read")
    app = idp.register()
    tokens = {}
    for name, roles in (("boss", ["administrator"]), ("anna", [])):
        started = idp.session(idp.person(name, roles=roles))
        tokens[name] = idp.grant(app, started, scope="openid offline_access")["refresh_token"]
        idp.end(started.session.id, "absolute_timeout")
    revoke(helper, {"all": True})
    carried_out(idp)
    assert idp.refresh(app, tokens["anna"])[0] == 400
    assert idp.refresh(app, tokens["boss"])[0] == 200


# --- large ones -----------------------------------------------------------------------------------


@pytest.fixture
def many(idp: Idp) -> crowd.Crowd:
    return crowd.gather(idp.work, 900)


def test_what_is_large_is_done_by_the_worker_in_batches(
    idp: Idp, robot: Caller, many: crowd.Crowd
) -> None:
    done = revoke(robot, {"ip": "0.0.0.0/0"})
    assert done["matched"] == len(many.running)
    assert (done["operation"]["state"], done["operation"]["ended"]) == ("running", bulk.BATCH)
    idp.clock.advance(1)
    newcomer = idp.session(idp.person("anna"), ip="10.0.0.1").session.id
    before = None
    while running(idp) != {newcomer}:
        left = len(running(idp))
        assert left != before
        before = left
        assert bulk.carry_on(idp.work)
    carried_out(idp)
    shown = robot.get(f"/operations/{done['operation']['id']}")
    assert (shown["state"], shown["ended"]) == ("done", len(many.running))
    assert shown["finished_at"] is not None
    assert len(idp.events("session.ended")) == len(many.running)
    assert {why for _, _, why in reasons(idp, "session.ended")} == {"incident 7"}
    assert sum(app["sessions"] for app in shown["apps"]) == len(many.running)
    log.seal(idp.work)
    with idp.work.read() as unit:
        assert log.verify(unit)[1] is None


class Died(Exception):
    """As a process does that is killed: nothing after it happens."""


def test_a_death_in_the_middle_loses_nothing_and_doubles_nothing(
    idp: Idp, robot: Caller, many: crowd.Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each commit in turn: whoever goes on goes on from there."""
    done = revoke(robot, {"ip": "0.0.0.0/0"})
    ended = bulk.BATCH
    real = lifecycle.end

    def dying(unit: UnitOfWork, *args: Any, **named: Any) -> list[str]:
        real(unit, *args, **named)
        raise Died

    while ended < len(many.running):
        monkeypatch.setattr(bulk.lifecycle, "end", dying)
        with pytest.raises(Died):
            bulk.carry_on(idp.work)
        assert len(running(idp)) == len(many.running) - ended
        monkeypatch.setattr(bulk.lifecycle, "end", real)
        monkeypatch.setattr(bulk, "BATCHES_AT_ONCE", 1)
        assert bulk.carry_on(idp.work)
        ended = min(ended + bulk.BATCH, len(many.running))
        assert len(running(idp)) == len(many.running) - ended
    carried_out(idp)
    assert robot.get(f"/operations/{done['operation']['id']}")["ended"] == len(many.running)
    assert len(idp.events("session.ended")) == len(many.running)
    assert len({one["session_id"] for one in idp.events("session.ended")}) == len(many.running)


def test_orders_are_forgotten_with_the_history(idp: Idp, robot: Caller) -> None:
    started = idp.session(idp.person("anna"))
    revoke(robot, {"user": "anna"})
    carried_out(idp)
    idp.clock.advance(91 * 24 * 60 * MINUTE)
    with idp.work.begin() as unit:
        assert bulk.forget_past(unit) == 1
    assert (idp.count("bulk_sign_outs"), idp.count("bulk_sessions")) == (0, 0)
    with idp.work.read() as unit:
        assert unit.orm.get(Session, started.session.id) is not None

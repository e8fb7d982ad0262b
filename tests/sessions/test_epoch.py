"""Everybody signed out at one moment: effective before any session was marked, on both databases."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa

from idp.admin import bulk, session_search
from idp.admin.session_filter import SessionFilter
from idp.clock import HOUR, MINUTE
from idp.events.actor import Actor
from idp.policy import management
from idp.sessions import beginning, epoch, expiry, life, lifecycle, prove, queries
from idp.sessions.model import Session
from idp.sessions.state import states_of
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules
from idp.users.model import User
from tests.harness import crowd
from tests.harness.provider import ADMIN, Flow, Idp, Templates, settings_for
from tests.harness.workbench import ManualClock
from tests.sessions.test_remember import HERE, enter, stays

ROOT = Actor("admin", "usr_root")


def everybody(unit: UnitOfWork) -> None:
    """The moment alone: nothing has been marked yet."""
    epoch.begin(unit, ROOT)


def order(idp: Idp, rights: frozenset[str] = management.ALL) -> bulk.BulkSignOut:
    with idp.work.begin() as unit:
        return bulk.begin(unit, SessionFilter(), reason="incident", actor=ROOT, rights=rights)


def marked(idp: Idp) -> None:
    while bulk.carry_on(idp.work):
        pass


def unmarked(idp: Idp) -> int:
    with idp.work.read() as unit:
        wanted = sa.text("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
        return int(unit.connection.scalar(wanted) or 0)


def test_nothing_of_a_session_is_good_from_that_moment_on(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    user = idp.person()
    started = idp.session(user)
    tokens = idp.grant(app, started, scope="openid offline_access sessions")
    code = idp.authorize(idp.signed_in_browser(started), Flow(app).parameters())
    browser = idp.signed_in_browser(started)
    assert browser.get("/account/sessions").status_code == 200
    with idp.work.begin() as unit:
        everybody(unit)
    assert unmarked(idp) == 1
    for kind in ("access_token", "refresh_token"):
        assert not idp.is_active(app, tokens[kind])
    assert idp.userinfo(tokens["access_token"])[0] == 401
    status, body = idp.refresh(app, tokens["refresh_token"])
    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_description"].startswith("The session has ended (admin)")
    spent = idp.token(
        app, grant_type="authorization_code", code=code["code"], redirect_uri=app.redirect_uri,
        code_verifier=Flow(app).verifier,
    )  # fmt: skip
    assert spent[1]["error"] == "invalid_grant"
    own = idp.browser().get(
        "/api/v1/users/sessions", headers={"authorization": f"Bearer {tokens['access_token']}"}
    )
    assert (own.status_code, own.json()["reason"]) == (401, "admin")
    silent = idp.authorize(idp.signed_in_browser(started), Flow(app).parameters(prompt="none"))
    assert silent["error"] == "login_required"
    with idp.work.read() as unit:
        assert queries.running_of(unit, user.id) == []
        assert session_search.page(unit, SessionFilter()).sessions == []
        assert not life.is_alive(unit, started.session.id)
        state = states_of(unit, [started.session.id])[started.session.id]
        assert (state.ended_at, state.end_reason) == (idp.clock.now(), "admin")
    assert unmarked(idp) == 1
    # Whoever comes with it is told why, and it is marked then and there.
    assert browser.get("/account/sessions").status_code == 303
    assert unmarked(idp) == 0


def test_what_outlived_its_session_is_over_as_well(either_idp: Idp, clock: ManualClock) -> None:
    idp = either_idp
    app = idp.register()
    started = idp.session(idp.person())
    tokens = idp.grant(app, started, scope="openid offline_access")
    clock.advance(25 * HOUR)
    with idp.work.begin() as unit:
        assert expiry.end_expired(unit) == 1
    assert idp.is_active(app, tokens["refresh_token"])
    _, cookie = stays(idp, "bob")
    with idp.work.begin() as unit:
        everybody(unit)
    assert not idp.is_active(app, tokens["refresh_token"])
    assert enter(idp, cookie) is None
    # What is begun from then on is as good as ever.
    _, newer = stays(idp, "carol")
    assert enter(idp, newer) is not None


def test_each_is_marked_with_the_end_that_it_had_whoever_marks_it(
    either_idp: Idp, clock: ManualClock
) -> None:
    idp = either_idp
    app = idp.register(backchannel_logout_uri="http://127.0.0.1:1/logout")
    people = [idp.person(name) for name in ("anna", "bob", "carol", "dora")]
    sessions = [idp.session(one) for one in people]
    for one in sessions:
        idp.grant(app, one)
    done = order(idp)
    at = clock.now()
    clock.advance(2 * MINUTE)
    # By its person, by time, by the page that finds it, and by the worker.
    idp.end(sessions[0].session.id, reason="signed_out")
    with idp.work.begin() as unit:
        assert lifecycle.resume(unit, sessions[1].secret) is None
    clock.advance(2 * HOUR)
    with idp.work.begin() as unit:
        expiry.end_expired_of(unit, people[2].id)
    marked(idp)
    with idp.work.read() as unit:
        rows = [unit.orm.get_one(Session, one.session.id) for one in sessions]
        assert {(r.ended_at, r.end_reason, r.ended_by, r.ended_by_id) for r in rows} == {
            (at, "admin", "admin", "usr_root")
        }
    events = idp.events("session.ended")
    assert [(one["actor"], one["actor_id"], one["reason"]) for one in events] == [
        ("admin", "usr_root", "admin")
    ] * 4
    assert idp.count("deliveries") == 4
    with idp.work.read() as unit:
        assert unit.orm.get_one(bulk.BulkSignOut, done.id).finished_at is not None


def test_whoever_signs_in_meanwhile_is_counted_without_what_is_over(
    either_idp: Idp, clock: ManualClock
) -> None:
    idp = either_idp
    user = idp.person()
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 2, "at_limit": "block"}, ADMIN)
    for _ in range(2):
        idp.session(user)
    order(idp)
    clock.advance(1)
    fresh = idp.session(user)
    marked(idp)
    with idp.work.read() as unit:
        assert [one.id for one in queries.running_of(unit, user.id)] == [fresh.session.id]


@pytest.mark.attack("AD-04")
def test_whoever_lacks_a_right_spares_those_who_have_it(idp: Idp) -> None:
    boss = idp.session(idp.person("boss", roles=[management.ADMINISTRATOR]))
    other = idp.session(idp.person("other"))
    done = order(idp, rights=frozenset({"sessions:read", "sessions:revoke"}))
    assert done.epoch is None
    with idp.work.read() as unit:
        assert life.is_alive(unit, boss.session.id)
        assert not life.is_alive(unit, other.session.id)


def test_sign_ins_at_that_very_moment_are_in_one_epoch_or_the_other(either_idp: Idp) -> None:
    """A session that outlives the moment was begun after it, and is not touched by the marking."""
    idp = either_idp
    people = [idp.person(f"person{number}") for number in range(12)]
    everyone = Barrier(len(people) + 1)

    def comes(number: int) -> str:
        everyone.wait()
        return idp.session(people[number]).session.id

    def goes() -> bulk.BulkSignOut:
        everyone.wait()
        return order(idp)

    with ThreadPoolExecutor(len(people) + 1) as pool:
        waiting = [pool.submit(comes, number) for number in range(len(people))]
        done = pool.submit(goes).result()
        begun = [one.result() for one in waiting]
    with idp.work.read() as unit:
        found = {one.id: one.epoch for one in unit.orm.scalars(sa.select(Session))}
        lives = {one for one in begun if life.is_alive(unit, one)}
    assert found.keys() == set(begun)
    assert {one for one, number in found.items() if number == done.epoch} == lives
    marked(idp)
    with idp.work.read() as unit:
        assert {one for one in begun if life.is_alive(unit, one)} == lives
    assert unmarked(idp) == len(lives)


def test_the_moment_waits_for_sign_ins_under_way_so_that_none_stays_unmarked(
    either_idp: Idp,
) -> None:
    idp = either_idp
    user = idp.person()
    with ThreadPoolExecutor(1) as pool:
        with idp.work.begin() as unit:
            fresh = unit.orm.get_one(User, user.id)
            assert isinstance(
                beginning.start(unit, fresh, [prove.PASSWORD], HERE), beginning.Started
            )
            unit.flush()
            asked = pool.submit(order, idp)
            assert wait([asked], timeout=0.5).not_done
        asked.result()
    marked(idp)
    assert unmarked(idp) == 0


def test_a_process_that_dies_right_after_the_answer_leaves_nothing_good(
    tmp_path: Path, templates: Templates, clock: ManualClock
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"))
    first = Idp(settings, clock)
    app = first.register()
    tokens = [first.grant(app, first.session(first.person(name))) for name in ("anna", "bob")]
    crowd.gather(first.work, 300)
    done = order(first)
    bulk.next_step(first.work, done.id)
    assert unmarked(first) > 0
    first.close()
    second = Idp(settings, clock)
    assert not any(second.is_active(app, one["access_token"]) for one in tokens)
    marked(second)
    assert unmarked(second) == 0
    second.close()

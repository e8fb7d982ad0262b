"""What is over is over for everybody who asks, before anybody has marked it; on both databases."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from idp import ids
from idp.admin import session_schemas
from idp.clock import HOUR, MINUTE, SECOND
from idp.errors import Refused
from idp.events.actor import Actor
from idp.events.catalogue import FactorRemoved
from idp.oauth import authorizations
from idp.policy.assurance import Authentication
from idp.sessions import (
    beginning,
    expiry,
    life,
    lifecycle,
    prove,
    remembering,
    sign_in,
    simulation,
)
from idp.sessions.beginning import Started
from idp.sessions.device import Visit
from idp.sessions.model import RememberedBrowser, Session
from idp.sessions.sign_in import Entry
from idp.sessions.state import session_of, states_of
from idp.users import links, rules
from idp.users.model import User
from idp.web import session_over
from tests.harness.provider import ADMIN, BY_PASSWORD, PASSWORD, Idp
from tests.oauth.test_offline_access import OFFLINE
from tests.sessions.test_epoch import everybody, marked, order, unmarked
from tests.sessions.test_remember import HERE, enter, stays
from tests.sessions.test_review import worked


def by_epoch(idp: Idp) -> None:
    with idp.work.begin() as unit:
        everybody(unit)


def by_time(idp: Idp) -> None:
    idp.clock.advance(HOUR)


OVER = pytest.mark.parametrize("over", [by_epoch, by_time], ids=["epoch", "time"])


@OVER
def test_what_is_over_and_not_marked_is_shown_and_counted_nowhere(
    either_idp: Idp, over: Callable[[Idp], None]
) -> None:
    idp = either_idp
    user = idp.person()
    old = idp.session(user)
    over(idp)
    fresh = idp.session(idp.person("bob"))
    assert unmarked(idp) == 2
    with idp.work.read() as unit:
        state = states_of(unit, [old.session.id])[old.session.id]
        assert (state.running, state.newest_at) == (0, 0)
        assert session_of(unit, old.secret) == old.session.id
        proposed = simulation.Proposed("timeouts", {}, {"idle": 60})
        assert simulation.of(unit, proposed).examined == 1
        assert simulation.on_session(unit, proposed, old.session.id) == ()
        row = unit.orm.get_one(Session, old.session.id)
        reason = "admin" if over is by_epoch else "idle_timeout"
        (shown,) = session_schemas.described(unit, [row])
        assert (shown.end_reason, shown.ended_at is None) == (reason, False)
        told = session_over.by_id(unit, old.session.id)
        assert told is not None
        assert (told.reason, told.ended_at) == (reason, idp.clock.now())
        assert session_over.by_id(unit, fresh.session.id) is None


@OVER
def test_nothing_brings_it_back(either_idp: Idp, over: Callable[[Idp], None]) -> None:
    """A request that found it alive goes on in a session that is over by now."""
    idp = either_idp
    old = idp.session(idp.person())
    over(idp)
    with pytest.raises(Refused, match="session_changed"):
        idp.prove(old, BY_PASSWORD)
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, old.session.id)
        assert not lifecycle.extend(unit, session, ADMIN)
        lifecycle.touch(unit, session)
    with idp.work.read() as unit:
        assert not life.is_alive(unit, old.session.id)


def test_what_is_made_after_everybody_was_signed_out_stays(either_idp: Idp) -> None:
    """Marking goes on for minutes, in which people come back."""
    idp = either_idp
    app = idp.register()
    alice, old = stays(idp)
    idp.grant(app, idp.session(alice), scope=OFFLINE)
    order(idp)
    idp.clock.advance(SECOND)
    with idp.work.read() as unit:
        assert remembering.of(unit, alice.id) == []
        assert authorizations.offline_of(unit, alice.id) == []
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, alice.id)
        started = beginning.start(unit, fresh, [prove.PASSWORD], HERE)
        assert isinstance(started, Started)
        kept = remembering.make(unit, fresh, started.session_id, [prove.PASSWORD], HERE)
        assert kept is not None
        link = links.make(
            unit, user_id=fresh.id, purpose="reset_password", lifetime_seconds=900, actor=ADMIN
        )
    came_back = idp.session(alice)
    tokens = idp.grant(app, came_back, scope=OFFLINE)
    # It runs out before the worker comes to its person.
    idp.execute("UPDATE sessions SET idle_at = 1 WHERE id = :id", id=came_back.session.id)
    marked(idp)
    assert unmarked(idp) == 2
    assert idp.is_active(app, tokens["refresh_token"])
    assert enter(idp, old) is None
    assert enter(idp, kept.cookie) is not None
    with idp.work.read() as unit:
        assert links.look(unit, link, "reset_password") is not None
    (told,) = idp.events("user.signed_out_everywhere")
    assert told["user_id"] == alice.id


def test_everybody_s_end_leaves_nobody_out_who_has_more_rights_since(either_idp: Idp) -> None:
    """A version that came meanwhile gave administrators one more, which the order has not."""
    idp = either_idp
    stays(idp)
    idp.execute("""UPDATE users SET permissions = '["users:read"]'""")
    order(idp)
    idp.execute("""UPDATE bulk_sign_outs SET rights = '["sessions:revoke"]'""")
    marked(idp)
    with idp.work.read() as unit:
        kept = unit.orm.scalars(select(RememberedBrowser.revoked_at)).all()
    assert kept
    assert None not in kept
    assert len(idp.events("user.signed_out_everywhere")) == 1


@pytest.mark.attack("LO-01")
@pytest.mark.parametrize("meets", ["its idle deadline", "its last deadline", "one that passed"])
def test_no_access_outlives_a_session_that_was_left_a_while_for_a_new_password(
    either_idp: Idp, meets: str
) -> None:
    idp = either_idp
    app, user = idp.register(), idp.person()
    old = idp.session(user)
    token = idp.grant(app, old, scope=OFFLINE)["refresh_token"]
    before = {"its idle deadline": 55, "its last deadline": 5, "one that passed": 61}[meets]
    if meets == "its last deadline":
        soon = idp.clock.now() + 6 * MINUTE
        idp.execute("UPDATE sessions SET expires_at = :at", at=soon)
    idp.clock.advance(before * MINUTE)
    with idp.work.begin() as unit:
        at = unit.now + 10 * MINUTE
        expiry.end_soon(unit, user.id, keeping=None, at=at, actor=Actor("user", "ses_own"))
    idp.clock.advance(6 * MINUTE)
    assert not idp.is_active(app, token)
    with idp.work.begin() as unit:
        assert expiry.end_expired(unit) == 1
    assert not idp.is_active(app, token)


@pytest.mark.attack("LO-01")
def test_a_rule_that_ends_it_sooner_changes_nothing_about_that(either_idp: Idp) -> None:
    idp = either_idp
    app, user = idp.register(), idp.person()
    token = idp.grant(app, idp.session(user), scope=OFFLINE)["refresh_token"]
    with idp.work.begin() as unit:
        at = unit.now + 10 * MINUTE
        expiry.end_soon(unit, user.id, keeping=None, at=at, actor=Actor("user", "ses_own"))
        rules.set_rule(unit, "timeouts", {}, {"absolute": 300, "idle": 300}, ADMIN)
    assert worked(idp) == 1
    idp.clock.advance(6 * MINUTE)
    with idp.work.begin() as unit:
        expiry.end_expired(unit)
    assert not idp.is_active(app, token)
    assert [one["reason"] for one in idp.events("session.ended")] == ["password_changed"]


def test_a_grant_whose_session_ran_out_is_measured_by_nothing_although_nobody_marked_it(
    either_idp: Idp,
) -> None:
    idp = either_idp
    app, user = idp.register(), idp.person()
    code = Authentication("totp", ("otp",), "aal2", "otp_one")
    started = idp.session(user, proved=[BY_PASSWORD, code])
    idp.grant(app, started, scope=OFFLINE)
    idp.clock.advance(HOUR)
    with idp.work.begin() as unit:
        unit.record(
            FactorRemoved(
                actor="admin", user_id=user.id, kind="totp", name="Phone", credential="otp_one"
            )
        )
    with idp.work.read() as unit:
        assert unit.connection.exec_driver_sql("SELECT acr FROM authorizations").scalar() == "0"


@pytest.mark.attack("BF-01")
def test_a_browser_that_everybody_s_end_turned_out_has_no_tries_of_its_own(either_idp: Idp) -> None:
    """It may be the thief's: marked or not, it is as unknown as any other."""
    idp = either_idp
    user = idp.person()
    with idp.work.begin() as unit:
        fresh = unit.orm.get_one(User, user.id)
        assert isinstance(beginning.start(unit, fresh, [prove.PASSWORD], HERE), Started)

    def comes(visit: Visit, password: str) -> int:
        entry = Entry(visit, None)
        found = sign_in.with_password(
            idp.work, idp.hasher, name="alice", password=password, entry=entry
        )
        return found.status if isinstance(found, sign_in.Rejected) else 200

    for _ in range(idp.settings.throttle.per_account):
        comes(Visit(ip="198.51.100.1", device_hash=ids.digest("elsewhere")), "wrong")
    assert comes(HERE, PASSWORD) == 200
    by_epoch(idp)
    assert comes(HERE, PASSWORD) == 429


@pytest.mark.attack("RT-07")
@pytest.mark.parametrize("its_clock", ["ours", "one behind"])
def test_what_was_proved_before_everybody_was_signed_out_begins_no_session_afterwards(
    either_idp: Idp, its_clock: str
) -> None:
    """Somebody at a limit is asked who makes room, and answers after that moment, whenever it was."""
    idp = either_idp
    with idp.work.begin() as unit:
        rules.set_rule(unit, "limits", {}, {"maximum": 1, "at_limit": "ask"}, ADMIN)
    idp.session(idp.person())
    entry = Entry(HERE, None)
    asked = sign_in.with_password(
        idp.work, idp.hasher, name="alice", password=PASSWORD, entry=entry
    )
    assert isinstance(asked, sign_in.AtLimit)
    idp.clock.advance(SECOND)
    by_epoch(idp)
    if its_clock == "one behind":
        idp.execute("UPDATE session_epochs SET began_at = 1")
    outcome = sign_in.with_choice(
        idp.work, ceremony=asked.ceremony, giving_way=[], entry=entry, trust=None
    )
    assert isinstance(outcome, sign_in.Rejected)
    assert [one["reason"] for one in idp.events("login.failed")] == ["everybody_signed_out"]

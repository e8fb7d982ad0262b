"""Every way a session ends, and all that hangs on it: what dies with it, and what goes on.

Written out here once more, so that whoever changes the table (`endings.ENDINGS`) changes it twice.
"""

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import get_args

import pytest

from idp import ids
from idp.errors import Refused
from idp.events.actor import SYSTEM
from idp.sessions import approval, endings, lifecycle, pairing_details, prove, remembering
from idp.sessions.device import Visit
from idp.sessions.endings import Dependant, EndReason
from idp.sessions.model import Pairing, RememberedBrowser, Session
from idp.sessions.pairing_details import Details
from idp.users.model import User
from tests.harness.provider import Idp, Registered
from tests.oauth.asking import remember_consent

OUTLIVES: dict[str, set[str]] = {
    "idle_timeout": {"let_in", "offline", "browser"},
    "absolute_timeout": {"let_in", "offline", "browser"},
    "temporary": {"browser"},
    "hours": {"browser"},
    "limit": {"browser"},
    "replaced": {"browser"},
    "renewed": {"browser"},
    # Its series is revoked by whoever found the copy.
    "remember_copied": {"browser"},
}


def test_the_table_says_what_outlives_each_end() -> None:
    for reason in get_args(EndReason):
        spared = {one for one in get_args(Dependant) if not endings.takes(reason, one)}
        if reason != "remember_copied":
            assert spared == OUTLIVES.get(reason, set()), reason
    assert all(endings.takes("of_tomorrow", one) for one in get_args(Dependant))


@pytest.mark.attack("RT-10")
def test_what_hangs_on_a_session_ends_with_it_as_the_table_says(idp: Idp) -> None:
    app = idp.register()
    user = idp.person("alice")
    for number, reason in enumerate(get_args(EndReason)):
        found = walk(idp, app, user, reason, number)
        assert found == OUTLIVES.get(reason, set()), reason


def walk(idp: Idp, app: Registered, user: User, reason: EndReason, number: int) -> set[str]:
    """Ends a session on which everything hangs; gives what is still there, and expects the rest."""
    started = idp.session(user)
    online = idp.grant(app, started)
    scope = "openid offline_access"
    remember_consent(idp, started, app, scope)
    offline = idp.grant(app, started, scope=scope)
    let_in = idp.session(user).session.id
    with idp.work.begin() as unit:
        session = unit.orm.get_one(Session, started.session.id)
        visit = Visit(device_hash=ids.digest(f"browser {number}"))
        fresh = unit.orm.get_one(User, user.id)
        assert remembering.make(unit, fresh, session.id, [prove.PASSWORD], visit) is not None
        series = session.remembered_id or ""
        unit.orm.get_one(Session, let_in).parent_id = session.id
        asked = approved(idp, user, session, number)
        unit.orm.add(asked)
        unit.flush()
        assert approval.of(unit, asked).session is session
    with idp.work.begin() as unit:
        lifecycle.end(unit, [started.session.id], reason=reason, actor=SYSTEM)
    # Whatever the reason: no token of a session that is over, and nothing that was approved in it.
    assert not idp.is_active(app, online["access_token"])
    assert idp.refresh(app, online["refresh_token"])[0] == 400
    with idp.work.begin() as unit, pytest.raises(Refused, match="session_ended"):
        approval.of(unit, unit.orm.get_one(Pairing, asked.id))
    with idp.work.read() as unit:
        left = {
            "let_in": unit.orm.get_one(Session, let_in).ended_at is None,
            "browser": unit.orm.get_one(RememberedBrowser, series).revoked_at is None,
        }
    status, answer = idp.refresh(app, offline["refresh_token"])
    left["offline"] = status == 200
    assert left["offline"] or answer["error"] == "invalid_grant"
    idp.end(let_in)
    return {name for name, is_left in left.items() if is_left}


def test_many_that_end_at_once_take_their_descendants_along_without_a_question_each(
    either_idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp = either_idp
    user = idp.person("alice")
    generations = [[idp.session(user).session.id for _ in range(3)] for _ in range(3)]
    bystander = idp.session(user).session.id
    with idp.work.begin() as unit:
        for parents, children in pairwise(generations):
            for parent, child in zip(parents, children, strict=True):
                unit.orm.get_one(Session, child).parent_id = parent
    asked: list[str] = []

    def note(sql: str) -> AbstractContextManager[None]:
        asked.append(sql)
        return nullcontext()

    monkeypatch.setattr(idp.work.database, "observed", note)
    with idp.work.begin() as unit:
        ended = lifecycle.end(unit, generations[0], reason="admin", actor=SYSTEM)
    assert sorted(ended) == sorted(one for parents in generations for one in parents)
    assert not [sql for sql in asked if "parent_id =" in sql]
    with idp.work.read() as unit:
        assert unit.orm.get_one(Session, bystander).ended_at is None


def approved(idp: Idp, user: User, session: Session, number: int) -> Pairing:
    """Another browser that this session let in, and that has not come for it yet."""
    pairing_id, now = ids.new("par"), idp.clock.now()
    return Pairing(
        id=pairing_id,
        kind="sign_in",
        state="approved",
        code_hash=f"code {number}",
        user_code_hash=f"user code {number}",
        details=pairing_details.sealed(idp.work.vault, pairing_id, Details("")),
        session_id=session.id,
        user_id=user.id,
        proved_since=0,
        created_at=now,
        expires_at=now + 60_000_000,
    )

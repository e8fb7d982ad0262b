"""Timelines that are kept in the Store: never an old one, never another's, whatever Redis says."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from idp.clock import SECOND
from idp.storage.redis import PREFIX
from idp.web import timeline
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.redis_server import RedisServer, running
from tests.harness.statements import counted
from tests.harness.workbench import ManualClock


def told(idp: Idp, *session_ids: str) -> dict[str, list[str]]:
    """The types of what happened, as a page is told of it."""
    with idp.work.read() as unit:
        found = timeline.kept(unit, session_ids, idp.app.provider.store)
        assert found == timeline.of_sessions(unit, session_ids), "the log says the same"
    return {one: [happening.type for happening in found[one]] for one in session_ids}


def tails_read(idp: Idp, *session_ids: str) -> int:
    """How many statements read events themselves, and not only which there are."""
    with counted(idp) as said, idp.work.read() as unit:
        timeline.kept(unit, session_ids, idp.app.provider.store)
    return sum("reason" in statement for statement in said)


def test_a_timeline_is_read_once_and_again_when_something_happened(idp: Idp) -> None:
    app = idp.register()
    alice = idp.person()
    one, other = idp.session(alice), idp.session(alice)
    ids = (one.session.id, other.session.id)
    assert told(idp, *ids) == {ids[0]: ["session.created"], ids[1]: ["session.created"]}
    assert tails_read(idp, *ids) == 0
    idp.grant(app, one)
    assert told(idp, *ids)[ids[0]] == ["authorization.issued", "session.created"]
    assert tails_read(idp, *ids) == 0
    assert told(idp, *reversed(ids))[ids[1]] == ["session.created"]


def test_what_was_lost_is_read_again(idp: Idp) -> None:
    started = idp.session(idp.person())
    told(idp, started.session.id)
    idp.app.provider.store.flush()
    assert told(idp, started.session.id) == {started.session.id: ["session.created"]}


def test_an_event_that_becomes_visible_late_is_not_missed(either_idp: Idp) -> None:
    """Of two transactions the one with the lower number may be the later to commit."""
    idp = either_idp
    app = idp.register()
    started = idp.session(idp.person())
    tokens = idp.grant(app, started)
    refreshed = tokens["refresh_token"]
    for _ in range(90):
        refreshed = idp.refresh(app, refreshed)[1]["refresh_token"]
    session_id = started.session.id
    with idp.work.read() as unit:
        newest = unit.connection.scalar(sa.text("SELECT max(id) FROM events"))
    idp.execute("UPDATE events SET session_id = NULL WHERE id = :id", id=newest - 1)
    idp.execute("UPDATE events SET type = 'session.renamed' WHERE id = :id", id=newest - 1)
    assert told(idp, session_id)[session_id] == ["token.refreshed"]
    idp.execute("UPDATE events SET session_id = :s WHERE id = :id", s=session_id, id=newest - 1)
    assert told(idp, session_id)[session_id] == [
        "token.refreshed", "session.renamed", "token.refreshed",
    ]  # fmt: skip


def test_an_app_has_the_name_that_it_has_now(idp: Idp) -> None:
    app = idp.register(name="Notes")
    started = idp.session(idp.person())
    idp.grant(app, started)
    browser = idp.signed_in_browser(started)
    assert "Opened Notes" in browser.get("/account/sessions").text
    idp.execute("UPDATE clients SET name = 'Diary'")
    assert "Opened Diary" in browser.get("/account/sessions").text


def test_sessions_in_which_nothing_happened_and_none_at_all_are_no_error(idp: Idp) -> None:
    started = idp.session(idp.person())
    idp.execute("DELETE FROM events")
    assert told(idp, started.session.id, "ses_none") == {started.session.id: [], "ses_none": []}
    assert told(idp) == {}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


def _swap(raw: redis.Redis, keys: list[bytes]) -> None:
    one, other = (raw.get(key) for key in keys)
    raw.set(keys[0], other)
    raw.set(keys[1], one)


def _rename(raw: redis.Redis, keys: list[bytes]) -> None:
    """Puts what was kept under the name of every version that may come."""
    for key in keys:
        name, _, version = key.rpartition(b":")
        count, first, last = (int(number) for number in version.split(b"."))
        for more in range(1, 4):
            for further in range(1, 8):
                raw.set(name + b":%d.%d.%d" % (count + more, first, last + further), raw.get(key))


LIES: dict[str, Callable[[redis.Redis, list[bytes]], object]] = {
    "swapped": _swap,
    "old": _rename,
    "plain": lambda raw, keys: raw.set(keys[0], b'[{"type":"session.created"}]'),
    "list": lambda raw, keys: (raw.delete(keys[0]), raw.rpush(keys[0], "x")),
    "huge": lambda raw, keys: raw.setrange(keys[0], 8 * 1024 * 1024, b"x"),
    "cut": lambda raw, keys: raw.set(keys[0], raw.get(keys[0])[:40]),
}


@pytest.mark.redis
@pytest.mark.parametrize("lie", LIES)
def test_a_redis_that_lies_changes_no_timeline(
    tmp_path: Path, templates: Templates, clock: ManualClock, server: RedisServer, lie: str
) -> None:
    settings = settings_for(templates.sqlite(tmp_path / "idp.db"), redis_url=server.url)
    idp = Idp(settings, clock)
    app = idp.register()
    alice = idp.person()
    sessions = [idp.session(alice) for _ in range(2)]
    ids = [one.session.id for one in sessions]
    idp.grant(app, sessions[1])
    before = told(idp, *ids)
    with redis.Redis.from_url(server.url) as raw:
        keys = sorted(raw.keys(f"{PREFIX}timeline*"))
        assert len(keys) == 2
        LIES[lie](raw, keys)
    clock.advance(SECOND)
    assert told(idp, *ids) == before
    idp.grant(app, sessions[0])
    clock.advance(SECOND)
    assert told(idp, *ids)[ids[0]] == ["authorization.issued", "session.created"]
    idp.close()

"""GET /admin/stream: what happens, once, from where a page left off, to those who may see it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from idp.admin import bulk
from idp.admin.session_filter import SessionFilter
from idp.console import feed
from idp.errors import Unavailable
from idp.events import log
from idp.events.actor import Actor
from idp.events.catalogue import LoginFailed
from idp.policy import management
from idp.sessions import lifecycle
from idp.users import queries
from idp.users.model import User
from tests.harness.provider import ADMIN, Idp, Started, Templates, settings_for
from tests.harness.streams import Stream, opened
from tests.harness.workbench import ManualClock


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_EVERY", 0.01)


def told(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def administrator(idp: Idp, *rights: str, username: str = "root") -> tuple[User, Started]:
    with idp.work.begin() as unit:
        queries.define_role(unit, f"role-of-{username}", rights or management.SCOPES)
    person = idp.person(username, roles=[f"role-of-{username}"])
    return person, idp.session(person)


def happen(idp: Idp, count: int = 1) -> list[str]:
    """So many failed sign-ins; gives their ids."""
    with idp.work.begin() as unit:
        for _ in range(count):
            unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
    return [row["event_id"] for row in idp.events("login.failed")][-count:]


async def open_stream(idp: Idp, started: Started, **headers: str) -> Stream:
    return await opened(idp, started.secret, path=feed.PATH, headers=headers)


async def watching(idp: Idp, started: Started) -> Stream:
    """A stream of somebody who is told what happens from now on."""
    stream = await open_stream(idp, started)
    # It has looked for the first time once it tells what came after.
    marks = happen(idp)
    while True:
        try:
            first = await asyncio.wait_for(stream.event(), 0.2)
        except TimeoutError:
            marks += happen(idp)
            continue
        assert first is not None
        if first.data.get("id", marks[-1]) == marks[-1]:
            return stream


async def ids(stream: Stream, count: int) -> list[str]:
    found = []
    for _ in range(count):
        event = await stream.event()
        assert event is not None
        found.append(event.data["id"])
    return found


def place_of(idp: Idp, event_id: str) -> str:
    """The position of an event in the chain."""
    log.seal(idp.work)
    (position,) = [row["position"] for row in idp.events() if row["event_id"] == event_id]
    return str(position)


def test_what_happens_is_told_once_and_in_order(idp: Idp) -> None:
    _, started = administrator(idp)

    async def scenario() -> None:
        stream = await watching(idp, started)
        first = happen(idp, 3)
        assert await ids(stream, 3) == first
        second = happen(idp)
        event = await stream.event()
        assert event is not None
        assert [event.data["id"]] == second
        assert event.data["type"] == "login.failed"
        assert event.data["ip"] == "203.0.113.9"
        await stream.hang_up()

    told(scenario)


def test_a_page_that_was_away_is_told_what_it_missed(idp: Idp) -> None:
    _, started = administrator(idp)
    last = happen(idp)[0]
    missed = happen(idp, 4)
    position = place_of(idp, last)

    async def scenario() -> None:
        stream = await open_stream(idp, started, **{"last-event-id": position})
        assert await ids(stream, 4) == missed
        await stream.hang_up()

    told(scenario)


def test_what_was_told_is_not_told_again_when_it_is_sealed(idp: Idp) -> None:
    _, started = administrator(idp)

    async def scenario() -> None:
        stream = await watching(idp, started)
        before = happen(idp, 3)
        assert await ids(stream, 3) == before
        log.seal(idp.work)
        after = happen(idp)
        event = await stream.event()
        assert event is not None
        assert event.data["id"] == after[0]
        # All that is sealed was told by now, and a stream that is cut off here goes on behind it.
        assert event.id == place_of(idp, before[-1])
        await stream.hang_up()
        again = await open_stream(idp, started, **{"last-event-id": event.id})
        assert await ids(again, 1) == after
        await again.hang_up()

    told(scenario)


@pytest.mark.postgres
def test_what_committed_late_is_told(templates: Templates) -> None:
    """A row that was written first and committed last stands before the end of the chain."""
    with templates.postgres() as url:
        idp = Idp(settings_for(url), ManualClock())
        _, started = administrator(idp)

        async def scenario() -> None:
            stream = await watching(idp, started)
            with idp.work.begin() as slow:
                slow.record(LoginFailed(reason="late"))
                early = happen(idp)
                assert await ids(stream, 1) == early
                log.seal(idp.work)
            log.seal(idp.work)
            event = await stream.event()
            assert event is not None
            assert event.data["reason"] == "late"
            await stream.hang_up()

        told(scenario)
        idp.close()


def test_a_number_of_a_row_from_before_an_upgrade_is_taken_for_the_end(idp: Idp) -> None:
    _, started = administrator(idp)
    log.seal(idp.work)

    async def scenario() -> None:
        stream = await open_stream(idp, started, **{"last-event-id": "900000"})
        unsealed = happen(idp)
        assert await ids(stream, 1) == unsealed
        log.seal(idp.work)
        after = happen(idp)
        assert await ids(stream, 1) == after
        await stream.hang_up()

    told(scenario)


@pytest.mark.parametrize("sent", ["x", "-1", "9" * 40, "１２"])
def test_a_last_id_that_is_none_begins_with_now(idp: Idp, sent: str) -> None:
    _, started = administrator(idp)
    before = happen(idp, 5)

    async def scenario() -> None:
        stream = await open_stream(idp, started, **{"last-event-id": sent})
        assert stream.status == 200
        for _ in range(20):
            await asyncio.sleep(feed.LOOK_EVERY)
        assert before[0].encode() not in stream.body
        await stream.hang_up()

    told(scenario)


def test_a_page_that_was_away_for_long_is_told_the_newest_only(idp: Idp) -> None:
    _, started = administrator(idp)
    happen(idp, 2 * feed.BACKLOG)
    newest = happen(idp)[0]
    log.seal(idp.work)

    async def scenario() -> None:
        stream = await open_stream(idp, started, **{"last-event-id": "1"})
        found: list[str] = []
        while not found or found[-1] != newest:
            found += await ids(stream, 1)
        assert len(found) <= feed.BACKLOG
        await stream.hang_up()

    told(scenario)


def test_so_many_watch_at_once_and_each_gives_its_place_back(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "OPEN_MAXIMUM", 2)
    _, started = administrator(idp)

    async def scenario() -> None:
        first, second = await open_stream(idp, started), await open_stream(idp, started)
        refused = await open_stream(idp, started)
        assert (refused.status, refused.headers["retry-after"]) == (503, "30")
        await first.hang_up()
        third = await open_stream(idp, started)
        assert third.status == 200
        for one in (second, third):
            await one.hang_up()

    told(scenario)


def end(idp: Idp, person: User, started: Started) -> None:
    idp.end(started.session.id)


def disable(idp: Idp, person: User, started: Started) -> None:
    with idp.work.begin() as unit:
        queries.set_status(unit, unit.orm.get_one(User, person.id), "disabled", ADMIN)
        lifecycle.end(unit, [started.session.id], reason="user_disabled", actor=ADMIN)


def take_the_role(idp: Idp, person: User, started: Started) -> None:
    with idp.work.begin() as unit:
        queries.set_roles(unit, unit.orm.get_one(User, person.id), [], ADMIN)


def empty_the_role(idp: Idp, person: User, started: Started) -> None:
    with idp.work.begin() as unit:
        queries.define_role(unit, person.roles[0], ["payments"], Actor("admin", "x"))


@pytest.mark.attack("AD-01")
def sign_everybody_out(idp: Idp, person: User, started: Started) -> None:
    """Before any session is marked, and told of."""
    del person, started
    with idp.work.begin() as unit:
        bulk.begin(unit, SessionFilter(), reason="incident", actor=ADMIN, rights=management.ALL)


@pytest.mark.parametrize("loses", [end, disable, take_the_role, empty_the_role, sign_everybody_out])
def test_it_ends_with_the_session_and_the_right_and_tells_nothing_more(
    idp: Idp, loses: Callable[[Idp, User, Started], None]
) -> None:
    person, started = administrator(idp)

    async def scenario() -> None:
        stream = await watching(idp, started)
        loses(idp, person, started)
        happen(idp)
        assert await stream.event() is None
        # A browser that asks again is told, by its status, not to.
        assert (await open_stream(idp, started)).status == 204

    told(scenario)


@pytest.mark.attack("AD-01")
def test_whoever_may_see_sessions_only_learns_that_some_came_and_went(idp: Idp) -> None:
    _, started = administrator(idp, "sessions:read")

    async def scenario() -> None:
        stream = await open_stream(idp, started, **{"last-event-id": "0"})
        happen(idp)
        idp.session(idp.person("alice"))
        found = [await stream.event() for _ in range(2)]
        assert [one.data for one in found if one] == [{"type": "session.created"}] * 2
        await stream.hang_up()

    told(scenario)


@pytest.mark.attack("AD-01")
@pytest.mark.parametrize("rights", [("events:read",), ("payments",)])
def test_without_the_right_there_is_nothing(idp: Idp, rights: tuple[str, ...]) -> None:
    _, started = administrator(idp, *rights)

    async def scenario() -> None:
        assert (await open_stream(idp, started)).status == 204
        assert (await opened(idp, None, path=feed.PATH)).status == 204
        elsewhere = await open_stream(idp, started, **{"sec-fetch-site": "cross-site"})
        assert elsewhere.status == 204

    told(scenario)


def test_watching_is_no_activity(idp: Idp) -> None:
    _, started = administrator(idp)
    before = idp.count(f"sessions WHERE last_active_at = {idp.clock.now()}")
    idp.clock.advance(60_000_000)

    async def scenario() -> None:
        stream = await watching(idp, started)
        await stream.hang_up()

    told(scenario)
    assert before == 1
    assert idp.count(f"sessions WHERE last_active_at >= {idp.clock.now()}") == 0


def test_an_outage_in_between_ends_nothing_and_repeats_nothing(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, started = administrator(idp)
    is_away = asyncio.Event()
    asked = asyncio.Event()
    whole = feed.Feed.look

    def look(self: feed.Feed, behind: int | None) -> object:
        if is_away.is_set():
            asked.set()
            raise Unavailable("gone")
        return whole(self, behind)

    monkeypatch.setattr(feed.Feed, "look", look)

    async def scenario() -> None:
        stream = await watching(idp, started)
        is_away.set()
        await asyncio.wait_for(asked.wait(), 20)
        news = happen(idp, 2)
        is_away.clear()
        assert await ids(stream, 2) == news
        await stream.hang_up()

    told(scenario)

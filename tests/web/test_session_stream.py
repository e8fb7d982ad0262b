"""The live stream of one's own session: what it says, when, and that watching changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from idp.clock import HOUR, MINUTE, SECOND
from idp.errors import Unavailable
from idp.events.actor import Actor
from idp.sessions import lifecycle, naming
from idp.sessions.model import Session
from idp.sessions.state import states_of
from idp.web import live, session_stream
from tests.harness.provider import PASSWORD, Idp
from tests.harness.streams import Stream, opened
from tests.harness.workbench import NOON
from tests.web.conftest import PHONE, Somebody, begin, sign_in
from tests.web.html import Page

MS = 1_000


def told(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


async def greeted(idp: Idp, one: Somebody) -> Stream:
    """A stream that has said its first word."""
    stream = await opened(idp, one.session.secret)
    first = await stream.event()
    assert first is not None
    assert first.name == "deadline"
    return stream


def touch(one: Somebody) -> None:
    assert one.browser.get("/account/sessions").status_code == 200


def rows(idp: Idp, *tables: str) -> list[object]:
    with idp.work.read() as unit:
        return [
            [tuple(row) for row in unit.connection.execute(sa.text(f"SELECT * FROM {table}"))]
            for table in tables
        ]


@pytest.mark.attack("DS-08")
def test_a_stream_that_is_refused_leaves_nothing_behind(idp: Idp, alice: Somebody) -> None:
    """Whoever asks for one session after the other while there is no room must not fill the memory."""
    with idp.work.read() as unit:
        state = states_of(unit, [alice.id])[alice.id]
    full = live.Live(idp.work, idp.app.provider.store, per_process=1)
    watch = full.join(state, lambda _: None)
    for number in range(3):
        with pytest.raises(live.Full):
            full.join(replace(state, session_id=f"ses_{number}"), lambda _: None)
    assert len(full._by_session) == full.count == 1
    full.leave(watch)
    full.leave(watch)
    assert len(full._by_session) == full.count == 0


def test_it_begins_with_the_deadlines_by_the_server_s_clock(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        idp.clock.advance(MINUTE)
        stream = await opened(idp, alice.session.secret)
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-content-type-options"] == "nosniff"
        first = await stream.event()
        assert first is not None
        assert (first.name, first.data) == (
            "deadline",
            {
                "now": (NOON + MINUTE) // MS,
                "idle_expires_at": (NOON + HOUR) // MS,
                "expires_at": (NOON + 24 * HOUR) // MS,
            },
        )
        await stream.hang_up()

    told(scenario)


def test_a_deadline_that_moves_is_told_with_signals_off(idp: Idp, alice: Somebody) -> None:
    """A look at the database is enough; nothing has to be heard."""

    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.app.live.look()
        assert await stream.is_quiet()
        idp.clock.advance(5 * MINUTE)
        touch(alice)
        idp.app.live.look()
        moved = await stream.event()
        assert moved is not None
        assert moved.name == "deadline"
        assert moved.data["idle_expires_at"] == (NOON + 5 * MINUTE + HOUR) // MS
        await stream.hang_up()

    told(scenario)


def test_a_nearer_absolute_end_is_told(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.execute("UPDATE sessions SET expires_at = :at", at=NOON + 10 * MINUTE)
        idp.app.live.look()
        moved = await stream.event()
        assert moved is not None
        # An idle deadline behind the end would never be reached.
        assert moved.data["idle_expires_at"] == moved.data["expires_at"]
        assert moved.data["expires_at"] == (NOON + 10 * MINUTE) // MS
        await stream.hang_up()

    told(scenario)


def test_an_end_from_another_device_says_so_by_name_and_is_the_last_word(
    idp: Idp, alice: Somebody
) -> None:
    other = alice.elsewhere(agent=PHONE)

    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.clock.advance(MINUTE)
        with idp.work.begin() as unit:
            phone = unit.orm.get_one(Session, other)
            naming.rename(unit, phone, "My <b>iPhone</b> & I", Actor("user", other))
            lifecycle.end(unit, [alice.id], reason="signed_out", actor=Actor("user", other))
        idp.app.live.look()
        last = await stream.event()
        assert last is not None
        assert last.name == "ended"
        assert last.data == {
            "reason": "signed_out",
            "title": "You signed out",
            "sentence": "You signed this session out from “My <b>iPhone</b> & I”.",
            "ended_at": (NOON + MINUTE) // MS,
            "is_deliberate": True,
        }
        assert await stream.event() is None

    told(scenario)


@pytest.mark.parametrize(
    ("hours", "reason", "sentence"),
    [
        (1, "idle_timeout", "Your session ended after 60 minutes without activity."),
        (24, "absolute_timeout", "Your session reached its longest time: it had lasted 24 hours."),
    ],
)
def test_a_session_that_runs_out_is_over_before_the_worker_comes(
    hours: int, reason: str, sentence: str, idp: Idp, alice: Somebody
) -> None:
    async def scenario() -> None:
        stream = await greeted(idp, alice)
        if hours == 24:
            idp.execute("UPDATE sessions SET idle_at = :at", at=NOON + 30 * HOUR)
        idp.clock.advance(hours * HOUR - 1)
        idp.app.live.look()
        assert await stream.is_quiet() or (await stream.event()).name == "deadline"  # type: ignore[union-attr]
        idp.clock.advance(1)
        idp.app.live.look()
        last = await stream.event()
        assert last is not None
        assert (last.name, last.data["reason"], last.data["sentence"]) == (
            "ended", reason, sentence,
        )  # fmt: skip
        assert last.data["ended_at"] == (NOON + hours * HOUR) // MS

    told(scenario)


def test_a_person_who_is_gone_ends_the_stream(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.execute("DELETE FROM sessions")
        idp.app.live.look()
        last = await stream.event()
        assert last is not None
        assert (last.name, last.data["reason"]) == ("ended", "user_disabled")

    told(scenario)


def test_another_session_of_the_person_is_hinted_at_and_nobody_else_s(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    bob = somebody("bob")

    async def scenario() -> None:
        mine, his = await greeted(idp, alice), await greeted(idp, bob)
        idp.clock.advance(SECOND)
        other = alice.elsewhere()
        idp.app.live.look()
        hint = await mine.event()
        assert hint is not None
        assert (hint.name, hint.data) == ("sessions", {"running": 2})
        # One comes and one goes at the same time: the number is the same, the list is not.
        idp.clock.advance(SECOND)
        alice.elsewhere()
        idp.end(other)
        idp.app.live.look()
        again = await mine.event()
        assert again is not None
        assert (again.name, again.data) == ("sessions", {"running": 2})
        assert again.id != hint.id
        assert await his.is_quiet()
        await mine.hang_up()
        await his.hang_up()

    told(scenario)


def test_a_stream_that_was_cut_off_learns_what_it_missed(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        stream = await opened(idp, alice.session.secret)
        first = await stream.event()
        assert first is not None
        await stream.hang_up()
        idp.clock.advance(SECOND)
        alice.elsewhere()
        # As EventSource comes back by itself.
        stream = await opened(idp, alice.session.secret, headers={"last-event-id": first.id})
        names = [(await stream.event()).name for _ in range(2)]  # type: ignore[union-attr]
        assert names == ["deadline", "sessions"]
        await stream.hang_up()
        for seen in (None, "nonsense\x00" * 50):
            headers = {"last-event-id": seen} if seen else {}
            stream = await opened(idp, alice.session.secret, headers=headers)
            assert stream.status == 200
            assert b"nonsense" not in stream.body
            await stream.hang_up()

    told(scenario)


def test_a_stream_follows_its_session_through_every_new_secret(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.clock.advance(20 * MINUTE)
        touch(alice)  # rotates
        idp.prove(alice.session, lifecycle.Authentication("password", ("pwd",), "aal1"))
        idp.app.live.look()
        assert (await stream.event()).name == "deadline"  # type: ignore[union-attr]
        idp.end(alice.id, "admin")
        idp.app.live.look()
        assert (await stream.event()).data["reason"] == "admin"  # type: ignore[union-attr]

    told(scenario)


def test_watching_is_no_activity_and_changes_nothing(idp: Idp, alice: Somebody) -> None:
    tables = ("sessions", "events", "deliveries", "throttles")

    async def scenario() -> None:
        idp.clock.advance(50 * MINUTE)
        before = rows(idp, *tables)
        stream = await greeted(idp, alice)
        for _ in range(5):
            idp.clock.advance(SECOND)
            idp.app.live.look()
        for method in ("GET", "HEAD"):
            answer = await opened(idp, alice.session.secret, method=method)
            await answer.hang_up()
            assert "set-cookie" not in answer.headers
        assert rows(idp, *tables) == before
        idp.clock.advance(9 * MINUTE + 55 * SECOND)
        idp.app.live.look()
        assert (await stream.event()).data["reason"] == "idle_timeout"  # type: ignore[union-attr]
        # Also the end is only told: ending it, and telling its apps, is the worker's part.
        assert rows(idp, *tables) == before

    told(scenario)


def test_a_session_that_is_over_already_is_told_so_at_once(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        idp.end(alice.id, "limit")
        stream = await opened(idp, alice.session.secret)
        only = await stream.event()
        assert only is not None
        assert (only.name, only.data["reason"]) == ("ended", "limit")
        assert await stream.event() is None

    told(scenario)


def test_without_a_session_there_is_nothing_to_watch(idp: Idp) -> None:
    async def scenario() -> None:
        for secret in (None, "A" * 43, "short", "x" * 5_000):
            stream = await opened(idp, secret)
            assert (stream.status, stream.body) == (204, b""), secret

    told(scenario)


@pytest.mark.attack("SE-02")
def test_a_secret_that_was_replaced_opens_nothing(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        old = alice.session.secret
        idp.prove(alice.session, lifecycle.Authentication("password", ("pwd",), "aal1"))
        assert (await opened(idp, old)).status == 204

    told(scenario)


@pytest.mark.attack("WB-05")
def test_another_site_cannot_open_one(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            stream = await opened(idp, alice.session.secret, headers=headers)
            assert stream.status == 403
            assert "access-control-allow-origin" not in stream.headers

    told(scenario)


def test_a_commit_is_heard_and_a_rollback_is_not(
    idp: Idp, alice: Somebody, somebody: Callable[..., Somebody]
) -> None:
    """What is heard only brings the look forward; so it is enough that it was heard at all."""
    bob = somebody("bob")
    heard: list[bytes] = []
    idp.app.provider.store.subscribe(live.CHANNEL, heard.append)
    alice.elsewhere()
    idp.end(bob.id)
    assert heard == [alice.user.id.encode(), bob.user.id.encode()]
    with pytest.raises(ZeroDivisionError):
        end_and_fail(idp, alice.id)
    assert len(heard) == 2


def end_and_fail(idp: Idp, session_id: str) -> None:
    with idp.work.begin() as unit:
        lifecycle.end(unit, [session_id], reason="admin", actor=Actor("admin", "x"))
        raise ZeroDivisionError


def test_a_message_makes_the_thread_look_at_once(
    idp: Idp, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_EVERY", 3_600.0)
    monkeypatch.setattr(session_stream, "HEARTBEAT", 3_600.0)

    async def scenario() -> None:
        stream = await greeted(idp, alice)
        idp.end(alice.id, "admin")
        assert (await stream.event()).data["reason"] == "admin"  # type: ignore[union-attr]

    idp.app.live.start()
    try:
        told(scenario)
    finally:
        idp.app.live.stop()


def test_a_quiet_stream_says_from_time_to_time_that_it_is_there(
    idp: Idp, alice: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_stream, "HEARTBEAT", 0.01)

    async def scenario() -> None:
        stream = await greeted(idp, alice)
        while b"\n\n: \n\n: \n\n" not in stream.body:
            await asyncio.sleep(0.005)
        await stream.hang_up()

    told(scenario)


def test_a_server_that_stops_ends_every_stream_and_takes_no_more(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        streams = [await greeted(idp, alice) for _ in range(3)]
        idp.app.live.close()
        for stream in streams:
            # Without "ended": the session goes on, and the browser asks the next server.
            assert await stream.event() is None
        late = await opened(idp, alice.session.secret)
        assert late.status == 503
        assert int(late.headers["retry-after"]) > 0

    told(scenario)


@pytest.mark.attack("DS-10")
def test_streams_are_bounded_and_leave_no_trace(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        streams = [await greeted(idp, alice) for _ in range(live.PER_SESSION)]
        refused = await opened(idp, alice.session.secret)
        assert refused.status == 503
        assert refused.headers["retry-after"] == "60"
        assert b"too many open pages" in refused.body
        # Whoever goes makes room.
        await streams.pop().hang_up()
        streams.append(await greeted(idp, alice))
        for stream in streams:
            await stream.hang_up()
        assert not idp.app.live._by_session
        assert not idp.app.live._people
        assert not idp.app.live.is_full

    told(scenario)


@pytest.mark.attack("DS-10")
def test_a_process_takes_so_many_and_works_on(idp: Idp, alice: Somebody) -> None:
    async def scenario() -> None:
        watches = idp.app.live
        watches._per_process = 40
        people = [idp.session(alice.user) for _ in range(3)]
        streams = [
            await opened(idp, started.secret) for started in people for _ in range(live.PER_SESSION)
        ]
        assert [one.status for one in streams].count(200) == 40
        assert streams[-1].status == 503
        browser = idp.browser()
        assert browser.get("/healthz").status_code == 200
        page = Page(begin(browser, idp.register()))
        assert sign_in(browser, page, password=PASSWORD).status_code == 303
        with counted(idp) as statements:
            watches.look()
        assert statements == ["SELECT"], "one statement for all of them"
        for stream in streams:
            await stream.hang_up()

    told(scenario)


@pytest.mark.attack("SE-17")
def test_an_outage_of_the_database_ends_no_stream(
    idp: Idp, alice: Somebody, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        stream = await greeted(idp, alice)
        failures = 0
        look = type(idp.app.live).look

        def fail(watches: live.Live, people: Collection[str] | None = None) -> None:
            nonlocal failures
            failures += 1
            if failures < 4:
                raise Unavailable("gone")
            look(watches, people)

        monkeypatch.setattr(live.Live, "look", fail)
        monkeypatch.setattr(live, "LOOK_EVERY", 0.01)
        monkeypatch.setattr(live, "GATHER", 0.0)
        idp.app.live.start()
        while failures < 4:
            await asyncio.sleep(0.005)
        idp.end(alice.id, "admin")
        assert (await stream.event()).data["reason"] == "admin"  # type: ignore[union-attr]

    try:
        told(scenario)
    finally:
        idp.app.live.stop()
    assert [one.message for one in caplog.records if "wait for the database" in one.message] == [
        "live streams wait for the database: gone"
    ]


@contextmanager
def counted(idp: Idp) -> Iterator[list[str]]:
    """The statements that are run in the block, by their first word; transactions left out."""
    statements: list[str] = []

    def note(*arguments: object) -> None:
        word = str(arguments[2]).split()[0]
        if word != "BEGIN":
            statements.append(word)

    engine = idp.work.database.reading
    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)

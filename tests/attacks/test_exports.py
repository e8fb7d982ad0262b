"""Answers that go on: who lost the right reads no further, and who takes nothing keeps nobody out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from idp.admin import bulk, event_search
from idp.admin.session_filter import SessionFilter
from idp.events import log
from idp.events.catalogue import LoginFailed
from idp.oauth import clients
from idp.oauth.model import Client
from idp.policy import management
from idp.sessions import lifecycle
from idp.users import queries
from idp.users.model import User
from idp.web import lines
from tests.harness.provider import ADMIN, Idp, Started
from tests.harness.streams import PATIENCE, Stream, opened

API = "/api/v1/admin/events/export"
PAGE = "/admin/events"
STEP = 10
STEPS = 12


@dataclass
class Reader(Stream):
    """Somebody who takes a batch of an answer when they are asked to, and no other."""

    may_take: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    # Whether the answer came to its end.
    is_whole: bool = False

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self.may_take.acquire()
            self.is_whole = not message.get("more_body", False)
        await super()._send(message)

    async def take(self, count: int = 1) -> None:
        """Takes so many batches, once they have come."""
        for _ in range(count):
            self.may_take.release()
            await asyncio.wait_for(self._arrived.get(), PATIENCE)

    async def take_all(self) -> None:
        """Takes what there is until the answer is over."""
        for _ in range(10 * STEPS):
            self.may_take.release()
        assert self._task is not None
        await asyncio.wait_for(self._task, PATIENCE)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass(frozen=True)
class Somebody:
    """An administrator, their session, and a program of theirs with a token for it."""

    user: User
    started: Started
    token: str
    client_id: str


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_search, "STEP", STEP)


@pytest.fixture
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LOOK_EVERY", 0.0)


def somebody(idp: Idp, username: str = "root") -> Somebody:
    with idp.work.begin() as unit:
        queries.define_role(unit, f"role-of-{username}", management.SCOPES)
    user = idp.person(username, roles=[f"role-of-{username}"])
    started = idp.session(user)
    client = idp.register(management=1, scope="openid events:read")
    token = idp.grant(client, started, scope="openid events:read")["access_token"]
    with idp.work.begin() as unit:
        for _ in range(STEP * STEPS):
            unit.record(LoginFailed(reason="wrong_password", ip="203.0.113.9"))
    log.seal(idp.work)
    return Somebody(user, started, token, client.id)


async def export(idp: Idp, who: Somebody, path: str, *, waits: bool = True) -> Reader:
    """An export that is under way; by its page or by the API."""
    reader = Reader()
    if not waits:
        reader.may_take = asyncio.Semaphore(10 * STEPS)
    headers = {"authorization": f"Bearer {who.token}"} if path == API else {}
    await opened(
        idp,
        None if path == API else who.started.secret,
        path=path,
        query="" if path == API else "format=jsonl",
        headers=headers,
        stream=reader,
    )
    return reader


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def end_the_session(idp: Idp, who: Somebody) -> None:
    idp.end(who.started.session.id)


def disable(idp: Idp, who: Somebody) -> None:
    with idp.work.begin() as unit:
        queries.set_status(unit, unit.orm.get_one(User, who.user.id), "disabled", ADMIN)
        lifecycle.end(unit, [who.started.session.id], reason="user_disabled", actor=ADMIN)


def take_the_role(idp: Idp, who: Somebody) -> None:
    with idp.work.begin() as unit:
        queries.set_roles(unit, unit.orm.get_one(User, who.user.id), [], ADMIN)


def sign_everybody_out(idp: Idp, who: Somebody) -> None:
    """By the epoch: no session is marked yet."""
    del who
    with idp.work.begin() as unit:
        bulk.begin(unit, SessionFilter(), reason="incident", actor=ADMIN, rights=management.ALL)


def run_out(idp: Idp, who: Somebody) -> None:
    """Nobody was there for longer than a session rests; nothing was written about it."""
    del who
    idp.clock.advance(3_600_000_000)


@pytest.mark.attack("AD-01")
@pytest.mark.parametrize("path", [API, PAGE])
@pytest.mark.parametrize(
    "loses", [end_the_session, disable, take_the_role, sign_everybody_out, run_out]
)
@pytest.mark.usefixtures("always_looking")
def test_a_download_stops_with_the_session_and_the_right(
    idp: Idp, loses: Callable[[Idp, Somebody], None], path: str
) -> None:
    who = somebody(idp)

    async def scenario() -> None:
        reader = await export(idp, who, path)
        await reader.take(3)
        loses(idp, who)
        # One more was made already; it is the last.
        await reader.take_all()
        assert STEP * 3 <= len(reader.events) <= STEP * 4
        assert not reader.is_whole

    run(scenario)


@pytest.mark.attack("AD-01")
@pytest.mark.usefixtures("always_looking")
def test_a_download_stops_with_the_app_that_asked_for_it(idp: Idp) -> None:
    who = somebody(idp)

    async def scenario() -> None:
        reader = await export(idp, who, API)
        await reader.take(3)
        with idp.work.begin() as unit:
            client = unit.orm.get_one(Client, who.client_id)
            clients.set_enabled(unit, client, is_enabled=False, actor=ADMIN)
        await reader.take_all()
        assert not reader.is_whole

    run(scenario)


@pytest.mark.parametrize("path", [API, PAGE])
@pytest.mark.usefixtures("always_looking")
def test_a_download_goes_on_when_its_token_or_its_secret_has_served_its_time(
    idp: Idp, path: str
) -> None:
    """Five minutes later; and another tab was given a new cookie meanwhile, and used it."""
    who = somebody(idp)

    async def scenario() -> None:
        reader = await export(idp, who, path)
        await reader.take(3)
        browser = idp.signed_in_browser(who.started)
        for _ in range(2):
            idp.clock.advance(1_000_000_000)
            await asyncio.to_thread(browser.get, "/account/sessions")
        assert (await opened(idp, who.started.secret)).status == 204
        await reader.take_all()
        assert reader.is_whole
        assert len(reader.events) >= STEP * STEPS

    run(scenario)


@pytest.mark.attack("DS-10")
def test_slow_readers_keep_nobody_else_from_an_export(idp: Idp) -> None:
    slow, other = somebody(idp, "slow"), somebody(idp, "other")

    async def scenario() -> None:
        held = [await export(idp, slow, PAGE) for _ in range(lines.PER_READER)]
        for path in (API, PAGE):
            # Further ones are refused, whichever way they come.
            refused = await export(idp, slow, path, waits=False)
            assert (refused.status, refused.headers["retry-after"]) == (429, "30")
        for path in (API, PAGE):
            swift = await export(idp, other, path)
            await swift.take_all()
            assert swift.is_whole
        for one in held:
            await one.hang_up()
        again = await export(idp, slow, PAGE)
        await again.take_all()
        assert again.is_whole

    run(scenario)


@pytest.mark.attack("DS-10")
def test_more_than_a_process_sends_at_once_are_told_to_come_again(
    idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "OPEN_MAXIMUM", 2)
    first, second = somebody(idp, "first"), somebody(idp, "second")

    async def scenario() -> None:
        held = [await export(idp, first, PAGE) for _ in range(2)]
        refused = await export(idp, second, API, waits=False)
        assert (refused.status, refused.headers["retry-after"]) == (503, "30")
        assert json.loads(refused.body)["code"] == "too_many_exports"
        for one in held:
            await one.hang_up()
        third = await export(idp, second, API)
        await third.take_all()
        assert third.is_whole

    run(scenario)


@pytest.mark.attack("DS-10")
def test_whoever_takes_nothing_loses_their_place(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PATIENCE", 0.01)
    who = somebody(idp)

    async def scenario() -> None:
        for _ in range(lines.PER_READER + 1):
            reader = await export(idp, who, PAGE)
            assert reader.status == 200
            assert reader._task is not None
            await asyncio.wait_for(reader._task, PATIENCE)
            assert not reader.is_whole

    run(scenario)

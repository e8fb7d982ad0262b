"""Requests that share a commit do not share a fate: what one of them cannot do is its own trouble."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import sqlalchemy as sa

from idp.errors import Unavailable
from idp.events.model import Lease
from idp.storage.database import HotStatement, Write
from idp.storage.unit_of_work import Work
from idp.web.decisions import _GroupCommit
from tests.harness.workbench import ManualClock, make_work

_INSERT = HotStatement(sa.insert(Lease).inline(), columns=("name", "holder", "until"))


@pytest.fixture
def work(tmp_path: Path) -> Any:
    made = make_work(f"sqlite:///{tmp_path / 'test.db'}", ManualClock())
    yield made
    made.database.close()


def _writes(name: str) -> list[Write]:
    return [Write(_INSERT, {"name": name, "holder": "somebody", "until": 0})]


def _stored(work: Work) -> list[str]:
    with work.read() as unit:
        rows = unit.connection.execute(sa.text("SELECT name FROM leases ORDER BY name"))
        return [row.name for row in rows]


async def _applied(
    work: Work, *names: str, meanwhile: Callable[[], None] = lambda: None
) -> list[bool | BaseException]:
    """The outcomes of requests that come together; `meanwhile` runs once all are waiting."""
    commits = _GroupCommit(work.database, anyio.to_thread.run_sync)
    tasks = [asyncio.ensure_future(commits.apply(_writes(one))) for one in names]
    # Twice round the loop: the requests have asked, and their commit was tried.
    for _ in range(4):
        await asyncio.sleep(0)
    meanwhile()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_requests_that_come_together_are_all_made_durable(work: Work) -> None:
    assert asyncio.run(_applied(work, "a", "b", "c")) == [True, True, True]
    assert _stored(work) == ["a", "b", "c"]


def test_one_that_cannot_be_written_fails_alone(work: Work) -> None:
    outcomes = asyncio.run(_applied(work, "a", "twice", "twice", "b"))
    assert [one is True for one in outcomes] == [True, True, False, True]
    assert _stored(work) == ["a", "b", "twice"]


def test_one_that_cannot_be_written_fails_alone_after_waiting_for_the_writer_too(
    work: Work,
) -> None:
    work.database._writer.acquire()
    outcomes = asyncio.run(
        _applied(work, "a", "twice", "twice", "b", meanwhile=work.database._writer.release)
    )
    assert [one is True for one in outcomes] == [True, True, False, True]
    assert _stored(work) == ["a", "b", "twice"]


def test_all_are_refused_when_nothing_can_be_made_durable(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise Unavailable("database: full")

    monkeypatch.setattr(work.database, "try_apply_all", full)
    outcomes = asyncio.run(_applied(work, "a", "b"))
    assert [type(one) for one in outcomes] == [Unavailable, Unavailable]
    assert _stored(work) == []

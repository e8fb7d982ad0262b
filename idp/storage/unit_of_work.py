"""One request's changes: database connection, ORM session, clock, recorded events.

Return commits, raise rolls back. A refusal that must be remembered (a failed sign-in, a replayed
code that ends a grant) is a return value; a refusal that leaves no trace is an exception.

What must travel up the import order travels as an Event: `record` writes it in this transaction and
calls those who subscribed to its type, still in this transaction (so their deliveries commit or
roll back with the cause). `after_commit` runs what only concerns this process: wake the worker.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session as OrmSession

from idp.clock import Clock, Instant
from idp.settings import Settings
from idp.storage.database import Database, HotStatement, Row
from idp.storage.vault import Vault

_log = logging.getLogger(__name__)

Subscriber = Callable[["UnitOfWork", Any], None]


class UnitOfWork:
    """What a piece of work may touch. Made by `Work.begin`, never kept."""

    def __init__(self, work: "Work", connection: Connection) -> None:
        self.settings = work.settings
        self.vault = work.vault
        self.clock = work.clock
        self.connection = connection
        self.now: Instant = work.clock.now()
        # Why an administrator does what this unit does, in their words; stands in each of its events.
        self.because: str | None = None
        self._work = work
        self._orm: OrmSession | None = None
        self._before_commit: list[Callable[[], object]] = []
        self._after_commit: list[Callable[[], None]] = []

    @property
    def orm(self) -> OrmSession:
        """The ORM session of this transaction, made when first asked for."""
        if self._orm is None:
            self._orm = OrmSession(bind=self.connection, expire_on_commit=False)
        return self._orm

    def record(self, event: Any) -> None:
        """Writes the event and carries it to its subscribers, in this transaction."""
        if self._orm is not None:
            self._orm.flush()
        self._work.write_event(self, event)
        for subscriber in self._work.subscribers[type(event)]:
            subscriber(self, event)

    def run(self, statement: HotStatement, parameters: dict[str, Any]) -> list[Row]:
        """Runs a hot statement in this transaction; gives its rows, if it has any.

        For what a sign-in does: built and run by SQLAlchemy, a statement costs ten times as much.
        Objects that the ORM session holds do not learn of it.
        """
        self.flush()
        cursor = self.connection.connection.cursor()
        sql, values = statement.bound(self._work.database, parameters)
        try:
            with self._work.database.observed(sql):
                cursor.execute(sql, values)
            rows: list[Row] = list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()
        return rows

    @property
    def is_sqlite(self) -> bool:
        return self._work.database.is_sqlite

    def before_commit(self, action: Callable[[], object]) -> None:
        """Runs `action` last in this transaction, behind every lock that anything else takes."""
        self._before_commit.append(action)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Runs `action` once the changes are durable; never when they were rolled back."""
        self._after_commit.append(action)

    def flush(self) -> None:
        if self._orm is not None:
            self._orm.flush()

    def committed(self) -> None:
        """Runs what waited for the commit.

        Failures are logged and not raised: the change is made, and an error would tell the caller
        that it was not.
        """
        for action in self._after_commit:
            try:
                action()
            except Exception:
                _log.exception("what followed a commit failed")


@dataclass(slots=True)
class Work:
    """The parts every unit of work needs; one per process, wired in `idp.app`."""

    settings: Settings
    database: Database
    vault: Vault
    clock: Clock
    write_event: Callable[[UnitOfWork, Any], None]
    subscribers: defaultdict[type, list[Subscriber]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """A unit of work in one transaction; commits when the block returns."""
        with self.database.write() as connection:
            unit = UnitOfWork(self, connection)
            try:
                yield unit
                for action in unit._before_commit:
                    action()
                unit.flush()
            finally:
                if unit._orm is not None:
                    unit._orm.close()
        unit.committed()

    @contextmanager
    def read(self) -> Iterator[UnitOfWork]:
        """A unit of work for reading only; whatever it changed is rolled back."""
        with self.database.read() as connection:
            unit = UnitOfWork(self, connection)
            try:
                yield unit
            finally:
                if unit._orm is not None:
                    unit._orm.close()

"""The SQL database: engines, transactions, and statements for the hot path.

Owns connections and how a transaction begins and ends on SQLite and PostgreSQL. Knows no table.

SQLite: write-ahead log, `synchronous=FULL` (a client is told "durable"), `BEGIN IMMEDIATE` (a
deferred transaction fails with "database is locked" under load), one writer at a time inside this
process so that writers queue in order instead of sleeping in SQLite's busy loop. Checkpoints are
made by the worker, off the request (`checkpoint`), because one inside a commit costs a request some
20 milliseconds.
PostgreSQL: READ COMMITTED; every decision that must not race is a conditional UPDATE. How it is
reached is in `postgresql`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, Executable, create_engine, event, text
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from idp.errors import Unavailable
from idp.storage import postgresql

BUSY_TIMEOUT_MS = 5_000
Row = Sequence[Any]
# Stands around a statement that goes past SQLAlchemy, for whoever measures; takes its text, which has
# no values in it.
Observing = Callable[[str], AbstractContextManager[object]]
_NOBODY = nullcontext()


class Database:
    """One database, opened for reading and for writing."""

    def __init__(self, url: str, *, pool_size: int = 16) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.observed: Observing = lambda _: _NOBODY
        # Held while a write transaction is open, on SQLite only; and by which thread.
        self._writer = threading.Lock()
        self._writing_thread = 0
        # Raw SQLite connections nobody uses: taking one from the pool costs more than a read.
        self._hot: deque[Any] = deque()
        if self.is_sqlite:
            self.writing = _sqlite_engine(url, pool_size=4, begin="BEGIN IMMEDIATE")
            self.reading = _sqlite_engine(url, pool_size=pool_size, begin="BEGIN")
        else:
            self.writing = postgresql.make_engine(self.url, pool_size=pool_size)
            self.reading = self.writing
        # Hot queries: no BEGIN and no ROLLBACK around one statement. That saves two trips of three,
        # and psycopg forgets what it has prepared at every ROLLBACK, so PostgreSQL would plan each
        # query anew, which takes longer than to carry it out.
        self._querying = self.reading.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        with self._one_writer(), refusing_when_busy(), self.writing.begin() as connection:
            yield connection

    @contextmanager
    def restructure(self) -> Iterator[Connection]:
        """A write transaction in which tables may be altered.

        SQLite alters a table by making another and dropping the old one, and dropping it deletes
        what refers to it. So foreign keys are off meanwhile, and looked at before the commit. On
        PostgreSQL a statement may take as long as it takes: an index over many rows is not made in
        seconds.
        """
        with self._one_writer(), refusing_when_busy(), self.writing.connect() as connection:
            # Before the transaction: inside of one it would do nothing.
            self._foreign_keys(connection, "OFF")
            try:
                with connection.begin():
                    if not self.is_sqlite:
                        postgresql.take_time(connection)
                    yield connection
                    if self.is_sqlite:
                        check = connection.exec_driver_sql("PRAGMA foreign_key_check")
                        if (broken := check.first()) is not None:
                            raise RuntimeError(f"{broken[0]} refers to {broken[2]}, and to nothing")
            finally:
                self._foreign_keys(connection, "ON")

    def _foreign_keys(self, connection: Connection, state: str) -> None:
        if self.is_sqlite:
            connection.connection.cursor().execute(f"PRAGMA foreign_keys={state}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; on SQLite a stable snapshot."""
        with refusing_when_busy(), self.reading.connect() as connection:
            # Begun here and never committed: a bare driver's write must be rolled back as well.
            connection.begin()
            yield connection

    def query(self, statement: "HotStatement", parameters: dict[str, Any]) -> Row | None:
        """The first row of a hot statement, or None. Autocommit, no transaction is left open."""
        sql, values = statement.bound(self, parameters)
        with refusing_when_busy(), self.observed(sql):
            if self.is_sqlite:
                hot = self._take_hot()
                try:
                    cursor = hot.execute(sql, values)
                    row: Row | None = cursor.fetchone()
                    cursor.close()
                except BaseException:
                    hot.close()
                    raise
                self._hot.append(hot)
                return row
            began = time.monotonic()
            try:
                return self._row(sql, values)
            except Exception as error:
                if not _is_outage(error) or time.monotonic() - began > postgresql.FRESH_SECONDS:
                    raise
                # The server had gone since the connection was used last; a read may be asked again.
                return self._row(sql, values)

    def _row(self, sql: str, values: Any) -> Row | None:
        with self._querying.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(sql, values)
            row: Row | None = cursor.fetchone()
            cursor.close()
            return row

    def try_apply(self, writes: "Sequence[Write]", *, wait: float = 5.0) -> bool | None:
        """Carries out one request's hot writes in one durable transaction.

        Gives True when every statement that must change a row did; False when one lost a race and
        nothing was changed; None when the writer was not free within `wait` seconds.
        """
        outcomes = self.try_apply_all([writes], wait=wait)
        return None if outcomes is None else outcomes[0]

    def try_apply_all(
        self, batch: "Sequence[Sequence[Write]]", *, wait: float = 5.0
    ) -> list[bool] | None:
        """The writes of several requests, made durable together: one commit costs as much as ten.

        Each is carried out wholly or not at all, whatever becomes of the others; the outcomes are
        those of `try_apply`, in order.
        """
        with self.observed("COMMIT"):
            return self._applied(batch, wait)

    def _applied(self, batch: "Sequence[Sequence[Write]]", wait: float) -> list[bool] | None:
        if not self.is_sqlite:
            with refusing_when_busy(), self.writing.connect() as connection:
                return _apply(connection.connection, self, batch)
        if not self._writer.acquire(timeout=wait) if wait else not self._writer.acquire(False):
            return None
        try:
            with refusing_when_busy():
                hot = self._take_hot()
                try:
                    applied = (_apply if wait else _apply_at_once)(hot, self, batch)
                except BaseException:
                    hot.close()
                    raise
                self._hot.append(hot)
                return applied
        finally:
            self._writer.release()

    def checkpoint(self) -> None:
        """Moves SQLite's write-ahead log into the database file; nothing to do elsewhere."""
        if self.is_sqlite:
            with self.writing.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def failover_risk(self) -> str | None:
        """What may be lost although it was answered, as a sentence; None for nothing."""
        if self.is_sqlite:
            return None
        with self.read() as connection:
            return postgresql.failover_risk(connection)

    def ping(self) -> None:
        """Raises `Unavailable` when the database does not answer."""
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Closes every connection that nobody uses at this moment."""
        while self._hot:
            self._hot.pop().close()
        self.reading.dispose()
        self.writing.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """On SQLite, the turn to write; raises `Unavailable` when it does not come in time."""
        if not self.is_sqlite:
            yield
            return
        if self._writing_thread == threading.get_ident():
            raise RuntimeError("a transaction was begun inside a transaction")
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            raise Unavailable("database: the writer was not free in time")
        self._writing_thread = threading.get_ident()
        try:
            yield
        finally:
            self._writing_thread = 0
            self._writer.release()

    def _take_hot(self) -> Any:
        """A raw SQLite connection for one statement or transaction; put back unless it failed."""
        try:
            return self._hot.pop()
        except IndexError:
            fairy = self.writing.raw_connection()
            fairy.detach()
            return fairy.dbapi_connection


class HotStatement:
    """A Core statement compiled once, run by the bare driver.

    SQLAlchemy's execution costs about 20 µs a statement, the driver 4 µs; the hot endpoints live on
    the difference. Values go in and come out as the driver gives them (text, int, None).
    """

    def __init__(
        self,
        statement: Executable,
        *,
        columns: Sequence[str] | None = None,
        must_change: bool = False,
    ) -> None:
        """`columns` names what an INSERT sets; `must_change` makes "no row changed" a lost race."""
        self.statement = statement
        self.columns = columns
        self.must_change = must_change
        self._compiled: dict[bool, tuple[str, list[str] | None, dict[str, Any]]] = {}

    def bound(self, database: Database, parameters: dict[str, Any]) -> tuple[str, Any]:
        """The SQL text and its parameters in the driver's style."""
        compiled = self._compiled.get(database.is_sqlite)
        if compiled is None:
            compiled = self._compile(database)
        sql, names, defaults = compiled
        values = {**defaults, **parameters} if defaults else parameters
        return sql, [values[name] for name in names] if names is not None else values

    def _compile(self, database: Database) -> tuple[str, list[str] | None, dict[str, Any]]:
        made: Any = self.statement.compile(  # type: ignore[attr-defined]
            dialect=database.writing.dialect, column_keys=self.columns
        )
        if made.post_compile_params:
            raise TypeError("a hot statement cannot have a list whose length is only known later")
        names = list(made.positiontup) if made.positional else None
        # Values written into the statement itself; None is one of them (`SET x = NULL`).
        defaults = {
            name: value for name, value in made.params.items() if not made.binds[name].required
        }
        self._compiled[database.is_sqlite] = (str(made), names, defaults)
        return self._compiled[database.is_sqlite]


class Write:
    """One hot statement with the values it is to be run with."""

    __slots__ = ("parameters", "statement")

    def __init__(self, statement: HotStatement, parameters: dict[str, Any]) -> None:
        self.statement = statement
        self.parameters = parameters


def _apply(connection: Any, database: Database, batch: Sequence[Sequence[Write]]) -> list[bool]:
    cursor = connection.cursor()
    try:
        if database.is_sqlite:
            cursor.execute("BEGIN IMMEDIATE")
        apply = _apply_one if len(batch) > 1 else _carry_out
        outcomes = [apply(cursor, database, writes) for writes in batch]
        if any(outcomes):
            connection.commit()
        else:
            connection.rollback()
    except BaseException:
        connection.rollback()
        raise
    finally:
        cursor.close()
    return outcomes


def _apply_one(cursor: Any, database: Database, writes: Sequence[Write]) -> bool:
    """One request's writes of several, inside a savepoint: what it loses, it takes back alone."""
    cursor.execute("SAVEPOINT one")
    is_done = _carry_out(cursor, database, writes)
    if not is_done:
        cursor.execute("ROLLBACK TO SAVEPOINT one")
    cursor.execute("RELEASE SAVEPOINT one")
    return is_done


def _carry_out(cursor: Any, database: Database, writes: Sequence[Write]) -> bool:
    """Runs the writes until one loses its race; then the caller takes back those before it."""
    for write in writes:
        cursor.execute(*write.statement.bound(database, write.parameters))
        if write.statement.must_change and cursor.rowcount != 1:
            return False
    return True


def _apply_at_once(
    connection: Any, database: Database, batch: Sequence[Sequence[Write]]
) -> list[bool] | None:
    """`_apply` for the event loop, which must not wait: None while another process is writing."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        return _apply(connection, database, batch)
    except Exception as error:
        if getattr(error, "sqlite_errorname", None) != "SQLITE_BUSY":
            raise
        return None
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


@contextmanager
def refusing_when_busy() -> Iterator[None]:
    """Turns "locked", "full", "gone" into `Unavailable`: 503, never a false success."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or _is_outage(error.orig):
            raise Unavailable(f"database: {error.__class__.__name__}: {error.orig}") from error
        raise
    except PoolTimeout as error:
        raise Unavailable(f"database pool: {error}") from error
    except Exception as error:
        if _is_outage(error):
            raise Unavailable(f"database: {error}") from error
        raise


_SQLITE_OUTAGES = tuple(
    f"SQLITE_{name}"
    for name in (
        "BUSY", "LOCKED", "FULL", "IOERR", "READONLY", "CANTOPEN", "CORRUPT", "NOTADB", "NOMEM",
        "INTERRUPT", "PROTOCOL", "PERM", "AUTH", "NOLFS",
    )
)  # fmt: skip
_PSYCOPG_OUTAGES = frozenset(
    {"psycopg.OperationalError", "psycopg.InterfaceError", "psycopg.ReadOnlySqlTransaction"}
)


def _is_outage(error: BaseException | None) -> bool:
    """Whether a driver's error means that the database is busy, full, read-only or gone.

    SQLite raises the same class for "locked" and for a mistake in the SQL; its code tells them
    apart. psycopg has a class for each SQLSTATE below the general one, and calls a server that has
    become a read-only replica an internal error.
    """
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if "sqlite3.DatabaseError" in names:
        return str(getattr(error, "sqlite_errorname", "")).startswith(_SQLITE_OUTAGES)
    return not names.isdisjoint(_PSYCOPG_OUTAGES)


class _SqliteCompiler(SQLiteCompiler):
    """Puts hints where they belong: SQLAlchemy writes those of other databases only.

    SQLite guesses without knowing the rows, so where it guesses wrongly a query names its index
    (`with_hint(table, "INDEXED BY …", "sqlite")`).
    """

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        del table
        return text


def _sqlite_engine(url: str, *, pool_size: int, begin: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=64,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        # An error says which statement failed, and not of whom: it ends up in the log.
        hide_parameters=True,
    )
    engine.dialect.statement_compiler = _SqliteCompiler

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself; `begin` below does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA wal_autocheckpoint=20000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # By the driver: SQLAlchemy's way takes longer than all that it then does in SQLite.
        connection.connection.cursor().execute(begin)

    return engine

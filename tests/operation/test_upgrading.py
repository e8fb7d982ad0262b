"""FT-22: a change of the schema that dies in its middle, or meets tables that are in use.

`UPGRADE_KILLS=40` for more.
"""

import ast
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from idp import app as application
from idp.errors import Unavailable
from idp.storage import ahead, migrations
from idp.storage.database import Database
from idp.storage.exclusive import try_alone
from tests.harness import crowd
from tests.harness.provider import Templates, settings_for
from tests.harness.server_process import CHECKOUT, until

KILLS = int(os.environ.get("UPGRADE_KILLS", "2"))
# A revision from which the next ones alter tables with rows in them.
OLDER = "0015"
INDEX: ahead.Ahead = ("ix_events_tried", "events", ("user_id", "type", "id"), "type = 'x'")
# A statement of that upgrade behind which not many are left; it may have more by now.
LAST = {"sqlite": 22, "postgresql": 60}
TABLES = ("users", "sessions", "authorizations")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path, templates: Templates) -> Iterator[str]:
    """A database of each kind in turn, with people in it."""
    if request.param == "sqlite":
        made = templates.sqlite(tmp_path / "idp.db")
        _gather(made)
        yield made
    else:
        with templates.postgres() as made:
            _gather(made)
            yield made


def _gather(url: str) -> None:
    work = application.assemble(settings_for(url))
    crowd.gather(work, 200)
    migrations.downgrade(work.database, OLDER)
    work.database.close()


def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.read() as connection:
        return {
            table: [
                dict(row)
                for row in connection.exec_driver_sql(
                    f"SELECT * FROM {table} ORDER BY 1"
                ).mappings()
            ]
            for table in TABLES
        }


def assert_kept(before: dict[str, list[dict[str, Any]]], after: dict[str, Any]) -> None:
    """Every row is there, and says in the columns of both what it said."""
    for table in TABLES:
        for old, new in zip(before[table], after[table], strict=True):
            shared = old.keys() & new.keys()
            assert {name: new[name] for name in shared} == {name: old[name] for name in shared}


def ran_until(url: str, statement: int) -> "subprocess.CompletedProcess[str]":
    """An upgrade in a process of its own, dead before its so manieth statement."""
    return subprocess.run(
        [sys.executable, "-m", "tests.operation.dying_upgrade", url, str(statement)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_an_upgrade_that_is_killed_leaves_a_whole_revision_and_is_carried_out_when_run_again(
    url: str, say: Any
) -> None:
    database = Database(url)
    before, drawn, last = rows(database), random.Random(7), LAST[database.url.get_backend_name()]
    for statement in [last, *(drawn.randrange(2, last) for _ in range(KILLS - 1))]:
        migrations.downgrade(database, OLDER)
        died = ran_until(url, statement)
        assert died.returncode == -signal.SIGKILL, died.stderr
        with database.read() as connection:
            at = migrations.current(connection)
        # A database of one process is changed at once, others one revision after the other.
        assert at == OLDER if database.is_sqlite else at in migrations.revisions()
        assert_kept(before, rows(database))
    assert migrations.upgrade(database) == at
    assert migrations.is_current(database)
    assert_kept(before, rows(database))
    database.close()
    say(f"an upgrade killed, n={KILLS}: a whole revision, every row as before, then carried out")


@pytest.mark.postgres
def test_an_upgrade_that_meets_a_table_in_use_keeps_nobody_waiting_and_tries_again(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else everybody who comes after it waits behind it, for one slow report."""
    attempts = Semaphore(0)
    between = SimpleNamespace(sleep=lambda _: attempts.release())
    monkeypatch.setattr(migrations, "time", between)
    with templates.postgres() as url, ThreadPoolExecutor(1) as pool:
        database = Database(url)
        migrations.downgrade(database, OLDER)
        with database.read() as report:
            report.execute(sa.text("SELECT count(*) FROM sessions"))
            upgrading = pool.submit(migrations.upgrade, database)
            for _ in range(3):
                assert attempts.acquire(timeout=30)
                with database.read() as somebody:
                    somebody.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
                    assert somebody.scalar(sa.text("SELECT count(*) FROM sessions")) == 0
        assert upgrading.result(30) == OLDER
        assert migrations.is_current(database)
        database.close()


@pytest.mark.postgres
def test_an_upgrade_that_meets_a_table_in_use_for_long_is_refused_and_changes_nothing(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "ATTEMPTS", 2)
    with templates.postgres() as url:
        database = Database(url)
        migrations.downgrade(database, OLDER)
        with database.read() as report:
            report.execute(sa.text("SELECT count(*) FROM sessions"))
            with pytest.raises(Unavailable) as refused:
                migrations.upgrade(database)
        assert "lock timeout" in str(refused.value.detail)
        with database.read() as connection:
            assert migrations.current(connection) == OLDER
        database.close()


@pytest.mark.postgres
def test_an_index_is_made_ahead_while_others_write(templates: Templates) -> None:
    name = INDEX[0]
    changing = sa.text("UPDATE events SET at = at WHERE FALSE")
    with templates.postgres() as url, ThreadPoolExecutor(1) as pool:
        database = Database(url)
        with database.writing.connect() as slow:
            slow.execute(changing)
            making = pool.submit(ahead.make, database, [INDEX], is_wanted=lambda _: True)
            until(lambda: waits(database, "CREATE INDEX%"), "it waits for the slow one", within=60)
            with database.write() as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
                connection.execute(changing)
            assert not making.done()
            slow.commit()
        making.result(60)
        assert is_valid(database, name)
        database.close()


@pytest.mark.postgres
def test_an_index_that_died_while_it_was_made_is_made_anew(templates: Templates) -> None:
    name, table, columns, _ = INDEX
    with templates.postgres() as url:
        database = Database(url)
        alone = database.writing.execution_options(isolation_level="AUTOCOMMIT")
        with database.writing.connect() as slow, alone.connect() as dying:
            slow.execute(sa.text("UPDATE events SET at = at WHERE FALSE"))
            # It waits for whoever was writing when it began, and is given up.
            dying.exec_driver_sql("SET statement_timeout = 200")
            with pytest.raises(sa.exc.OperationalError):
                dying.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {table} (id)")
            dying.invalidate()  # nobody else gets its short patience
        assert not is_valid(database, name)
        ahead.make(database, [INDEX], is_wanted=lambda _: True)
        assert is_valid(database, name)
        with database.read() as connection:
            (made,) = [
                one for one in sa.inspect(connection).get_indexes(table) if one["name"] == name
            ]
        assert made["column_names"] == list(columns)
        database.close()


@pytest.mark.postgres
def test_an_upgrade_over_several_revisions_makes_the_indexes_of_each_ahead(
    templates: Templates,
) -> None:
    found: dict[str, bool] = {}
    with templates.postgres() as url:
        database = Database(url)
        migrations.downgrade(database, OLDER)

        @sa.event.listens_for(database.writing, "before_cursor_execute")
        def _look(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
            if made := re.match(r"CREATE INDEX IF NOT EXISTS (\w+)", statement):
                found[made[1]] = is_valid(database, made[1])

        migrations.upgrade(database)
        assert {"ix_sessions_running", "ix_sessions_created"} <= found.keys()
        assert all(found.values()), found
        database.close()


@pytest.mark.postgres
def test_who_waits_to_make_an_index_makes_none_for_a_revision_that_somebody_else_carried_out(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later revision may have taken it away by then."""
    looked = Semaphore(0)
    patient = SimpleNamespace(sleep=lambda _: (looked.release(), time.sleep(0.02)))
    monkeypatch.setattr(ahead, "time", patient)
    with templates.postgres() as url, ThreadPoolExecutor(1) as pool:
        database = Database(url)
        migrations.downgrade(database, OLDER)
        with database.writing.execution_options(isolation_level="AUTOCOMMIT").connect() as first:
            try:
                assert try_alone(first, "indexes")
                later = pool.submit(migrations.upgrade, database)
                assert looked.acquire(timeout=30)
                with monkeypatch.context() as patched:
                    patched.setattr(ahead, "make", lambda *_, **__: None)
                    migrations.upgrade(database)
                first.exec_driver_sql("DROP INDEX ix_sessions_running")
            finally:
                first.invalidate()  # with it goes the lock that the other waits for
        later.result(60)
        assert not is_valid(database, "ix_sessions_running")
        database.close()


def waits(database: Database, statement: str) -> bool:
    """Whether it has begun, and somebody else holds a lock that it needs."""
    with database.read() as connection:
        return bool(
            connection.scalar(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event_type = 'Lock' AND query LIKE :statement"
                ),
                {"statement": statement},
            )
        )


def is_valid(database: Database, index: str) -> bool:
    with database.read() as connection:
        return bool(
            connection.scalar(
                sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
                {"name": index},
            )
        )


# Before it, revisions made indexes in their transactions.
RULE_SINCE = "0011"


def test_a_revision_makes_indexes_ahead_on_tables_that_have_rows() -> None:
    """Inside its transaction everybody who writes to the table waits until the index is made."""
    wrong = []
    for script in sorted((migrations.folder("migrations") / "versions").glob("[0-9]*.py")):
        if script.name >= RULE_SINCE:
            wrong += [f"{script.name}: {one}" for one in made_under_a_lock(script.read_text())]
    assert wrong == []


def test_an_index_that_is_made_under_a_lock_is_found() -> None:
    index = 'op.create_index("ix", "events", ["id"]%s)\n'
    assert made_under_a_lock(index % "") == ["ix"]
    assert made_under_a_lock('AHEAD = (("ix", "events", ["id"], ""),)\n' + index % "") == ["ix"]
    at_last = index % ", if_not_exists=True"
    assert made_under_a_lock('AHEAD = (("ix", "events", ["id"], ""),)\n' + at_last) == []
    assert made_under_a_lock('op.create_table("events")\n' + index % "") == []


def made_under_a_lock(source: str) -> list[str]:
    """The indexes that a revision makes, going up, on tables of older ones, and not ahead."""
    tree = ast.parse(source)
    tree.body = [one for one in tree.body if getattr(one, "name", "") != "downgrade"]
    found: dict[str, list[ast.Call]] = {"create_table": [], "create_index": []}
    before: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.get(node.func.attr, []).append(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "AHEAD":
            entries = node.value.elts if isinstance(node.value, ast.Tuple) else []
            before |= {ast.unparse(one.elts[0]) for one in entries if isinstance(one, ast.Tuple)}
    own = {ast.unparse(call.args[0]) for call in found["create_table"]}
    return [
        ast.unparse(call.args[0]).strip("'")
        for call in found["create_index"]
        if ast.unparse(call.args[1]) not in own
        and not (
            ast.unparse(call.args[0]) in before
            and any(one.arg == "if_not_exists" for one in call.keywords)
        )
    ]

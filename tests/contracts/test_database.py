"""What the database must do, on SQLite and on PostgreSQL."""

import contextlib
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from idp.errors import Unavailable
from idp.storage import database as database_module
from idp.storage import postgresql
from idp.storage.database import Database, HotStatement, Write
from idp.storage.unit_of_work import Work
from idp.users.model import Throttle, User
from tests.harness.stopwatch import least
from tests.harness.workbench import ManualClock, add_user, make_work

BY_ID = HotStatement(
    select(User.username, User.email, User.roles, User.created_at).where(
        User.id == bindparam("user_id")
    )
)
COUNT_UP = HotStatement(
    update(Throttle)
    .where(Throttle.key == bindparam("throttle"), Throttle.count == bindparam("was"))
    .values(count=Throttle.count + 1, window_ends_at=bindparam("until")),
    must_change=True,
)
COLUMNS = ("key", "window_ends_at", "count")
ADD = HotStatement(insert(Throttle).inline(), columns=COLUMNS)


@pytest.fixture
def database(work: Work) -> Database:
    return work.database


@pytest.fixture
def throttle(database: Database) -> str:
    assert database.try_apply([Write(ADD, {"key": "k", "window_ends_at": 1, "count": 0})])
    return "k"


def count(database: Database, key: str = "k") -> int | None:
    with database.read() as connection:
        return connection.scalar(select(Throttle.count).where(Throttle.key == key))


def counted_up(*, was: int) -> Write:
    return Write(COUNT_UP, {"throttle": "k", "was": was, "until": 2})


# --- transactions -----------------------------------------------------------------------------


def test_a_transaction_is_kept_when_it_returns_and_forgotten_when_it_raises(
    database: Database, throttle: str
) -> None:
    with database.write() as connection:
        connection.execute(update(Throttle).values(count=5))

    def failing() -> None:
        with database.write() as connection:
            connection.execute(update(Throttle).values(count=6))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert count(database) == 5


def test_a_reader_sees_what_was_committed_and_not_what_is_being_written(
    database: Database, throttle: str
) -> None:
    with database.write() as connection:
        connection.execute(update(Throttle).values(count=5))
        assert count(database) == 0
    assert count(database) == 5


def test_keys_of_other_tables_are_enforced(work: Work) -> None:
    def orphan() -> None:
        with work.database.write() as connection:
            connection.execute(
                text("INSERT INTO user_identifiers (key, kind, user_id) VALUES ('a', 'b', 'none')")
            )

    with pytest.raises(IntegrityError):
        orphan()


def test_text_of_all_the_world_comes_back_as_it_went(work: Work) -> None:
    name = "Zoë 🦉 \u202e 你好 'quoted' \"and\" %s :x \\"
    user = add_user(work)
    with work.begin() as unit:
        unit.connection.execute(update(User).values(username=name, roles=[name, 1, None, 2.5]))
    with work.read() as unit:
        row = unit.orm.get(User, user)
        assert row is not None
        assert (row.username, row.roles) == (name, [name, 1, None, 2.5])


def test_microseconds_of_any_century_fit(work: Work) -> None:
    add_user(work)
    far = 253_402_300_799_999_999  # the last microsecond of the year 9999
    with work.database.write() as connection:
        connection.execute(update(User).values(created_at=far))
        assert connection.scalar(select(User.created_at)) == far


# --- hot statements ---------------------------------------------------------------------------


def test_a_hot_query_gives_what_the_driver_gives(work: Work, clock: ManualClock) -> None:
    user = add_user(work)
    row = work.database.query(BY_ID, {"user_id": user})
    assert row is not None
    assert tuple(row) == (user, None, "[]", clock.now())
    assert work.database.query(BY_ID, {"user_id": "nobody"}) is None


def test_a_hot_statement_keeps_the_values_written_into_it(database: Database) -> None:
    """Among them None, percent signs and limits."""
    add = HotStatement(
        insert(User)
        .values(
            id=bindparam("user_id"), username="100 % :name", email=None, email_verified=0,
            status="active", claims=None, password_hash=None, password_changed_at=None, roles=[],
            permissions=[], locale=None, created_at=1, updated_at=bindparam("at"),
        )
        .inline()
    )  # fmt: skip
    rename = HotStatement(
        update(User)
        .where(User.id == bindparam("user_id"), User.email.is_(None))
        .values(email="a@b.example", locale=None),
        must_change=True,
    )
    find = HotStatement(
        select(User.id, User.email, func.coalesce(User.locale, "none"))
        .where(User.username.like("100 \\% %", escape="\\"))
        .order_by(User.id)
        .limit(1)
    )
    for user_id in ("usr_b", "usr_a"):
        # JSON columns hold text here: the bare driver knows no types of ours.
        assert database.try_apply(
            [Write(add, {"user_id": user_id, "at": 2, "roles": "[]", "permissions": "[]"})]
        )
    assert database.try_apply([Write(rename, {"user_id": "usr_a"})])
    assert database.try_apply([Write(rename, {"user_id": "usr_a"})]) is False
    assert tuple(database.query(find, {}) or ()) == ("usr_a", "a@b.example", "none")


def test_a_hot_statement_with_a_list_of_unknown_length_is_refused(database: Database) -> None:
    listed = HotStatement(select(User.id).where(User.id.in_(bindparam("some", expanding=True))))
    with pytest.raises(TypeError):
        database.query(listed, {"some": ["a"]})


def test_a_hot_statement_without_a_value_is_a_mistake(database: Database) -> None:
    with pytest.raises(Exception, match="user_id"):
        database.query(BY_ID, {})


def test_hot_writes_happen_all_or_none(database: Database, throttle: str) -> None:
    lost = [
        Write(ADD, {"key": "new", "window_ends_at": 1, "count": 7}),
        counted_up(was=99),
    ]
    assert database.try_apply(lost) is False
    assert (count(database), count(database, "new")) == (0, None)
    won = [lost[0], counted_up(was=0)]
    assert database.try_apply(won) is True
    assert (count(database), count(database, "new")) == (1, 7)


def test_of_requests_that_share_a_commit_one_that_loses_takes_back_its_own_writes_alone(
    database: Database, throttle: str
) -> None:
    another = Write(ADD, {"key": "another", "window_ends_at": 1, "count": 0})
    batch = [[another, counted_up(was=99)], [counted_up(was=0)]]
    assert database.try_apply_all(batch) == [False, True]
    assert (count(database, "another"), count(database, throttle)) == (None, 1)


def test_a_hot_write_that_breaks_changes_nothing_and_the_next_one_works(
    database: Database, throttle: str
) -> None:
    twice = [counted_up(was=0), Write(ADD, {"key": "k", "window_ends_at": 1, "count": 0})]
    with pytest.raises(Exception, match=r"(?i)unique"):
        database.try_apply(twice)
    assert count(database) == 0
    assert database.try_apply([counted_up(was=0)]) is True


def test_of_many_that_race_one_wins(database: Database, throttle: str) -> None:
    begin = threading.Barrier(12)

    def race(round_: int) -> bool | None:
        begin.wait()
        return database.try_apply([counted_up(was=round_)])

    with ThreadPoolExecutor(12) as pool:
        for round_ in range(10):
            won = list(pool.map(race, [round_] * 12))
            assert sorted(map(bool, won)) == [False] * 11 + [True]
    assert count(database) == 10


def test_writes_of_both_kinds_lose_nothing_between_threads(
    database: Database, throttle: str
) -> None:
    add_one = HotStatement(update(Throttle).values(count=Throttle.count + 1), must_change=True)

    def hot() -> None:
        for _ in range(25):
            assert database.try_apply([Write(add_one, {})])

    def plain() -> None:
        for _ in range(25):
            with database.write() as connection:
                connection.execute(update(Throttle).values(count=Throttle.count + 1))

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(one) for one in (hot, plain) * 4]:
            future.result()
    assert count(database) == 200


# --- busy, full, gone -------------------------------------------------------------------------


def test_a_database_that_answers_pings(database: Database) -> None:
    database.ping()


def test_mistakes_are_not_called_an_outage(database: Database) -> None:
    def mistaken() -> None:
        with database.read() as connection:
            connection.execute(text("SELECT * FROM there_is_no_such_table"))

    with pytest.raises((OperationalError, ProgrammingError)):
        mistaken()
    nonsense = HotStatement(text("SELECT a FROM nowhere"))
    with pytest.raises(Exception, match="nowhere"):
        database.query(nonsense, {})


def test_errors_of_the_caller_are_not_called_an_outage(database: Database) -> None:
    def failing() -> None:
        with database.write():
            raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        failing()


@pytest.fixture
def postgres_work(clock: ManualClock) -> Iterator[Work]:
    from tests.harness import postgres

    with postgres.new_database() as url:
        made = make_work(url, clock)
        yield made
        made.database.close()


@pytest.mark.postgres
def test_a_lost_connection_is_an_outage_and_the_next_call_works(postgres_work: Work) -> None:
    database = postgres_work.database
    user = add_user(postgres_work)

    def cut_off() -> None:
        with database.write() as connection:
            connection.execute(select(User.id))
            with database.read() as other:
                other.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            connection.execute(select(User.id))

    with pytest.raises(Unavailable):
        cut_off()
    assert database.query(BY_ID, {"user_id": user}) is not None


@pytest.mark.postgres
@pytest.mark.parametrize(("fresh", "trips"), [(60.0, [1, 4]), (0.0, [2, 5])])
def test_a_connection_that_was_answered_a_moment_ago_is_not_asked_whether_it_stands(
    postgres_work: Work,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: float,
    trips: list[int],
) -> None:
    """A read is one trip to the server; a hot write is BEGIN, the statements, and COMMIT."""
    monkeypatch.setattr(postgresql, "FRESH_SECONDS", fresh)
    user = add_user(postgres_work)
    address = postgres_work.database.url.render_as_string(hide_password=False)
    database, found = Database(address, pool_size=1), []
    added = {"key": "k", "window_ends_at": 1, "count": 0}
    with (tmp_path / "said").open("w") as said:
        with database.read() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.pgconn.trace(said.fileno())
        for act in (
            lambda: database.query(BY_ID, {"user_id": user}),
            lambda: database.try_apply([Write(ADD, added), counted_up(was=0)]),
        ):
            before = asked(tmp_path / "said")
            assert act()
            found.append(asked(tmp_path / "said") - before)
    database.close()
    assert found == trips


def asked(trace: Path) -> int:
    """How often the server was waited for, as libpq notes what it sends."""
    return len(re.findall(r"\tF\t\d+\t(Query|Sync)\b", trace.read_text()))


@pytest.mark.postgres
def test_when_every_connection_is_lost_a_read_is_asked_again_and_the_others_are_asked_first(
    postgres_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "FRESH_SECONDS", 60.0)
    database, user = postgres_work.database, add_user(postgres_work)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(database.read()).execute(select(User.id))
    address = database.url.render_as_string(hide_password=False)
    other = Database(address, pool_size=1)
    with other.read() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    other.close()
    assert database.query(BY_ID, {"user_id": user}) is not None
    for _ in range(4):
        with database.write() as connection:
            connection.execute(update(User).values(status="disabled"))


@pytest.mark.postgres
def test_a_hot_query_on_a_lost_connection_is_an_outage(postgres_work: Work) -> None:
    suicide = HotStatement(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(Unavailable):
        postgres_work.database.query(suicide, {})
    postgres_work.database.ping()


@pytest.mark.postgres
def test_a_hot_query_is_planned_once_and_not_for_every_request(postgres_work: Work) -> None:
    """What psycopg has prepared it forgets at a ROLLBACK; so there is none."""
    database = Database(
        str(postgres_work.database.url.render_as_string(hide_password=False)), pool_size=1
    )
    user = add_user(postgres_work)
    for _ in range(15):
        assert database.query(BY_ID, {"user_id": user})
    with database.read() as connection:
        said = "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements"
        planned_once, planned_anew = connection.exec_driver_sql(said).one()
    # Five times it was not prepared yet, and five times it was planned for its values.
    assert (planned_once, planned_anew) == (5, 5)
    # The same connection takes part in transactions as before.
    disable = update(User).values(status="disabled")
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        connection.execute(disable)
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.scalar(select(User.status)) == "active"
    database.close()


@pytest.mark.postgres
def test_a_statement_without_end_is_an_outage(postgres_work: Work) -> None:
    def slow() -> None:
        with postgres_work.database.write() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 50"))
            connection.execute(text("SELECT pg_sleep(60)"))

    with pytest.raises(Unavailable):
        slow()


@pytest.mark.postgres
@pytest.mark.parametrize("fresh", [60.0, 0.0])
def test_a_connection_that_was_given_time_is_waited_for_as_any_other_when_it_is_used_again(
    postgres_work: Work, monkeypatch: pytest.MonkeyPatch, fresh: float
) -> None:
    """Whether or not it is asked first if it stands, which has a shorter limit."""
    monkeypatch.setattr(postgresql, "FRESH_SECONDS", fresh)
    address = postgres_work.database.url.render_as_string(hide_password=False)
    database = Database(address, pool_size=1)
    with database.restructure() as connection:
        taken: Any = connection.connection.dbapi_connection
        connection.execute(text("SELECT 1"))
        assert taken.patience is None
    with database.read() as connection:
        again: Any = connection.connection.dbapi_connection
        assert again is taken
        assert again.patience == postgresql.ANSWER_SECONDS
    database.close()


@pytest.mark.postgres
def test_a_server_that_never_answers_is_given_up_and_its_connection_closed(
    postgres_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FT-24: as one that was frozen, whose connections stand."""
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 0.2)
    address = postgres_work.database.url.render_as_string(hide_password=False)
    impatient = Database(address, pool_size=1)
    with impatient.read() as connection:
        first = connection.scalar(text("SELECT pg_backend_pid()"))
    with pytest.raises(Unavailable):
        impatient.query(HotStatement(text("SELECT pg_sleep(9)")), {})
    with impatient.read() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != first
    impatient.close()


@pytest.mark.postgres
def test_a_server_that_takes_connections_and_says_nothing_is_not_waited_for_by_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql, "LEFT_ALONE_SECONDS", 60.0)
    said = []
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        frozen = Database(f"postgresql+psycopg://user@127.0.0.1:{mute.getsockname()[1]}/none")
        for _ in range(2):
            with pytest.raises(Unavailable) as refused:
                frozen.ping()
            said.append(str(refused.value.detail))
        frozen.close()
    assert "timeout expired" in said[0]
    assert "nobody answered a moment ago" in said[1]


@pytest.mark.postgres
def test_what_is_answered_is_on_disk_whatever_the_server_is_set_to(postgres_work: Work) -> None:
    """N3: a commit that only memory knows is lost with the power."""
    address = postgres_work.database.url
    with postgres_work.database.write() as connection:
        connection.exec_driver_sql(
            f'ALTER DATABASE "{address.database}" SET synchronous_commit = off'
        )
    hasty = Database(address.render_as_string(hide_password=False))
    with hasty.read() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    hasty.close()


@pytest.mark.postgres
def test_a_server_that_became_a_replica_is_an_outage(postgres_work: Work) -> None:
    def writing() -> None:
        with postgres_work.database.write() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(update(User).values(locale="de"))

    with pytest.raises(Unavailable):
        writing()


@pytest.mark.postgres
def test_no_free_connection_is_an_outage(
    postgres_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = Database(postgres_work.database.url.render_as_string(hide_password=False), pool_size=1)
    monkeypatch.setattr(narrow.writing.pool, "_timeout", 0.05)
    with narrow.read():
        with pytest.raises(Unavailable):
            narrow.ping()
        with pytest.raises(Unavailable):
            narrow.query(BY_ID, {"user_id": "x"})
    narrow.ping()
    narrow.close()


@pytest.mark.postgres
def test_no_server_is_an_outage(tmp_path: Path) -> None:
    nowhere = Database(f"postgresql+psycopg://user@/none?host={tmp_path}")
    with pytest.raises(Unavailable):
        nowhere.ping()
    nowhere.close()


# --- SQLite alone -----------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Database]:
    """SQLite that waits 50 milliseconds for a lock instead of five seconds."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 50)
    made = make_work(f"sqlite:///{tmp_path / 'impatient.db'}", ManualClock()).database
    made.try_apply([Write(ADD, {"key": "k", "window_ends_at": 1, "count": 0})])
    yield made
    made.close()


def test_every_sqlite_connection_is_durable_and_careful(sqlite_work: Work) -> None:
    pragmas = ["synchronous", "foreign_keys", "journal_mode"]
    database = sqlite_work.database
    hot = [database.query(HotStatement(text(f"PRAGMA {one}")), {}) for one in pragmas]
    assert [row and row[0] for row in hot] == [2, 1, "wal"]
    for one, wanted in zip(pragmas, [2, 1, "wal"], strict=True):
        with database.read() as connection:
            assert connection.exec_driver_sql(f"PRAGMA {one}").scalar() == wanted
        with database.write() as connection:
            assert connection.exec_driver_sql(f"PRAGMA {one}").scalar() == wanted


def test_a_reading_connection_is_a_stable_snapshot(sqlite_work: Work) -> None:
    with sqlite_work.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(User)) == 0
        add_user(sqlite_work)
        assert connection.scalar(select(func.count()).select_from(User)) == 0


def test_a_lock_of_another_process_is_an_outage(impatient: Database) -> None:
    with sqlite3.connect(str(impatient.url.database), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable), impatient.write():
            pass
        with pytest.raises(Unavailable):
            impatient.try_apply([counted_up(was=0)])
        assert count(impatient) == 0, "reading goes on"
        other.execute("COMMIT")
    other.close()
    assert impatient.try_apply([counted_up(was=0)])


def test_a_writer_of_our_own_is_waited_for_but_not_for_ever(impatient: Database) -> None:
    with impatient.write() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(update(Throttle).values(count=5))

        def other() -> None:
            with impatient.write():
                pass

        with pytest.raises(Unavailable):
            pool.submit(other).result()
        assert pool.submit(impatient.try_apply, [counted_up(was=5)], wait=0).result() is None
        assert pool.submit(impatient.try_apply, [counted_up(was=5)], wait=0.01).result() is None
    assert impatient.try_apply([counted_up(was=5)], wait=0) is True


def test_a_transaction_in_a_transaction_is_said_to_be_a_mistake(sqlite_work: Work) -> None:
    def nested() -> None:
        with sqlite_work.begin(), sqlite_work.begin():
            pass

    with pytest.raises(RuntimeError, match="inside a transaction"):
        nested()
    add_user(sqlite_work)


def test_a_full_disk_is_an_outage_and_loses_nothing_else(impatient: Database) -> None:
    def fill() -> None:
        with impatient.write() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            for number in range(1_000):
                connection.execute(
                    insert(Throttle).values(
                        key=f"{number}" + "x" * 100, window_ends_at=1, count=number
                    )
                )

    with pytest.raises(Unavailable) as caught:
        fill()
    assert "full" in str(caught.value.detail)
    with impatient.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Throttle)) == 1


def test_a_read_only_database_is_an_outage(impatient: Database) -> None:
    def writing() -> None:
        with impatient.write() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.execute(update(Throttle).values(count=5))

    with pytest.raises(Unavailable) as caught:
        writing()
    assert "readonly" in str(caught.value.detail)


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear Sir or Madam, " * 1_000)
    broken = Database(f"sqlite:///{tmp_path / 'letter.db'}")
    with pytest.raises(Unavailable):
        broken.ping()
    broken.close()


def test_a_folder_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    missing = Database(f"sqlite:///{tmp_path / 'none' / 'test.db'}")
    with pytest.raises(Unavailable):
        missing.ping()
    with pytest.raises(Unavailable):
        missing.query(BY_ID, {"user_id": "x"})
    missing.close()


def test_a_checkpoint_empties_the_log(sqlite_work: Work) -> None:
    for _ in range(20):
        add_user(sqlite_work)
    log = Path(f"{sqlite_work.database.url.database}-wal")
    assert log.stat().st_size > 0
    sqlite_work.database.checkpoint()
    add_user(sqlite_work)
    # Once all of it has been moved, the log is written from its beginning again.
    size = log.stat().st_size
    for _ in range(3):
        sqlite_work.database.checkpoint()
        add_user(sqlite_work)
    assert log.stat().st_size == size


def test_closing_leaves_no_file_open(tmp_path: Path) -> None:
    work = make_work(f"sqlite:///{tmp_path / 'closing.db'}", ManualClock())
    user = add_user(work)
    ready, read = threading.Barrier(5), threading.Event()

    def reading() -> None:
        ready.wait()
        assert work.database.query(BY_ID, {"user_id": user})
        read.wait(10)

    threads = [threading.Thread(target=reading) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    read.set()
    for thread in threads:
        thread.join()
    work.database.close()
    held = [
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{number}")
    ]
    assert not [name for name in held if "closing.db" in name]


def test_writers_wait_in_a_queue_and_not_in_sqlites_sleep(sqlite_work: Work) -> None:
    """Fifty short writes of ten threads take as long as fifty short writes, not seconds."""

    def fifty() -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: add_user(sqlite_work), range(50)))
        return time.monotonic() - began

    assert least(5.0, fifty) < 5.0

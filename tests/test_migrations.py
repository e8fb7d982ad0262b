"""The schema's versions, on both databases: they lead up and down, and to what the models say."""

import json
from collections.abc import Iterator, Set
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from idp import app as application
from idp.storage import migrations
from idp.storage.columns import Base
from idp.storage.database import Database
from idp.users.model import Rule
from idp.users.rules import rule_id
from tests.harness import crowd, postgres
from tests.harness.provider import Idp, settings_for


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
        yield database
        database.close()
    else:
        with postgres.new_database() as url:
            database = Database(url)
            yield database
            database.close()


def tables(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_schema_goes_up_and_down_and_up_again(empty: Database) -> None:
    assert not migrations.is_current(empty)
    migrations.upgrade(empty)
    assert migrations.is_current(empty)
    assert tables(empty) == set(Base.metadata.tables)
    migrations.downgrade(empty, "base")
    assert tables(empty) == set()
    migrations.upgrade(empty)
    assert migrations.is_current(empty)


def test_the_migrations_lead_to_what_the_models_say(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_the_revisions_are_numbered_in_their_order() -> None:
    scripts = ScriptDirectory(str(migrations.folder("migrations")))
    assert migrations.revisions() == [one.revision for one in scripts.walk_revisions()][::-1]
    assert migrations.head() == scripts.get_current_head()


def test_an_upgrade_that_is_run_again_changes_nothing(empty: Database) -> None:
    migrations.upgrade(empty)
    assert migrations.upgrade(empty) == migrations.head()


@pytest.mark.attack("OP-07")
def test_sessions_and_grants_are_still_good_after_an_upgrade(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    migrations.upgrade(idp.work.database)
    assert idp.is_active(app, tokens["access_token"])
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200


def test_rules_of_roles_keep_whom_they_are_for(empty: Database) -> None:
    migrations.upgrade(empty)
    rules = sa.table(
        "rules",
        *(sa.column(name) for name in ("id", "kind", "applies_to", "role", "value", "version")),
        *(sa.column(name) for name in ("changed_at", "changed_by")),
    )
    same = {"kind": "limits", "version": 1, "changed_at": 1, "changed_by": "x"}
    written = [
        same | {"id": "a", "applies_to": "{}", "value": "1"},
        same | {"id": "b", "applies_to": '{"role":"nurse"}', "value": "2"},
        same | {"id": "c", "applies_to": '{"country":"FR"}', "value": "3"},
    ]
    with empty.writing.begin() as connection:
        connection.execute(sa.insert(rules), written)
    migrations.downgrade(empty, "0002")
    with empty.read() as connection:
        found = connection.execute(sa.select(rules.c.role, rules.c.value)).all()
    # One for a country would be one for everybody to the older version.
    assert sorted(found, key=lambda row: row.value) == [(None, "1"), ("nurse", "2")]
    migrations.upgrade(empty)
    with empty.read() as connection:
        rows = connection.execute(sa.select(rules.c.id, rules.c.applies_to, rules.c.value)).all()
    made = {json.dumps(json.loads(row.applies_to)): row for row in rows}
    assert {key: row.value for key, row in made.items()} == {"{}": "1", '{"role": "nurse"}': "2"}
    with Session(empty.reading) as orm:
        assert {rule.id for rule in orm.scalars(sa.select(Rule))} == {
            rule_id("limits", {}),
            rule_id("limits", {"role": "nurse"}),
        }


def test_every_step_down_and_up_again_keeps_what_both_sides_know(tmp_path: Path) -> None:
    """FT-22, with people, sessions and grants in the tables; on SQLite, which alters them by copies."""
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    migrations.upgrade(empty)
    work = application.assemble(settings_for(empty.url.render_as_string(hide_password=False)))
    crowd.gather(work, 100)
    work.database.close()
    known = migrations.revisions()
    steps = [*known[::-1][1:], *known[1:]]
    rows = contents(empty)
    assert len(rows["sessions"]) == 100
    for revision in steps:
        if revision < (at := current(empty)):
            migrations.downgrade(empty, revision)
        else:
            migrations.upgrade(empty, revision)
        found = contents(empty)
        for table in KEPT:
            assert found[table], f"{table} lost its rows from {at} to {revision}"
            shared = found[table][0].keys() & rows[table][0].keys()
            assert only(found[table], shared) == only(rows[table], shared), f"{at} to {revision}"
        rows = found
    assert migrations.is_current(empty)
    empty.close()


KEPT = ("users", "user_identifiers", "clients", "sessions", "authorizations")


def current(database: Database) -> str:
    with database.read() as connection:
        revision = migrations.current(connection)
    assert revision is not None
    return revision


def contents(database: Database) -> dict[str, list[dict[str, object]]]:
    """Every row of the tables that are always there, as they stand."""
    found = {}
    with database.read() as connection:
        for table in KEPT:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").mappings()
            found[table] = [dict(row) for row in rows]
    return found


def only(rows: list[dict[str, object]], columns: Set[str]) -> list[dict[str, object]]:
    return [{name: row[name] for name in columns} for row in rows]

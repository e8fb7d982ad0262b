"""The schema's versions, on both databases: they lead up and down, and to what the models say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from idp.storage import migrations
from idp.storage.columns import Base
from idp.storage.database import Database
from tests.harness import postgres
from tests.harness.provider import Idp


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


def test_sessions_and_grants_are_still_good_after_an_upgrade(either_idp: Idp) -> None:
    idp = either_idp
    app = idp.register()
    tokens = idp.grant(app, idp.session(idp.person()))
    migrations.upgrade(idp.work.database)
    assert idp.is_active(app, tokens["access_token"])
    assert idp.refresh(app, tokens["refresh_token"])[0] == 200

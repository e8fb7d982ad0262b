"""What one test leaves in a PostgreSQL database, the next one does not find."""

import pytest
import sqlalchemy as sa

from tests.harness.provider import Templates

pytestmark = pytest.mark.postgres


def done(url: str, *statements: str) -> str:
    """Carries them out; gives the name of the database."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
        name = str(connection.scalar(sa.text("SELECT current_database()")))
    engine.dispose()
    return name


def content(url: str) -> dict[str, object]:
    """How many rows each table has, and where the one sequence stands."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        tables = connection.scalars(
            sa.text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname !~ '^(pg|sql)_'")
        ).all()
        found: dict[str, object] = {
            name: connection.scalar(sa.text(f'SELECT count(*) FROM "{name}"')) for name in tables
        }
        sequence = sa.text("SELECT last_value, is_called FROM events_id_seq")
        found["next event"] = tuple(connection.execute(sequence).one())
        keys = sa.text("SELECT kid FROM signing_keys ORDER BY kid")
        found["keys"] = list(connection.scalars(keys))
    engine.dispose()
    return found


def test_a_database_that_is_used_again_has_the_rows_it_began_with(templates: Templates) -> None:
    with templates.postgres() as url:
        before = content(url)
        used = done(
            url,
            "SELECT nextval('events_id_seq')",
            "DELETE FROM signing_keys",
            "DELETE FROM roles",
        )
        assert content(url) != before
    with templates.postgres() as url:
        assert done(url) == used
        assert content(url) == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE roles ADD COLUMN more TEXT",
        "CREATE TABLE another (id INTEGER)",
        "CREATE INDEX another ON roles (permissions)",
        "ANALYZE roles",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    ],
)
def test_a_database_in_which_more_than_rows_has_changed_is_not_used_again(
    templates: Templates, change: str
) -> None:
    with templates.postgres() as url:
        used = done(url, change)
    with templates.postgres() as url:
        assert done(url) != used

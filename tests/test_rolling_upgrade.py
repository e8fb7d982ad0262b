"""Two versions side by side: what a revision of the schema leaves to the code before it (FT-22).

Nodes are upgraded one after the other, and the first changes the schema under the others. So a
revision only adds: what the older code reads is there, and what it writes, which names the columns
that it knows, is taken. The code of an older version is not run here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from idp.storage import migrations
from idp.storage.database import Database

# From before the first release: nobody runs these beside an older version. None is added to them.
BEFORE_THE_FIRST_RELEASE = {
    "0003": ["rules.applies_to must be given", "rules.role is gone"],
    "0010": ["sessions.kept must be given", "sessions.trusted is gone"],
}


@dataclass
class Schema:
    """What older code relies on, by table."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    unique: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    checks: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)


def schema_of(database: Database) -> Schema:
    found = Schema()
    with database.read() as connection:
        known = sa.inspect(connection)
        for table in known.get_table_names():
            found.columns[table] = {one["name"]: one for one in known.get_columns(table)}
            found.unique[table] = {
                tuple(one["column_names"]) for one in known.get_unique_constraints(table)
            } | {
                tuple(str(name) for name in one["column_names"])
                for one in known.get_indexes(table)
                if one["unique"]
            }
            found.checks[table] = {one["sqltext"] for one in known.get_check_constraints(table)}
            found.keys[table] = {
                tuple(one["constrained_columns"]) for one in known.get_foreign_keys(table)
            }
    return found


def taken_from(before: Schema, after: Schema) -> list[str]:
    """What code that was written for `before` misses, or is refused, in `after`."""
    problems = [f"table {table} is gone" for table in before.columns.keys() - after.columns.keys()]
    for table in before.columns.keys() & after.columns.keys():
        old, new = before.columns[table], after.columns[table]
        problems += [f"{table}.{name} is gone" for name in old.keys() - new.keys()]
        for name in new.keys() - old.keys():
            if not new[name]["nullable"] and new[name]["default"] is None:
                problems.append(f"{table}.{name} must be given")
        for name in old.keys() & new.keys():
            if old[name]["nullable"] and not new[name]["nullable"]:
                problems.append(f"{table}.{name} may not be NULL any more")
            if _room(new[name]) < _room(old[name]):
                problems.append(f"{table}.{name} is narrower")
            if old[name]["default"] is not None and new[name]["default"] is None:
                problems.append(f"{table}.{name} has lost its default")
        for what in ("unique", "checks", "keys"):
            for rule in getattr(after, what)[table] - getattr(before, what)[table]:
                if what == "unique" and any(set(one) <= set(rule) for one in before.unique[table]):
                    continue  # less than was asked before
                if what == "checks" or set(rule) <= old.keys():
                    problems.append(f"{table}: a further rule ({what}) for {rule}")
    return sorted(problems)


def _room(column: dict[str, Any]) -> float:
    return getattr(column["type"], "length", None) or float("inf")


def test_a_revision_leaves_what_the_one_before_needs(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'steps.db'}")
    before, found = Schema(), {}
    for revision in migrations.revisions():
        migrations.upgrade(database, revision)
        after = schema_of(database)
        if problems := taken_from(before, after):
            found[revision] = problems
        before = after
    database.close()
    assert found == BEFORE_THE_FIRST_RELEASE


@pytest.mark.parametrize(
    ("statement", "problems"),
    [
        ("CREATE TABLE further (id INTEGER)", []),
        ("CREATE INDEX ix ON things (name)", []),
        ("CREATE UNIQUE INDEX ix ON things (id, name)", []),
        ("ALTER TABLE things ADD COLUMN further VARCHAR(10)", []),
        ("ALTER TABLE things ADD COLUMN further INTEGER DEFAULT 0 NOT NULL", []),
        ("ALTER TABLE things DROP COLUMN name", ["things.name is gone"]),
        (
            "ALTER TABLE things RENAME COLUMN name TO title",
            ["things.name is gone", "things.title must be given"],
        ),
        ("DROP TABLE things", ["table things is gone"]),
        (
            "CREATE UNIQUE INDEX ix ON things (name)",
            ["things: a further rule (unique) for ('name',)"],
        ),
    ],
)
def test_what_older_code_would_miss_is_found(
    tmp_path: Path, statement: str, problems: list[str]
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE things (id INTEGER, name VARCHAR(10) NOT NULL)"))
        connection.execute(sa.text("CREATE UNIQUE INDEX ix_id ON things (id)"))
    before = schema_of(database)
    with database.write() as connection:
        connection.execute(sa.text(statement))
    assert taken_from(before, schema_of(database)) == problems
    database.close()

"""What of SQL is PostgreSQL's own and used here: README says how a distributed one takes each of it."""

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from idp import app
from idp.storage.columns import Base

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SOURCES = [path for folder in ("idp", "migrations") for path in (ROOT / folder).rglob("*.py")]
assert app, "with it come all tables"
# Programs that a backup calls, and a table that says who is connected.
NOT_FUNCTIONS = {"pg_dump", "pg_restore", "pg_stat_activity"}


def locks(tree: ast.AST) -> Iterator[str]:
    """The locks that a module asks for, as PostgreSQL spells them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {one.arg: one.value for one in node.keywords}
        if called in ("with_for_update", "ForUpdateArg"):
            # What is handed on from such a value was counted where that was made.
            if not any(isinstance(value, ast.Attribute) for value in given.values()):
                yield _lock(given.keys())
            yield from (name for name in ("skip_locked", "nowait") if name in given)
        elif isinstance(given.get("with_for_update"), ast.Constant):
            yield "FOR UPDATE"


def _lock(arguments: Collection[str | None]) -> str:
    strength = {
        (False, False): "FOR UPDATE",
        (False, True): "FOR NO KEY UPDATE",
        (True, False): "FOR SHARE",
        (True, True): "FOR KEY SHARE",
    }
    return strength["read" in arguments, "key_share" in arguments]


def used() -> set[str]:
    """Everything of it that the product and its migrations use."""
    found: set[str] = set()
    for path in SOURCES:
        text = path.read_text()
        tree = ast.parse(text)
        found.update(one.upper().replace("_", " ") for one in locks(tree))
        found.update(set(re.findall(r"\bpg_[a-z_]+\b", text)) - NOT_FUNCTIONS)
        found.update(re.findall(r"\bclock_timestamp\b", text))
        for construct, pattern in (
            ("ON CONFLICT", r"\.on_conflict_do_"),
            ("RETURNING", r"\.returning\("),
            ('COLLATE "C"', r"collation=\"C\""),
            ("LATERAL", r"\.lateral\("),
            ("statement_timeout", r"statement_timeout"),
        ):
            if re.search(pattern, text):
                found.add(construct)
    for table in Base.metadata.tables.values():
        for index in table.indexes:
            if index.dialect_options["postgresql"]["where"] is not None:
                found.add("CREATE INDEX … WHERE")
            if index.dialect_options["postgresql"]["using"] not in (False, None):
                found.add("CREATE INDEX … USING")
    return found


def listed() -> set[str]:
    """What README's table names; a row may name several things."""
    section = README.partition("### On a distributed PostgreSQL")[2].partition("\n## ")[0]
    names = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ")]
    return {name for cell in names[1:] for name in re.findall(r"`([^`]+)`", cell)}


def test_readme_names_all_of_sql_that_is_postgresqls_own() -> None:
    assert listed() == used()

"""What a test process has compiled once: templates, statements, translations.

Every test has a provider of its own, and each would compile the same again: a page costs a fifth of
a second, a first statement some milliseconds. In the product a process has one provider, so there
is nothing to keep. Only what does not depend on settings is shared.
"""

import functools
from typing import Any

import jinja2
import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from idp.notify import letters
from idp.storage import database
from idp.web import render

# Compiled statements that are kept; all of the suite have room.
STATEMENTS = 5_000


class _Bytecode(jinja2.BytecodeCache):
    """The compiled templates of every environment, by file, content and language: what a template
    says stands in what is compiled (`idp.web.said_once`)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Any) -> None:
        if (known := self._kept.get(_named(bucket))) is not None:
            bucket.bytecode_from_string(known)

    def dump_bytecode(self, bucket: Any) -> None:
        self._kept[_named(bucket)] = bucket.bytecode_to_string()


def _named(bucket: Any) -> tuple[str, str]:
    return str(bucket.environment.globals["lang"]), str(bucket.key)


def keep() -> None:
    """From here on, in this process."""
    environment = functools.partial(jinja2.Environment, bytecode_cache=_Bytecode())
    for module in (letters, render):
        module.Environment = environment  # type: ignore[attr-defined]
    database.create_engine = _Engines(database.create_engine)  # type: ignore[attr-defined]


class _Engines:
    """Makes engines that know the statements of those before them.

    A compiled statement belongs to the dialect that compiled it, so they share that as well.
    """

    def __init__(self, create_engine: Any) -> None:
        self._create_engine = create_engine
        self._dialects: dict[str, sa.Dialect] = {}
        self._statements: dict[str, LRUCache[Any, Any]] = {}

    def __call__(self, url: Any, **options: Any) -> sa.Engine:
        engine: sa.Engine = self._create_engine(url, **options)
        kind = engine.dialect.name
        known = self._dialects.get(kind)
        # One that never reached its database does not know yet what that can do.
        if known is None or known.server_version_info is None:
            self._dialects[kind] = engine.dialect
            self._statements[kind] = LRUCache(STATEMENTS)
        else:
            engine.dialect = known
        engine._compiled_cache = self._statements[kind]
        return engine

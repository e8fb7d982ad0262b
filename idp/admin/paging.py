"""Cursors: where the next page of a list begins, sealed so that nobody can make one.

A cursor holds the sort key of the last row that was shown (keyset paging: page 1,000 costs what page
1 does) and opens only for the operation and question it was made for.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Tuple, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from idp import ids
from idp.admin.operation import Call
from idp.admin.schemas import Model, PageQuery
from idp.errors import Refused
from idp.storage.vault import Unreadable


def after(call: Call, query: PageQuery) -> list[Any] | None:
    """The sort key behind which the page begins; None for the first one.

    Raises `Refused` (`invalid_page_token`) for a cursor of another question, or none of ours.
    """
    if query.page_token is None:
        return None
    try:
        opened = call.unit.vault.open_text(query.page_token, _context(call, query))
    except (Unreadable, UnicodeError):
        raise Refused(
            "invalid_page_token", "This page token is not one for this question.", 400
        ) from None
    key: list[Any] = orjson.loads(opened)
    return key


def next_token(call: Call, query: PageQuery, key: Sequence[Any] | None) -> str | None:
    """The cursor behind `key`; None when there is nothing behind it."""
    if key is None:
        return None
    return call.unit.vault.seal_text(orjson.dumps(list(key)).decode(), _context(call, query))


def above(columns: Sequence[InstrumentedAttribute[Any]], key: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after `key` in ascending order."""
    return tuple_(*columns) > _typed(columns, key)


def below(columns: Sequence[InstrumentedAttribute[Any]], key: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after `key` in descending order."""
    return tuple_(*columns) < _typed(columns, key)


def _typed(columns: Sequence[InstrumentedAttribute[Any]], key: Sequence[Any]) -> Tuple:
    """A sort key with its types: PostgreSQL would take a moment for a small number."""
    return tuple_(*(literal(one, column.type) for column, one in zip(columns, key, strict=True)))


def _context(call: Call, query: Model) -> str:
    asked = query.model_dump(exclude={"page_size", "page_token"})
    said = orjson.dumps(
        [call.operation.name, dict(call.params), asked], option=orjson.OPT_SORT_KEYS
    )
    return f"cursor:{ids.digest(said.decode())}"

"""Column types that mean the same on SQLite and PostgreSQL, and the declarative base.

JSON is stored as text: raw drivers then return the same thing on both databases, and the hot path
decodes only what it needs.
"""

from typing import Any

import orjson
from sqlalchemy import BigInteger, Dialect, Integer, MetaData, Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.selectable import ForUpdateArg
from sqlalchemy.types import TypeDecorator


class Base(DeclarativeBase):
    """Every table of the product hangs on this metadata."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class Json(TypeDecorator[Any]):
    """A JSON value in a text column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


# SQLite only counts rows up by itself for INTEGER; PostgreSQL needs BIGINT to hold what we put in.
RowNumber = BigInteger().with_variant(Integer, "sqlite")
Microseconds = BigInteger
# For locking people and sessions. Whoever adds a row that refers to one takes a share of its key, so
# a lock that wants the key as well (plain FOR UPDATE) and the one of another row are a deadlock.
LOCKED = ForUpdateArg(key_share=True)

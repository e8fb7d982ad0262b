"""Time, as the whole product knows it.

An `Instant` is an integer: microseconds since 1970-01-01T00:00:00Z. Integers compare the same in
Python, SQLite and PostgreSQL, carry no time zone to get wrong, and round down to the whole seconds
that JWT claims want (RFC 7519 section 2, NumericDate). The clock is a value that is passed in; only
tests replace it.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

Instant = int
Duration = int

SECOND: Duration = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Where the current time comes from."""

    def now(self) -> Instant: ...


class SystemClock:
    """The machine's clock in UTC."""

    def now(self) -> Instant:
        return time.time_ns() // 1000


def to_seconds(instant: Instant) -> int:
    """Whole seconds since the epoch, rounded down so that a token is valid the moment it is made."""
    return instant // SECOND


def to_datetime(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant / SECOND, tz=UTC)


def to_rfc3339(instant: Instant) -> str:
    """RFC 3339 in UTC with whole seconds, as every API of ours writes time."""
    return to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> Instant:
    """The instant that `to_rfc3339` wrote, without what it left out."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND

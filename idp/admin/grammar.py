"""The grammar of filters: terms such as `country:FR` and `created>2026-11-01`, all of which must hold.

Pure. Owns how terms are written and read, and moments in them. Which keys there are and what they mean
is `session_filter` and `event_filter`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from idp.clock import Instant, to_rfc3339
from idp.errors import Refused
from idp.policy import network
from idp.policy.network import Network

TEXT_MAXIMUM = 1_000
VALUE_MAXIMUM = 320
# Key, comparison, value.
Term = tuple[str, str, str]
_TERM = re.compile(r"([a-z]+)(<=|>=|:|<|>)(\S+)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time: from `since` (included) until `before` (not included)."""

    since: Instant | None = None
    before: Instant | None = None


ALWAYS = Range()


def terms(text: str) -> list[Term]:
    """The terms of a text; raises `Refused` (`invalid_filter`) with the word that cannot be one."""
    if len(text) > TEXT_MAXIMUM:
        raise invalid(f"A filter has at most {TEXT_MAXIMUM} characters.")
    found = []
    for word in text.split():
        term = _TERM.fullmatch(word)
        if term is None:
            raise invalid(f"“{word[:40]}” is not key:value, such as country:FR.")
        found.append((term[1], term[2], term[3]))
    return found


def terms_of_values(values: Mapping[str, str]) -> list[Term]:
    """Terms that came one by one; `created_after` and the like stand for the comparisons."""
    found = []
    for name, value in values.items():
        key, _, side = name.partition("_")
        found.append((key, {"": ":", "after": ">=", "before": "<"}[side], value))
    return found


def require_readable(key: str, value: str) -> None:
    """Raises `Refused` for a value that could not be read again: a space would begin a new term."""
    if len(value) > VALUE_MAXIMUM or " " in value or not value.isprintable():
        raise invalid(f"The value of {key[:40]} is too long, or cannot be read.")


def narrowed(stretch: Range, key: str, comparison: str, value: str) -> Range:
    """A stretch of time cut by one more term; each direction stands once."""
    at = _moment(key, value)
    if comparison in (">", ">="):
        if stretch.since is not None:
            raise invalid(f"{key} stands there twice.")
        return replace(stretch, since=at if comparison == ">=" else at + 1)
    if comparison in ("<", "<="):
        if stretch.before is not None:
            raise invalid(f"{key} stands there twice.")
        return replace(stretch, before=at if comparison == "<" else at + 1)
    raise invalid(f"{key} is compared with a moment, such as {key}>2026-11-01.")


def written_range(key: str, stretch: Range) -> list[str]:
    """A stretch of time as terms."""
    found = []
    if stretch.since is not None:
        found.append(f"{key}>={_written_moment(stretch.since)}")
    if stretch.before is not None:
        found.append(f"{key}<{_written_moment(stretch.before)}")
    return found


def ip(value: str) -> Network:
    """An address or a network."""
    found = network.parsed(value)
    if found is None:
        raise invalid("ip is an address or a network, such as 10.0.0.0/8.")
    return found


def invalid(sentence: str) -> Refused:
    return Refused("invalid_filter", sentence, 400)


def _moment(key: str, value: str) -> Instant:
    """A day (its first moment in UTC) or a moment (RFC 3339)."""
    if not (_DAY.fullmatch(value) or _MOMENT.fullmatch(value)):
        raise invalid(f"{key} is compared with a moment, such as 2026-11-01T09:00:00Z.")
    try:
        read = datetime.fromisoformat(value)
        at = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
        since_epoch = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid(f"There is no such moment as {value}.") from None
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


def _written_moment(at: Instant) -> str:
    whole, part = divmod(at, 1_000_000)
    written = to_rfc3339(whole * 1_000_000)
    return written if part == 0 else f"{written[:-1]}.{part:06d}Z"

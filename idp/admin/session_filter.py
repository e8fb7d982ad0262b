"""Which sessions are meant: one grammar for the API, the command line and the page.

A filter is a list of terms, `key:value`, all of which must hold:

    user:anna ip:10.0.0.0/8 country:FR device:phone client:cli_… acr<aal2 created>2026-11-01

Moments and levels are compared by `<`, `<=`, `>` and `>=` as well; a key stands once, a moment once in
each direction. Terms may also come one by one, as the parameters of an address or the members of a
JSON object. Either way they become one frozen `SessionFilter`, whose `text` is the grammar again.

Pure: names are looked up, and rows are found, in `session_search`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

from idp.clock import Instant, to_rfc3339
from idp.errors import Refused
from idp.policy import network
from idp.policy.assurance import LADDER
from idp.policy.network import Network
from idp.policy.selection import DEVICE_TYPES
from idp.sessions.lifecycle import EndReason

TEXT_MAXIMUM = 1_000
VALUE_MAXIMUM = 320
STATES = ("active", "ended", "all")
REASONS: tuple[str, ...] = get_args(EndReason)
MOMENTS = ("created", "active", "ended")
_TERM = re.compile(r"([a-z]+)(<=|>=|:|<|>)(\S+)")
_COUNTRY = re.compile(r"[A-Z]{2}")
_ORIGIN = re.compile(r"[a-z_]{1,16}")
_AUTONOMOUS_SYSTEM = re.compile(r"(?:AS)?([0-9]{1,10})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time: from `since` (included) until `before` (not included)."""

    since: Instant | None = None
    before: Instant | None = None


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What a session must be like; None means that it does not matter."""

    # A user's id, user name or e-mail address.
    user: str | None = None
    ip: Network | None = None
    asn: int | None = None
    country: str | None = None
    device: str | None = None
    client: str | None = None
    # The levels that will do, in order of the ladder.
    acr: tuple[str, ...] | None = None
    origin: str | None = None
    reason: str | None = None
    state: str = "active"
    created: Range = Range()
    active: Range = Range()
    ended: Range = Range()

    @property
    def is_empty(self) -> bool:
        """Whether every session is meant; which of them run does not narrow it."""
        return replace(self, state="active") == SessionFilter()

    @property
    def text(self) -> str:
        """The filter in the grammar, in one order, so that equal filters read alike."""
        return " ".join(_written(self))


def parse(text: str) -> SessionFilter:
    """Reads a filter; raises `Refused` (`invalid_filter`) with the word that cannot be one."""
    if len(text) > TEXT_MAXIMUM:
        raise _invalid(f"A filter has at most {TEXT_MAXIMUM} characters.")
    terms = []
    for word in text.split():
        term = _TERM.fullmatch(word)
        if term is None:
            raise _invalid(f"“{word[:40]}” is not key:value, such as country:FR.")
        terms.append((term[1], term[2], term[3]))
    return of_terms(terms)


def of_values(values: Mapping[str, str], text: str | None = None) -> SessionFilter:
    """A filter of terms that came one by one, and of those in `text` besides.

    Keys are those of the grammar; `created_after` and the like stand for the comparisons.
    """
    terms = []
    for name, value in values.items():
        key, _, side = name.partition("_")
        terms.append((key, {"": ":", "after": ">=", "before": "<"}[side], value))
    written = parse(text) if text else SessionFilter()
    return of_terms([*_terms_of(written), *terms])


def of_terms(terms: Iterable[tuple[str, str, str]]) -> SessionFilter:
    """The filter of these (key, comparison, value); raises `Refused` (`invalid_filter`)."""
    found: dict[str, Any] = {}
    for key, comparison, value in terms:
        # The text is read again where it is carried out: a space in a value would begin a new term.
        if len(value) > VALUE_MAXIMUM or " " in value or not value.isprintable():
            raise _invalid(f"The value of {key} is too long, or cannot be read.")
        if key in MOMENTS:
            found[key] = _narrowed(found.get(key, Range()), key, comparison, value)
            continue
        if key not in _READERS:
            raise _invalid(f"There is no {key[:40]}; there is {', '.join((*_READERS, *MOMENTS))}.")
        if key in found:
            raise _invalid(f"{key} stands there twice.")
        if key == "acr":
            found[key] = _levels(comparison, value)
        elif comparison != ":":
            raise _invalid(f"{key} cannot be compared: write {key}:value.")
        else:
            found[key] = _READERS[key](value)
    # Only sessions that are over have these.
    is_over = "reason" in found or "ended" in found
    if is_over and found.setdefault("state", "ended") == "active":
        raise _invalid("A session that runs has not ended: leave state:active out.")
    return SessionFilter(**found)


def _terms_of(meant: SessionFilter) -> list[tuple[str, str, str]]:
    return [(term[1], term[2], term[3]) for word in _written(meant) if (term := _TERM.match(word))]


def _written(meant: SessionFilter) -> Iterable[str]:
    for key in ("user", "ip", "asn", "country", "device", "client"):
        value = getattr(meant, key)
        if value is not None:
            yield f"{key}:{value}"
    if meant.acr is not None:
        yield from _written_levels(meant.acr)
    for key in ("origin", "reason"):
        if getattr(meant, key) is not None:
            yield f"{key}:{getattr(meant, key)}"
    if meant.state != "active":
        yield f"state:{meant.state}"
    for key in MOMENTS:
        stretch: Range = getattr(meant, key)
        if stretch.since is not None:
            yield f"{key}>={_written_moment(stretch.since)}"
        if stretch.before is not None:
            yield f"{key}<{_written_moment(stretch.before)}"


def _written_levels(levels: tuple[str, ...]) -> Iterable[str]:
    if len(levels) == 1:
        yield f"acr:{levels[0]}"
    elif levels == LADDER[: len(levels)]:
        yield f"acr<={levels[-1]}"
    else:
        yield f"acr>={levels[0]}"


def _written_moment(at: Instant) -> str:
    whole, part = divmod(at, 1_000_000)
    written = to_rfc3339(whole * 1_000_000)
    return written if part == 0 else f"{written[:-1]}.{part:06d}Z"


def _levels(comparison: str, value: str) -> tuple[str, ...]:
    if value not in LADDER:
        raise _invalid(f"acr is one of: {', '.join(LADDER)}.")
    rank = LADDER.index(value)
    meant = {
        ":": LADDER[rank : rank + 1],
        "<": LADDER[:rank],
        "<=": LADDER[: rank + 1],
        ">": LADDER[rank + 1 :],
        ">=": LADDER[rank:],
    }[comparison]
    if not meant:
        raise _invalid(f"No level is acr{comparison}{value}.")
    return meant


def _narrowed(stretch: Range, key: str, comparison: str, value: str) -> Range:
    at = _moment(key, value)
    if comparison in (">", ">="):
        if stretch.since is not None:
            raise _invalid(f"{key} stands there twice.")
        return replace(stretch, since=at if comparison == ">=" else at + 1)
    if comparison in ("<", "<="):
        if stretch.before is not None:
            raise _invalid(f"{key} stands there twice.")
        return replace(stretch, before=at if comparison == "<" else at + 1)
    raise _invalid(f"{key} is compared with a moment, such as {key}>2026-11-01.")


def _moment(key: str, value: str) -> Instant:
    """A day (its first moment in UTC) or a moment (RFC 3339)."""
    if not (_DAY.fullmatch(value) or _MOMENT.fullmatch(value)):
        raise _invalid(f"{key} is compared with a moment, such as 2026-11-01T09:00:00Z.")
    try:
        read = datetime.fromisoformat(value)
        at = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
        since_epoch = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _invalid(f"There is no such moment as {value}.") from None
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


def _ip(value: str) -> Network:
    found = network.parsed(value)
    if found is None:
        raise _invalid("ip is an address or a network, such as 10.0.0.0/8.")
    return found


def _asn(value: str) -> int:
    found = _AUTONOMOUS_SYSTEM.fullmatch(value)
    if found is None:
        raise _invalid("asn is the number of a network, such as AS64496.")
    return int(found[1])


def _country(value: str) -> str:
    if not _COUNTRY.fullmatch(value):
        raise _invalid("country is two capital letters, such as FR.")
    return value


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise _invalid("origin is a word such as browser or device.")
    return value


def _one_of(key: str, allowed: tuple[str, ...]) -> Any:
    def read(value: str) -> str:
        if value not in allowed:
            raise _invalid(f"{key} is one of: {', '.join(allowed)}.")
        return value

    return read


_READERS: dict[str, Any] = {
    "user": str,
    "ip": _ip,
    "asn": _asn,
    "country": _country,
    "device": _one_of("device", DEVICE_TYPES),
    "client": str,
    "acr": None,
    "origin": _origin,
    "reason": _one_of("reason", REASONS),
    "state": _one_of("state", STATES),
}


def _invalid(sentence: str) -> Refused:
    return Refused("invalid_filter", sentence, 400)

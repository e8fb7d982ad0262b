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
from typing import Any, get_args

from idp.admin import grammar
from idp.admin.grammar import ALWAYS, Range, Term, invalid
from idp.policy.assurance import LADDER
from idp.policy.network import Network
from idp.policy.selection import DEVICE_TYPES
from idp.sessions.endings import EndReason

STATES = ("active", "ended", "all")
REASONS: tuple[str, ...] = get_args(EndReason)
MOMENTS = ("created", "active", "ended")
_COUNTRY = re.compile(r"[A-Z]{2}")
_ORIGIN = re.compile(r"[a-z_]{1,16}")
_AUTONOMOUS_SYSTEM = re.compile(r"(?:AS)?([0-9]{1,10})")


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
    created: Range = ALWAYS
    active: Range = ALWAYS
    ended: Range = ALWAYS

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
    return of_terms(grammar.terms(text))


def of_values(values: Mapping[str, str], text: str | None = None) -> SessionFilter:
    """A filter of terms that came one by one, and of those in `text` besides.

    Keys are those of the grammar; `created_after` and the like stand for the comparisons.
    """
    return of_terms([*grammar.terms(text or ""), *grammar.terms_of_values(values)])


def of_terms(terms: Iterable[Term]) -> SessionFilter:
    """The filter of these (key, comparison, value); raises `Refused` (`invalid_filter`)."""
    found: dict[str, Any] = {}
    for key, comparison, value in terms:
        # The text is read again where it is carried out.
        grammar.require_readable(key, value)
        if key in MOMENTS:
            found[key] = grammar.narrowed(found.get(key, ALWAYS), key, comparison, value)
            continue
        if key not in _READERS:
            raise invalid(f"There is no {key[:40]}; there is {', '.join((*_READERS, *MOMENTS))}.")
        if key in found:
            raise invalid(f"{key} stands there twice.")
        if key == "acr":
            found[key] = _levels(comparison, value)
        elif comparison != ":":
            raise invalid(f"{key} cannot be compared: write {key}:value.")
        else:
            found[key] = _READERS[key](value)
    # Only sessions that are over have these.
    is_over = "reason" in found or "ended" in found
    if is_over and found.setdefault("state", "ended") == "active":
        raise invalid("A session that runs has not ended: leave state:active out.")
    return SessionFilter(**found)


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
        yield from grammar.written_range(key, getattr(meant, key))


def _written_levels(levels: tuple[str, ...]) -> Iterable[str]:
    if len(levels) == 1:
        yield f"acr:{levels[0]}"
    elif levels == LADDER[: len(levels)]:
        yield f"acr<={levels[-1]}"
    else:
        yield f"acr>={levels[0]}"


def _levels(comparison: str, value: str) -> tuple[str, ...]:
    if value not in LADDER:
        raise invalid(f"acr is one of: {', '.join(LADDER)}.")
    rank = LADDER.index(value)
    meant = {
        ":": LADDER[rank : rank + 1],
        "<": LADDER[:rank],
        "<=": LADDER[: rank + 1],
        ">": LADDER[rank + 1 :],
        ">=": LADDER[rank:],
    }[comparison]
    if not meant:
        raise invalid(f"No level is acr{comparison}{value}.")
    return meant


def _asn(value: str) -> int:
    found = _AUTONOMOUS_SYSTEM.fullmatch(value)
    if found is None:
        raise invalid("asn is the number of a network, such as AS64496.")
    return int(found[1])


def _country(value: str) -> str:
    if not _COUNTRY.fullmatch(value):
        raise invalid("country is two capital letters, such as FR.")
    return value


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise invalid("origin is a word such as browser or device.")
    return value


def _one_of(key: str, allowed: tuple[str, ...]) -> Any:
    def read(value: str) -> str:
        if value not in allowed:
            raise invalid(f"{key} is one of: {', '.join(allowed)}.")
        return value

    return read


_READERS: dict[str, Any] = {
    "user": str,
    "ip": grammar.ip,
    "asn": _asn,
    "country": _country,
    "device": _one_of("device", DEVICE_TYPES),
    "client": str,
    "acr": None,
    "origin": _origin,
    "reason": _one_of("reason", REASONS),
    "state": _one_of("state", STATES),
}

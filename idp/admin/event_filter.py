"""Which events are meant: terms of the grammar, for the API, the command line and the page.

    type:session.* user:anna by:usr_… actor:admin session:ses_… client:cli_… ip:10.0.0.0/8 at>2026-11-01

Pure: names are looked up, and rows are found, in `event_search`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idp.admin import grammar
from idp.admin.grammar import ALWAYS, Range, Term, invalid
from idp.events import catalogue
from idp.policy.network import Network

ACTORS = ("user", "admin", "client", "system")
# What one may ask for before a dot: `session.*`.
AREAS: tuple[str, ...] = tuple(sorted({one.type.partition(".")[0] for one in catalogue.ALL}))
_TYPE = re.compile(r"[a-z_]{1,40}\.(\*|[a-z_]{1,40})")
_WORD = re.compile(r"[A-Za-z0-9._~:-]{1,64}")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What an event must be like; None means that it does not matter."""

    # One type, or all of an area: `session.*`.
    type: str | None = None
    # Whom it concerns: an id (also of somebody who was deleted), user name or e-mail address.
    user: str | None = None
    session: str | None = None
    client: str | None = None
    # What kind of somebody did it, and who.
    actor: str | None = None
    by: str | None = None
    ip: Network | None = None
    reason: str | None = None
    at: Range = ALWAYS

    @property
    def text(self) -> str:
        """The filter in the grammar, in one order, so that equal filters read alike."""
        written = [
            f"{key}:{value}" for key in _READERS if (value := getattr(self, key)) is not None
        ]
        return " ".join([*written, *grammar.written_range("at", self.at)])


def of_values(values: Mapping[str, str], text: str | None = None) -> EventFilter:
    """A filter of terms that came one by one (`at_after` and `at_before` for the time), and of those
    in `text` besides; raises `Refused` (`invalid_filter`).
    """
    return of_terms([*grammar.terms(text or ""), *grammar.terms_of_values(values)])


def of_terms(terms: Iterable[Term]) -> EventFilter:
    """The filter of these (key, comparison, value); raises `Refused` (`invalid_filter`)."""
    found: dict[str, Any] = {}
    for key, comparison, value in terms:
        grammar.require_readable(key, value)
        if key == "at":
            found[key] = grammar.narrowed(found.get(key, ALWAYS), key, comparison, value)
        elif key not in _READERS:
            raise invalid(f"There is no {key[:40]}; there is {', '.join((*_READERS, 'at'))}.")
        elif key in found:
            raise invalid(f"{key} stands there twice.")
        elif comparison != ":":
            raise invalid(f"{key} cannot be compared: write {key}:value.")
        else:
            found[key] = _READERS[key](value)
    return EventFilter(**found)


def _type(value: str) -> str:
    if not _TYPE.fullmatch(value):
        raise invalid("type is a kind of event, such as session.ended, or session.* for an area.")
    return value


def _word(key: str) -> Any:
    def read(value: str) -> str:
        if not _WORD.fullmatch(value):
            raise invalid(f"{key} is an id or a word, such as those that events show.")
        return value

    return read


def _actor(value: str) -> str:
    if value not in ACTORS:
        raise invalid(f"actor is one of: {', '.join(ACTORS)}.")
    return value


_READERS: dict[str, Any] = {
    "type": _type,
    "user": str,
    "session": _word("session"),
    "client": _word("client"),
    "actor": _actor,
    "by": str,
    "ip": grammar.ip,
    "reason": _word("reason"),
}

"""What may change inside a session, and what is answered (B2, B3, SE-16).

Pure. A session is compared with where and on what it was used last: its address, the network and the
country of that address, and the device (browser and system by name, and the number we gave the
browser). What is not known on one side is not a change, but for that number: whoever has a session's
cookie without it took one cookie and not the browser. Phones roam and addresses are handed out anew,
so a new address or network goes on by default; another country within one session, or another device
with one cookie, is answered by asking for a proof.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from idp.policy.selection import Book, Subject, chosen

# From the mildest to the sternest. "reauthenticate" asks for everything that the person has, "mfa"
# for two factors also of those who have one.
Answer = Literal["continue", "reauthenticate", "mfa", "end"]
ANSWERS: tuple[Answer, ...] = ("continue", "reauthenticate", "mfa", "end")
# The most telling first.
Change = Literal["device", "country", "network", "ip"]
CHANGES: tuple[Change, ...] = ("device", "country", "network", "ip")
DEFAULTS: Mapping[Change, Answer] = {
    "device": "reauthenticate",
    "country": "reauthenticate",
    "network": "continue",
    "ip": "continue",
}
_VERSION = re.compile(r" [0-9][0-9.]*$")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where, and on what, a session is used; `address` is its key (`network.key`)."""

    address: str | None = None
    asn: int | None = None
    country: str | None = None
    browser: str | None = None
    os: str | None = None
    device_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What changed, and what is answered: of several changes the sternest answer."""

    change: Change
    answer: Answer


def judged(book: Book, subject: Subject, before: Surroundings, now: Surroundings) -> Judged | None:
    """What becomes of a session of `subject` that was used `before` and is used `now`."""
    found = changed(before, now) if before != now else ()
    if not found:
        return None
    answers = effective(chosen(book.get("changes", ()), subject))
    sternest = max(found, key=lambda one: ANSWERS.index(answers[one]))
    return Judged(sternest, answers[sternest])


def changed(before: Surroundings, now: Surroundings) -> tuple[Change, ...]:
    """What changed, the most telling first."""
    differs: dict[Change, bool] = {
        "device": _is_another(before.browser, now.browser)
        or _is_another(before.os, now.os)
        or _left_behind(before.device_hash, now.device_hash),
        "country": _differ(before.country, now.country),
        "network": _differ(before.asn, now.asn),
        "ip": _differ(before.address, now.address),
    }
    return tuple(one for one in CHANGES if differs[one])


def effective(values: Iterable[Mapping[str, Any]]) -> dict[Change, Answer]:
    """The answer to each change by the rules in force: the sternest that one of them gives."""
    said = list(values)
    return {
        one: max(
            (value[one] for value in said if one in value),
            key=ANSWERS.index,
            default=DEFAULTS[one],
        )
        for one in CHANGES
    }


def problem_with(value: Mapping[str, Any]) -> str | None:
    """Why a value cannot be a changes rule, as a sentence; None when it can."""
    if not value or set(value) - set(CHANGES):
        return f"A changes rule has {', '.join(repr(one) for one in sorted(CHANGES))}."
    for name, answer in value.items():
        if answer not in ANSWERS:
            return f"'{name}' is one of: {', '.join(ANSWERS)}."
    return None


def _is_another(before: str | None, now: str | None) -> bool:
    """Whether it is another browser or system; its version changes by itself."""
    if before is None or now is None or before == now:
        return False
    return _VERSION.sub("", before) != _VERSION.sub("", now)


def _differ(before: object, now: object) -> bool:
    return before is not None and now is not None and before != now


def _left_behind(before: str | None, now: str | None) -> bool:
    """Whether a session that has a browser is used without it: it comes from another, or says nothing.

    One without (on a shared device, or let in by another) is not tied to the first that shows up.
    """
    return before is not None and before != now

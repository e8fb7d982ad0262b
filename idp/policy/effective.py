"""What the rules of a kind say together, written as one rule; and what holds without any, and why.

Pure. The one place where the defaults of all kinds stand side by side: the numbers are those of the
policies, the reasons are here, README documents both, and a test holds them together (row L7).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from idp.clock import DAY, SECOND
from idp.policy import (
    assurance,
    changes,
    hours,
    limits,
    proximity,
    reauthentication,
    remember,
    timeouts,
)
from idp.policy.selection import Rule, Subject, chosen

_Together = Callable[[Sequence[Rule], Subject], dict[str, Any]]

# Where nothing is asked for, in words.
NOTHING: Mapping[str, str] = {
    "assurance": "whatever an app asks for",
    "hours": "always open",
    "networks": "every network",
    "reauthentication": "never",
}
# What a rule means that leaves these out.
IN_A_RULE: Mapping[str, Mapping[str, Any]] = {
    "limits": {"at_limit": limits.BEHAVIOURS[0]},
    "hours": {"days": hours.DAYS_DEFAULT, "grace": hours.GRACE_DEFAULT // SECOND},
    "networks": {"outside": "refuse"},
    "reauthentication": {
        "acr": assurance.PROVED,
        "grace": reauthentication.GRACE_DEFAULT // SECOND,
    },
}
# Of the default.
WHY: Mapping[str, str] = {
    "timeouts": "NIST SP 800-63B-4 section 2.2.3, AAL2; a shared device is left before anybody notices",
    "limits": "enough for anybody, few enough to read; the latest device works, nobody is locked out",
    "remember": "NIST SP 800-63B-4 section 2.1.3, AAL1; only where its person ticks the box",
    "assurance": "an app knows what it protects; we ask for both factors of whoever has them anyway",
    "hours": "most people have none, and nobody is to be locked out by a default",
    "networks": "addresses change, and are no proof",
    "changes": "phones roam; a cookie that changes its country or device may be a copy",
    "reauthentication": "the absolute timeout asks already",
    "handoff": "who is near can read a number; who was let in proved nothing there",
}


def together(kind: str, rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    """What these rules say to somebody, with the defaults for what none says; {}: nothing is asked.

    Of kinds whose rules are merged: of `assurance`, `hours` and `networks` each holds by itself, and so
    does each limit that counts something else.
    """
    return _TOGETHER[kind](rules, subject)


def default(kind: str) -> dict[str, Any]:
    """What holds where there is no rule of this kind."""
    if kind == "limits":
        return {"maximum": limits.MAXIMUM_DEFAULT, "at_limit": limits.BEHAVIOURS[0]}
    return together(kind, (), Subject()) if kind in _TOGETHER else {}


def is_merged(kind: str) -> bool:
    """Whether the rules of a kind that hold for somebody are one."""
    return kind in _TOGETHER


def _timeouts(rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    found = timeouts.effective(rules, subject)
    said = {"idle": found.idle, "absolute": found.absolute, "shared": found.shared}
    if found.temporary is not None:
        said["temporary"] = found.temporary
    return {name: lasting // SECOND for name, lasting in said.items()}


def _remember(rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    return {"days": remember.effective(chosen(rules, subject)) // DAY}


def _changes(rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    return {str(one): answer for one, answer in changes.effective(chosen(rules, subject)).items()}


def _reauthentication(rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    found = reauthentication.period({"reauthentication": rules}, subject)
    if found is None:
        return {}
    return {"every": found.every // SECOND, "acr": found.acr, "grace": found.grace // SECOND}


def _handoff(rules: Sequence[Rule], subject: Subject) -> dict[str, Any]:
    return proximity.effective(chosen(rules, subject))


_TOGETHER: Mapping[str, _Together] = {
    "timeouts": _timeouts,
    "remember": _remember,
    "changes": _changes,
    "reauthentication": _reauthentication,
    "handoff": _handoff,
}

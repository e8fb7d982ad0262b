"""Rules as forms: which fields each kind has, and how they become what the API takes, and back.

Pure. What the fields are called and mean is in the pages' templates; whether a value can be a rule is
`idp.policy`. Durations are written with a unit ("30 min", "12 h", "7 d"), because seconds are read
wrongly; what is empty is left out, and the default holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from idp.errors import Refused
from idp.policy import assurance, changes, limits, selection, timeouts

Shape = Literal["duration", "number", "text", "choice", "lines", "levels"]
_DURATION = re.compile(r"([0-9]{1,9}) ?(s|min|h|d)?")
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_NUMBER = re.compile(r"[0-9]{1,9}")
LINES_MAXIMUM = 500
# Selectors, by the name of their field.
FOR = "for."


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a rule: its name in the API, and how it is written in a form."""

    name: str
    shape: Shape
    choices: tuple[str, ...] = ()


_HANDOFF = ("pick", "type", "refuse")
FIELDS: Mapping[str, tuple[Field, ...]] = {
    "timeouts": (
        Field("idle", "duration"),
        Field("absolute", "duration"),
        Field("temporary", "duration"),
        Field("shared", "duration"),
        Field("profile", "choice", tuple(timeouts.PROFILES)),
    ),
    "limits": (
        Field("maximum", "number"),
        Field("at_limit", "choice", limits.BEHAVIOURS),
        Field("per", "choice", limits.PERS),
    ),
    "remember": (Field("days", "number"),),
    "assurance": (
        Field("acr", "choice", assurance.LADDER[1:]),
        Field("scopes", "levels"),
    ),
    "reauthentication": (
        Field("every", "duration"),
        Field("acr", "choice", assurance.LADDER[1:]),
        Field("grace", "duration"),
    ),
    "changes": tuple(Field(one, "choice", changes.ANSWERS) for one in changes.CHANGES),
    "hours": (
        Field("from", "text"),
        Field("to", "text"),
        Field("timezone", "text"),
        Field("days", "text"),
        Field("holidays", "lines"),
        Field("grace", "duration"),
    ),
    "networks": (
        Field("allow", "lines"),
        Field("deny", "lines"),
        Field("outside", "choice", ("refuse", "end")),
    ),
    "handoff": (
        Field("same_network", "choice", _HANDOFF),
        Field("other_network", "choice", _HANDOFF),
        Field("other_country", "choice", _HANDOFF),
        Field("far", "choice", _HANDOFF),
        Field("acr", "choice", assurance.LADDER[1:3]),
        Field("lasting", "duration"),
    ),
}


def value_of(kind: str, form: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, as the API takes it; raises `Refused` (`invalid_rule`) for what is neither."""
    found = {}
    for field in FIELDS[kind]:
        text = form.get(field.name, "").strip()
        if text:
            found[field.name] = _read(field, text)
    return found


def selectors_of(form: Mapping[str, str]) -> dict[str, str]:
    """For whom a form says the rule is."""
    said = ((name, form.get(FOR + name, "").strip()) for name in selection.SELECTORS)
    return {name: text for name, text in said if text}


def fields_of(kind: str, value: Mapping[str, Any], applies_to: Mapping[str, str]) -> dict[str, str]:
    """A rule as the fields of its form."""
    found = {FOR + name: said for name, said in applies_to.items()}
    for field in FIELDS.get(kind, ()):
        if field.name in value:
            found[field.name] = _written(field, value[field.name])
    return found


def duration(seconds: int) -> str:
    """A length of time in its largest whole unit: "30 min"."""
    unit = next(
        unit for unit in ("d", "h", "min", "s") if seconds % _SECONDS[unit] == 0 or unit == "s"
    )
    return f"{seconds // _SECONDS[unit]} {unit}"


def _read(field: Field, text: str) -> Any:
    if field.shape == "duration":
        parts = _DURATION.fullmatch(text)
        if parts is None:
            raise _invalid(field, "a length of time such as 30 min, 12 h or 7 d")
        return int(parts[1]) * _SECONDS[parts[2] or "s"]
    if field.shape == "number":
        if not _NUMBER.fullmatch(text):
            raise _invalid(field, "a whole number")
        return int(text)
    if field.shape == "lines":
        return _lines(field, text)
    if field.shape == "levels":
        pairs = [line.split() for line in _lines_of(field, text)]
        if any(len(pair) != 2 for pair in pairs):
            raise _invalid(field, "a scope and a level in each line, such as payments aal2")
        return {pair[0]: pair[1] for pair in pairs}
    return text


def _lines(field: Field, text: str) -> list[str]:
    return [one for line in _lines_of(field, text) for one in line.replace(",", " ").split()]


def _lines_of(field: Field, text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > LINES_MAXIMUM:
        raise _invalid(field, f"at most {LINES_MAXIMUM} lines")
    return lines


def _written(field: Field, said: Any) -> str:
    if field.shape == "duration" and isinstance(said, int):
        return duration(said)
    if field.shape == "lines" and isinstance(said, list):
        return "\n".join(str(one) for one in said)
    if field.shape == "levels" and isinstance(said, dict):
        return "\n".join(f"{scope} {level}" for scope, level in sorted(said.items()))
    return str(said)


def _invalid(field: Field, what: str) -> Refused:
    return Refused("invalid_rule", f"“{field.name}” is {what}.", 400)

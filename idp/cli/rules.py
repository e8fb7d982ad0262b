"""`idp rules`: what holds for sessions and sign-ins while the product runs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.cli.user import Name, found
from idp.errors import Refused
from idp.oauth.model import Client
from idp.policy import effective
from idp.sessions import simulation
from idp.sessions.simulation import Proposed
from idp.storage.unit_of_work import UnitOfWork
from idp.users import rules, rules_of_person
from idp.users.model import Rule

app = typer.Typer(
    no_args_is_help=True,
    help="Rules: timeouts, limits, levels of sign-in, hours, networks, devices let in.",
)
_SCOPE = "scope:"
# Values that are lists, written with commas.
_LISTS = frozenset({"holidays", "allow", "deny"})
# "One session at a time" has a word of its own (row L6).
_SINGLE = ["maximum=1", "at_limit=end_oldest"]

Kind = Annotated[str, typer.Argument(help=f"One of: {', '.join(rules.KINDS)}.")]
ForRole = Annotated[str | None, typer.Option("--role", help="Only for people with this role.")]
ForClient = Annotated[str | None, typer.Option("--client", help="Only for this app.")]
ForDevice = Annotated[
    str | None, typer.Option("--device-type", help="Only for devices such as phone or desktop.")
]
ForNetwork = Annotated[
    str | None, typer.Option("--network", help="Only from a network: 192.0.2.0/24, or AS64496.")
]
ForCountry = Annotated[
    str | None, typer.Option("--country", help="Only from a country: two letters, such as FR.")
]

ForPer = Annotated[
    str | None, typer.Option("--per", help="The limit per ip, device_type or country.")
]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the rules that were set; where there is none the defaults hold."""
    with look() as unit:
        data = [_described(rule) for rule in rules.all_rules(unit)]
    rows = [
        (one["kind"], _whom(one["applies_to"]), _pairs(one["value"]), one["version"])
        for one in data
    ]
    answer(data, table(("KIND", "FOR", "VALUE", "VERSION"), rows), as_json=as_json)


@app.command(name="set")
def set_(
    kind: Kind,
    value: Annotated[
        list[str],
        typer.Argument(help="name=value, such as idle=1800, maximum=5, acr=aal2, from=08:00."),
    ],
    role: ForRole = None,
    client: ForClient = None,
    device_type: ForDevice = None,
    network: ForNetwork = None,
    country: ForCountry = None,
    as_json: AsJson = False,
) -> None:
    """Set a rule for everybody, or for whom the options select, in place of the one there was.

    README has a table of the kinds and what each takes; for instance `timeouts idle=1800`,
    `limits maximum=3 at_limit=ask per=ip`, `limits single` for one session at a time,
    `hours from=08:00 to=18:00 timezone=Europe/Paris`, `networks allow=10.0.0.0/8,AS64496`,
    `assurance acr=aal2 scope:payments=aal3`. Lists are written with commas, durations in seconds.
    """
    parsed = _parsed(kind, value)
    applies_to = _selectors(role, client, device_type, network, country)
    with change() as unit:
        _require_client(unit, client)
        data = _described(rules.set_rule(unit, kind, applies_to, parsed, ADMIN))
    shown = data | {"applies_to": _whom(applies_to), "value": _pairs(data["value"])}
    answer(data, fields(shown), as_json=as_json)


@app.command()
def remove(
    kind: Kind,
    role: ForRole = None,
    client: ForClient = None,
    device_type: ForDevice = None,
    network: ForNetwork = None,
    country: ForCountry = None,
    per: ForPer = None,
    as_json: AsJson = False,
) -> None:
    """Take a rule away, so that a more general one or the default holds again."""
    applies_to = _selectors(role, client, device_type, network, country)
    with change() as unit:
        rules.remove_rule(unit, kind, applies_to, ADMIN, per=per)
    data = {"kind": kind, "applies_to": applies_to, "removed": True}
    answer(data, fields(data | {"applies_to": _whom(applies_to)}), as_json=as_json)


@app.command()
def simulate(
    kind: Kind,
    value: Annotated[
        list[str] | None,
        typer.Argument(help="name=value as for `set`; none: as if the rule were removed."),
    ] = None,
    role: ForRole = None,
    client: ForClient = None,
    device_type: ForDevice = None,
    network: ForNetwork = None,
    country: ForCountry = None,
    per: ForPer = None,
    as_json: AsJson = False,
) -> None:
    """Show who would be affected now if a rule were set so, or removed; changes nothing."""
    applies_to = _selectors(role, client, device_type, network, country)
    with look() as unit:
        _require_client(unit, client)
        parsed = _parsed(kind, value) if value else None
        found = simulation.of(unit, Proposed(kind, applies_to, parsed, per))
    effects = {effect: count for effect, count in found.sessions.items() if count}
    data = {
        "examined": found.examined,
        "is_complete": found.is_complete,
        "people": found.people,
        "sessions": effects,
        "sample": [asdict(one) for one in found.sample],
    }
    lines = fields(
        {
            "sessions examined": f"{found.examined}{'' if found.is_complete else ', of more'}",
            "people affected": found.people,
            "effects": " ".join(f"{one}={count}" for one, count in effects.items()) or "none",
        }
    )
    rows = [(one.session_id, one.user_id, ", ".join(one.effects)) for one in found.sample]
    if rows:
        lines += ["", *table(("SESSION", "USER", "EFFECTS"), rows)]
    answer(data, lines, as_json=as_json)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what holds for a user, and from which rules."""
    with look() as unit:
        in_force = rules_of_person.of(unit, found(unit, name))
        data = [
            {
                "kind": one.kind,
                "when": one.when,
                "value": one.value,
                "rules": [_described(rule) for rule in one.rules],
            }
            for one in in_force
        ]
    rows = [
        (
            one.kind,
            _whom(one.when, nothing="always"),
            _pairs(one.value) or effective.NOTHING[one.kind],
            ", ".join(f"{_whom(rule.applies_to)} (version {rule.version})" for rule in one.rules)
            or "default",
        )
        for one in in_force
    ]
    answer(data, table(("KIND", "WHEN", "IN FORCE", "FROM"), rows), as_json=as_json)


def _selectors(
    role: str | None,
    client: str | None,
    device_type: str | None,
    network: str | None,
    country: str | None,
) -> dict[str, str]:
    given = {
        "role": role,
        "client": client,
        "device_type": device_type,
        "network": network,
        "country": country,
    }
    return {name: wanted for name, wanted in given.items() if wanted is not None}


def _require_client(unit: UnitOfWork, client: str | None) -> None:
    if client is not None and unit.orm.get(Client, client) is None:
        raise Refused("unknown_client", f"There is no client {client!r}.", 404)


def _parsed(kind: str, value: list[str]) -> dict[str, Any]:
    """The value of a rule of this kind; whether it can be one is checked where it is used."""
    if kind == "limits" and value == ["single"]:
        value = _SINGLE
    if kind == "assurance":
        return _levels(value)
    return _values(value)


def _levels(pairs: list[str]) -> dict[str, Any]:
    """The value of an assurance rule; whether its levels are ours is checked where it is set."""
    value: dict[str, Any] = {}
    for pair in pairs:
        # A scope may have "=" in it, a level not.
        name, equals, level = pair.rpartition("=")
        if not equals or not (name == "acr" or (name.startswith(_SCOPE) and name != _SCOPE)):
            raise typer.BadParameter(f"{pair!r} is not acr=level or scope:name=level")
        if name == "acr":
            value["acr"] = level
        else:
            value.setdefault("scopes", {})[name.removeprefix(_SCOPE)] = level
    return value


def _values(pairs: list[str]) -> dict[str, Any]:
    """The value of any other rule: numbers, words and lists; checked where the rule is set."""
    value: dict[str, Any] = {}
    for pair in pairs:
        name, equals, said = pair.partition("=")
        if not equals or not name or not said:
            raise typer.BadParameter(f"{pair!r} is not name=value")
        is_number = said.isascii() and said.isdigit() and len(said) <= 12
        value[name] = said.split(",") if name in _LISTS else int(said) if is_number else said
    return value


def _whom(applies_to: Mapping[str, str], *, nothing: str = "everybody") -> str:
    return " ".join(f"{name}={one}" for name, one in sorted(applies_to.items())) or nothing


def _pairs(value: Mapping[str, Any]) -> str:
    scopes = {f"{_SCOPE}{name}": level for name, level in value.get("scopes", {}).items()}
    shown = {name: one for name, one in value.items() if name != "scopes"} | scopes
    return " ".join(
        f"{name}={','.join(one) if isinstance(one, list) else one}" for name, one in shown.items()
    )


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "applies_to": rule.applies_to,
        "value": rule.value,
        "version": rule.version,
        "changed_at": moment(rule.changed_at),
        "changed_by": rule.changed_by,
    }

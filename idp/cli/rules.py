"""`idp rules`: timeouts, limits and levels of sign-in that hold while the product runs."""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.users import rules
from idp.users.model import Rule

app = typer.Typer(
    no_args_is_help=True, help="Rules: session timeouts, limits, levels of sign-in; per role."
)
_SCOPE = "scope:"

Kind = Annotated[str, typer.Argument(help=f"One of: {', '.join(rules.KINDS)}.")]
ForRole = Annotated[str | None, typer.Option("--role", help="Only for people with this role.")]


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List the rules that were set; where there is none the defaults hold."""
    with look() as unit:
        data = [_described(rule) for rule in rules.all_rules(unit)]
    rows = [
        (one["kind"], one["role"] or "everybody", _pairs(one["value"]), one["version"])
        for one in data
    ]
    answer(data, table(("KIND", "FOR", "VALUE", "VERSION"), rows), as_json=as_json)


@app.command(name="set")
def set_(
    kind: Kind,
    value: Annotated[
        list[str],
        typer.Argument(help="name=value, such as idle=1800, maximum=5, acr=aal2."),
    ],
    role: ForRole = None,
    as_json: AsJson = False,
) -> None:
    """Set a rule, in place of the one there was.

    `timeouts idle=SECONDS absolute=SECONDS`, `limits maximum=NUMBER`, or `assurance acr=LEVEL`: the
    least level (aal1, aal2, aal3) people must prove to any app. For everybody, assurance also takes
    `scope:NAME=LEVEL`, for apps that ask for that scope.
    """
    parsed = _levels(value, role) if kind == "assurance" else _numbers(value)
    with change() as unit:
        data = _described(rules.set_rule(unit, kind, role, parsed, ADMIN))
    answer(data, fields(data | {"value": _pairs(data["value"])}), as_json=as_json)


@app.command()
def remove(kind: Kind, role: ForRole = None, as_json: AsJson = False) -> None:
    """Take a rule away, so that the general one or the default holds again."""
    with change() as unit:
        rules.remove_rule(unit, kind, role, ADMIN)
    data = {"kind": kind, "role": role, "removed": True}
    answer(data, fields(data), as_json=as_json)


def _levels(pairs: list[str], role: str | None) -> dict[str, Any]:
    """The value of an assurance rule; whether its levels are ours is checked where it is set."""
    value: dict[str, Any] = {}
    for pair in pairs:
        # A scope may have "=" in it, a level not.
        name, equals, level = pair.rpartition("=")
        if not equals or not (name == "acr" or (name.startswith(_SCOPE) and name != _SCOPE)):
            raise typer.BadParameter(f"{pair!r} is not acr=level or scope:name=level")
        if name == "acr":
            value["acr"] = level
        elif role is not None:
            raise typer.BadParameter("what a scope needs holds for everybody: leave --role out")
        else:
            value.setdefault("scopes", {})[name.removeprefix(_SCOPE)] = level
    return value


def _numbers(pairs: list[str]) -> dict[str, int]:
    value = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isascii() or not number.isdigit() or len(number) > 12:
            raise typer.BadParameter(f"{pair!r} is not name=number")
        value[name] = int(number)
    return value


def _pairs(value: dict[str, Any]) -> str:
    scopes = {f"{_SCOPE}{name}": level for name, level in value.get("scopes", {}).items()}
    shown = {name: one for name, one in value.items() if name != "scopes"} | scopes
    return " ".join(f"{name}={one}" for name, one in shown.items())


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "role": rule.role,
        "value": rule.value,
        "version": rule.version,
        "changed_at": moment(rule.changed_at),
        "changed_by": rule.changed_by,
    }

"""`idp rules`: timeouts and limits that hold while the product runs."""

from typing import Annotated, Any

import typer

from idp.cli.opened import ADMIN, change, look
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.users import rules
from idp.users.model import Rule

app = typer.Typer(no_args_is_help=True, help="Rules: session timeouts and limits, per role.")

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
    value: Annotated[list[str], typer.Argument(help="name=number, such as idle=1800 maximum=5.")],
    role: ForRole = None,
    as_json: AsJson = False,
) -> None:
    """Set a rule: `timeouts idle=SECONDS absolute=SECONDS` or `limits maximum=NUMBER`."""
    with change() as unit:
        data = _described(rules.set_rule(unit, kind, role, _parsed(value), ADMIN))
    answer(data, fields(data | {"value": _pairs(data["value"])}), as_json=as_json)


@app.command()
def remove(kind: Kind, role: ForRole = None, as_json: AsJson = False) -> None:
    """Take a rule away, so that the general one or the default holds again."""
    with change() as unit:
        rules.remove_rule(unit, kind, role, ADMIN)
    data = {"kind": kind, "role": role, "removed": True}
    answer(data, fields(data), as_json=as_json)


def _parsed(pairs: list[str]) -> dict[str, int]:
    value = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isascii() or not number.isdigit() or len(number) > 12:
            raise typer.BadParameter(f"{pair!r} is not name=number")
        value[name] = int(number)
    return value


def _pairs(value: dict[str, Any]) -> str:
    return " ".join(f"{name}={number}" for name, number in value.items())


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "role": rule.role,
        "value": rule.value,
        "version": rule.version,
        "changed_at": moment(rule.changed_at),
        "changed_by": rule.changed_by,
    }

"""`idp apply` and `idp export`: roles, apps and rules as one file, for keeping under version control.

The file is JSON or TOML. YAML is left out on purpose: it needs a library, and it reads the country code
of Norway as "no".
"""

import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from idp.admin import declaration
from idp.admin.apply import Change, Outcome, carry_out
from idp.admin.declaration import SecretReference
from idp.cli.opened import ADMIN, look, product
from idp.cli.terminal import AsJson, Confirmed, answer, confirm
from idp.errors import Refused
from idp.storage.unit_of_work import UnitOfWork, Work
from idp.web.json_api import object_of

_SIGNS = {"add": "+", "change": "~", "remove": "-"}


def export() -> None:
    """Print roles, apps and rules as JSON that `idp apply` takes; no secrets, and no people."""
    with look() as unit:
        found = declaration.written(unit)
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")


def apply(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="JSON or TOML (*.toml); - is standard input.")
    ],
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Also take away rules and roles, and delete apps, that the file does not list (of "
            "parts that it has). Apps that registered themselves stay, and the roles that every "
            "deployment begins with; a role that somebody holds is refused.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be changed, and change nothing.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the audit log.")] = None,
    yes: Confirmed = False,
    as_json: AsJson = False,
) -> None:
    """Make roles, apps and rules what a file says; shows the difference, and asks first.

    All of it happens or none. An app's secret is never in the file: `"client_secret": {"env": "NAME"}`
    or `{"file": "/run/secrets/app"}` says where it is read from; without, a new app gets one that is
    shown this once.
    """
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("--json goes with --yes or --dry-run: nobody sees what is asked")
    if str(file) == "-" and not (yes or dry_run):
        raise typer.BadParameter("standard input is the file: say --yes or --dry-run")
    wanted = declaration.read(_parsed(file))
    secrets = {
        one.id: _secret(one.client_secret)
        for one in wanted.clients or ()
        if one.client_secret is not None
    }
    with product() as work:

        def carried(unit: UnitOfWork) -> Outcome:
            unit.because = reason
            return carry_out(
                unit,
                wanted,
                secrets=secrets,
                removing="unlisted" if prune else "nothing",
                actor=ADMIN,
            )

        seen = _rehearsed(work, carried)
        if not as_json:
            answer(None, _lines(seen.changes), as_json=False)
        is_done = bool(seen.changes) and not dry_run
        outcome = Outcome(seen.changes, {})
        if is_done:
            confirm("Make these changes?", confirmed=yes)
            with work.begin() as unit:
                outcome = carried(unit)
                if outcome.changes != seen.changes:
                    raise Refused(
                        "changed_meanwhile",
                        "Something else was changed meanwhile: look again.",
                        409,
                    )
    data = {
        "applied": is_done,
        "changes": [_described(one) for one in outcome.changes],
        "client_secrets": outcome.secrets,
    }
    shown = [f"secret of {client}  {secret}" for client, secret in outcome.secrets.items()]
    answer(data, [*shown, "Done."] if is_done else [], as_json=as_json)


class _NothingIsKept(Exception):  # noqa: N818
    """Takes everything back."""


def _rehearsed(work: Work, carried: Callable[[UnitOfWork], Outcome]) -> Outcome:
    """What would be changed: it is done, and taken back, so that what is refused is refused now."""
    found = Outcome([], {})
    with suppress(_NothingIsKept), work.begin() as unit:
        found = carried(unit)
        _take_back()
    return found


def _take_back() -> None:
    raise _NothingIsKept


def _parsed(file: Path) -> Any:
    try:
        body = sys.stdin.read().encode() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Refused("unreadable", f"{file} cannot be read: {error}") from None
    if file.suffix == ".toml":
        try:
            return tomllib.loads(body.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Refused("unreadable", f"{file} is not valid TOML: {error}") from None
    return object_of(body)


def _secret(reference: SecretReference) -> str:
    if reference.env is not None:
        found = os.environ.get(reference.env, "")
        source = f"the variable {reference.env}"
    else:
        source = f"the file {reference.file}"
        try:
            found = Path(reference.file or "").read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused("no_secret", f"{source} cannot be read: {error}") from None
    if not found:
        raise Refused("no_secret", f"There is no secret in {source}.")
    return found


def _lines(changes: Iterable[Change]) -> list[str]:
    lines = []
    for one in changes:
        note = ", and every grant of it" if (one.verb, one.kind) == ("remove", "client") else ""
        lines.append(f"{_SIGNS[one.verb]} {one.kind} {one.name}{note}")
        lines += [
            f"    {name}: {_text(before)} -> {_text(after)}"
            for name, (before, after) in one.members.items()
        ]
    return lines or ["Nothing to change."]


def _text(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _described(change: Change) -> dict[str, Any]:
    return {
        "verb": change.verb,
        "kind": change.kind,
        "name": change.name,
        "members": {
            name: {"before": before, "after": after}
            for name, (before, after) in change.members.items()
        },
    }

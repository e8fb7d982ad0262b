"""What commands print: JSON for programs, plain lines and tables for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import orjson
import typer

from idp.clock import Instant, to_rfc3339

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Confirmed = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def answer(data: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Prints `data` as JSON, or `lines` for people."""
    if as_json:
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for line in lines:
        sys.stdout.write(_harmless(line) + "\n")


def confirm(question: str, *, confirmed: bool) -> None:
    """Asks unless `--yes` was given; ends with 1 when the answer is not yes.

    On standard error, so that standard output holds the answer of the command and nothing else.
    """
    if confirmed:
        return
    sys.stderr.write(f"{_harmless(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        sys.stderr.write("Nothing was changed.\n")
        raise typer.Exit(1)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of aligned columns."""
    cells = [tuple(heads), *(tuple(_text(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def fields(data: dict[str, Any]) -> list[str]:
    """Lines of "name  value" for one thing."""
    width = max(len(name) for name in data)
    return [f"{name.ljust(width)}  {_text(value)}" for name, value in data.items()]


def moment(at: Instant | None) -> str | None:
    return None if at is None else to_rfc3339(at)


def _text(value: object) -> str:
    if value is None or value == [] or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return str(value)


def _harmless(line: str) -> str:
    # Names that strangers chose must not move the cursor or recolour an administrator's terminal.
    return "".join(one if one.isprintable() or one == "\t" else "�" for one in line)

"""What pages and letters say, and what the catalogues of other languages lack of it.

`python -m tests.translations` lists what is missing, with where it is said, and what is said no
more; `--write` puts the missing sentences into the catalogues, to be filled in, and takes out the
others. Sentences are found in templates (`_()`, `{% trans %}`), and in the code that speaks to people
by their looks: a text that begins with a capital and ends like a sentence, or stands in one of
`CALLS`. Command line, APIs and the administrators' pages speak English, so they are not looked at.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from idp.languages import DEFAULT, SHIPPED, locale

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "templates"
SPOKEN = ("errors.py", "languages.py", "sessions", "users", "web", "oauth", "app.py")
# APIs, and what is checked of an operator's files.
SILENT = re.compile(
    r"web/(api|api_description|json_api|lines|management|problems|wire|protocol)\.py"
    r"|users/(roles|rules)\.py"
)
# Their texts are sentences whatever they look like.
CALLS = ("Sentence", "Ending", "PageError", "said", "say")
# Protocol errors are English; of the rest of this package people see nothing but these.
ONLY_CALLS = ("oauth", "app.py")
MEANING = 2
_LOOKS = re.compile(r"[A-Z“][^\n]* [^\n]*[.!?…]")
_OPTIONS = {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true"}

# By the sentence: its plural, or None, and where it is said.
Sentences = dict[str, tuple[str | None, str]]


@cache
def sentences() -> Sentences:
    """Everything that is said to people."""
    found: Sentences = {}
    for one, many, where in [*_of_templates(), *_of_code()]:
        if one not in found or found[one][0] is None:
            found[one] = (many, where)
    return found


def catalogue(tag: str) -> Catalog:
    with _file(tag).open("rb") as file:
        return read_po(file, locale=str(locale(tag)))


def _file(tag: str) -> Path:
    return TEMPLATES / "locales" / f"{locale(tag)}.po"


def missing(tag: str) -> Sentences:
    """What a catalogue does not say, or not in all its forms."""
    known = catalogue(tag)
    return {
        one: (many, where)
        for one, (many, where) in sentences().items()
        if not _is_whole(known, one, many)
    }


def stale(tag: str) -> list[str]:
    """What a catalogue says that nobody asks for."""
    said = sentences()
    return [one for one in _keys(catalogue(tag)) if one not in said]


def _is_whole(known: Catalog, one: str, many: str | None) -> bool:
    message = known.get(one)
    if message is None or message.fuzzy:
        return False
    forms = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
    is_plural = isinstance(message.id, (tuple, list))
    return all(forms) and is_plural is (many is not None)


def _keys(known: Catalog) -> list[str]:
    return [
        message.id[0] if isinstance(message.id, (tuple, list)) else message.id
        for message in known
        if message.id
    ]


def _of_templates() -> Iterator[tuple[str, str | None, str]]:
    found = extract_from_dir(
        TEMPLATES,
        method_map=[("admin/**.html", "ignore"), ("**.txt", "jinja2"), ("**.html", "jinja2")],
        options_map={"**.txt": _OPTIONS, "**.html": _OPTIONS},
    )
    for file, line, message, _, _ in found:
        one, many = (message, None) if isinstance(message, str) else (message[0], message[1])
        yield one, many, f"templates/{file}:{line}"


def _of_code() -> Iterator[tuple[str, str | None, str]]:
    for name in SPOKEN:
        place = ROOT / "idp" / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if not SILENT.search(file.as_posix()):
                yield from _of_module(file, by_looks=name not in ONLY_CALLS)


def _of_module(file: Path, *, by_looks: bool) -> Iterator[tuple[str, str | None, str]]:
    tree = ast.parse(file.read_text())
    seen: set[int] = set()

    def at(node: ast.expr) -> str:
        return f"{file.relative_to(ROOT)}:{node.lineno}"

    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Expr):
            # A docstring, or the pieces of a text that cannot be looked up.
            parts = node.values if isinstance(node, ast.JoinedStr) else [node.value]
            seen |= {id(part) for part in parts}
        if isinstance(node, ast.Call) and _name(node.func) in CALLS:
            texts = [one for one in node.args if _is_text(one)]
            seen |= {id(one) for one in texts}
            if _name(node.func) == "Ending":
                # What an end means to apps and administrators is English.
                del texts[MEANING]
            is_said = _name(node.func) in ("said", "say")
            values = [one.value for one in texts if " " in one.value or is_said]
            if _name(node.func) == "Sentence":
                yield values[0], values[1] if len(values) > 1 else None, at(node)
            else:
                yield from ((one, None, at(node)) for one in values)
        if isinstance(node, ast.Call):
            # Of error pages: their titles, and the texts of links (text, address).
            given = {one.arg: one.value for one in node.keywords}
            texts = [given["title"]] if "title" in given else []
            texts += [
                one.elts[0]
                for one in getattr(given.get("links"), "elts", [])
                if isinstance(one, ast.Tuple)
            ]
            texts = [one for one in texts if _is_text(one) and " " in one.value]
            seen |= {id(one) for one in texts}
            yield from ((one.value, None, at(node)) for one in texts)
    for node in ast.walk(tree):
        is_new = isinstance(node, ast.Constant) and id(node) not in seen and by_looks
        if is_new and _is_text(node) and _LOOKS.fullmatch(node.value):
            yield node.value, None, at(node)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def write(tag: str) -> None:
    """Puts the missing sentences into a catalogue, empty, and takes out what is not said."""
    known, said = catalogue(tag), sentences()
    fresh = Catalog(locale=str(locale(tag)), header_comment=known.header_comment, fuzzy=False)
    # A date of its own would be a conflict between any two who write.
    fresh.creation_date = known.creation_date
    for one, (many, _) in said.items():
        before = known.get(one)
        fits = before is not None and isinstance(before.id, (tuple, list)) is (many is not None)
        fresh.add(one if many is None else (one, many), before.string if fits else None)
    with _file(tag).open("wb") as file:
        write_po(file, fresh, no_location=True, sort_output=True, width=100)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.translations", description=__doc__)
    parser.add_argument("--write", action="store_true", help="change the catalogues")
    arguments = parser.parse_args()
    lacking = 0
    for tag in SHIPPED:
        if tag == DEFAULT:
            continue
        if arguments.write:
            write(tag)
        gone = missing(tag)
        past = stale(tag)
        lacking += len(gone) + len(past)
        print(f"{tag}: {len(gone)} missing, {len(past)} not said any more")
        for one, (many, where) in sorted(gone.items()):
            print(f"  {where}\n    {one!r}" + (f" / {many!r}" if many else ""))
        for one in past:
            print(f"  not said any more: {one!r}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())

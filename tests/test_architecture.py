"""The import direction of `idp`, and what may not be imported at all."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "idp"
# From the top down; a layer imports only itself and what is below. Those on one line are one layer.
LAYERS = (
    ("demo", "cli", "__main__"),
    ("app",),
    # Above the pages, whose edge and pieces it uses; no page may know of it.
    ("console",),
    ("admin",),
    ("web",),
    ("logout", "notify"),
    ("oauth",),
    ("sessions",),
    ("users",),
    ("work", "events", "storage"),
    ("policy",),
    ("settings", "errors", "clock", "ids"),
)
LEVEL = {name: depth for depth, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(module: Path) -> list[str]:
    """Every module that is imported in this file, also inside functions."""
    found: list[str] = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append("a relative import")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_layer_and_those_below(module: Path) -> None:
    own = LEVEL.get(layer_of(module))
    if own is None:  # idp/__init__.py
        return
    for name in imports_of(module):
        assert name != "a relative import", "imports are written from the top of the package"
        if name.startswith("idp."):
            other = name.split(".")[1]
            assert LEVEL[other] >= own, f"{layer_of(module)} is below {other}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_insecure_or_foreign_is_imported(module: Path) -> None:
    for name in imports_of(module):
        top = name.split(".")[0]
        assert top not in ("pickle", "marshal", "random", "requests", "httpx", "yaml"), name
        if top == "authlib":
            assert layer_of(module) in ("oauth", "web"), "authlib stays behind idp.oauth"
        if top in ("httpcore2", "httpx2", "socket", "ssl") and layer_of(module) != "demo":
            # Mail goes to the one server that the operator named; nobody else can aim it.
            is_mail = module.relative_to(PACKAGE) == Path("notify/smtp.py")
            assert module.parent.name == "work" or is_mail, "one client calls out"


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(module.relative_to(PACKAGE))
        for module in MODULES
        if not ast.get_docstring(ast.parse(module.read_text()))
    ]
    assert silent == []


def test_modules_can_be_read_in_one_sitting() -> None:
    lengths = {str(m.relative_to(PACKAGE)): len(m.read_text().splitlines()) for m in MODULES}
    assert {name: length for name, length in lengths.items() if length > 520} == {}

"""The import direction of `idp`, what may not be imported at all, and what templates may not do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from tests.harness import order

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
    ("settings", "sections", "listed", "hosts", "errors", "clock", "ids", "languages"),
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
            # It looks whether a port is free, and calls nobody.
            listens = module.relative_to(PACKAGE) == Path("cli/serving.py")
            assert module.parent.name == "work" or is_mail or listens, "one client calls out"


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


# --- Whether a session lives ----------------------------------------------------------------------

# Where its words are: by themselves, as its end, and with its epoch.
OF_LIFE = {PACKAGE / "sessions" / f"{name}.py" for name in ("life", "endings", "epoch")}
# Grants have a column of that name too. It says that the grant was ended, and no more: whether its
# session lives is asked beside it, in `oauth.standing`.
OF_GRANTS = ("Authorization", "authorization")


def is_end(node: ast.AST | None) -> bool:
    """Whether it is the column `ended_at` of a session, or what was read from it."""
    is_column = isinstance(node, ast.Attribute) and node.attr == "ended_at"
    return is_column and not (isinstance(node.value, ast.Name) and node.value.id in OF_GRANTS)


def is_nothing(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "null"
    return isinstance(node, ast.Constant) and node.value is None


def bare_ends(source: str) -> Iterator[int]:
    """The lines at which `ended_at` alone answers whether a session lives."""
    for node in ast.walk(ast.parse(source)):
        bare = False
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            bare = any(map(is_end, sides)) and any(map(is_nothing, sides))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            bare = node.func.attr in ("is_", "is_not") and is_end(node.func.value)
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            bare = is_end(node.test)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            bare = is_end(node.operand)
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            bare = any(map(is_end, node.values))
        if bare:
            yield node.lineno


@pytest.mark.parametrize(
    "source, lines",
    [
        ("session.ended_at is None", [1]),
        ("Session.ended_at.is_(None)", [1]),
        ("Session.ended_at == null()", [1]),
        ("_S.ended_at.is_not(None)", [1]),
        ("x = 1 if one.ended_at else 2", [1]),
        ("not unit.orm.get(Session, 1).ended_at and y", [1]),
        ("Session.ended_at < before", []),
        ("session.ended_at or unit.now", []),
        ("Authorization.ended_at.is_(None)", []),
        ("authorization.ended_at is not None", []),
    ],
)
def test_what_is_noticed_of_ends(source: str, lines: list[int]) -> None:
    assert list(bare_ends(source)) == lines


def test_whether_a_session_lives_is_asked_in_one_place() -> None:
    """Its row does not say so of one that time or its epoch ended: `idp.sessions.life` does."""
    found = [
        f"{module.relative_to(PACKAGE)}:{line}"
        for module in MODULES
        if module not in OF_LIFE
        for line in bare_ends(module.read_text())
    ]
    assert found == []


# --- Templates ------------------------------------------------------------------------------------

TEMPLATES = PACKAGE.parent / "templates"
PARSER = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
PARSER.newstyle_gettext = True  # type: ignore[attr-defined]
# How many of its arguments are sentences.
SENTENCES = {"_": 1, "gettext": 1, "ngettext": 2, "pgettext": 2, "npgettext": 3}


def is_written_here(node: nodes.Node) -> bool:
    """Whether it can only be what stands in the template."""
    if isinstance(node, nodes.CondExpr):
        return all(is_written_here(one) for one in (node.expr1, node.expr2) if one is not None)
    return isinstance(node, nodes.Const)


def not_constant(template: str) -> Iterator[int]:
    """The lines at which something else than a constant is translated, and so made HTML."""
    for call in PARSER.parse(template).find_all(nodes.Call):
        count = SENTENCES.get(call.node.name, 0) if isinstance(call.node, nodes.Name) else 0
        if not all(is_written_here(one) for one in call.args[:count]):
            yield call.lineno


@pytest.mark.attack("WB-01")
@pytest.mark.parametrize(
    "template, lines",
    [
        ('{{ _("Sign in") }}', []),
        ('{{ _("One" if x else "Another") }}', []),
        ('{{ _("Hello %(name)s", name=x) }}', []),
        ("{% trans name=x %}Hello {{ name }}{% endtrans %}", []),
        ("{{ problem | said }}", []),
        ("{{ _(problem) }}", [1]),
        ('{{ _("Wrong: " ~ problem) }}', [1]),
        ('{{ _(problem or "Wrong") }}', [1]),
        ('{{ _("One" if x else problem) }}', [1]),
        ('{{ ngettext("One", many, 2) }}', [1]),
    ],
)
def test_what_is_noticed_in_templates(template: str, lines: list[int]) -> None:
    assert list(not_constant(template)) == lines


@pytest.mark.attack("WB-01")
def test_only_what_stands_in_a_template_is_html_by_being_translated() -> None:
    """`_` gives HTML: with a sentence from elsewhere, a name in it would be a tag."""
    found = [
        f"{template.relative_to(TEMPLATES)}:{line}"
        for template in sorted(TEMPLATES.rglob("*"))
        if template.suffix in (".html", ".txt")
        for line in not_constant(template.read_text())
    ]
    assert found == []


def test_what_is_run_first_is_there() -> None:
    assert [one for one in order.LONG if not (order.ROOT / one).exists()] == []

"""Sentences that stand in a template, translated when it is compiled and not at every page.

An environment speaks one language, so `_("Sign in")` is the same text on every page that it makes;
saying it through gettext each time is most of what a page costs. A sentence with something to fill in
is said when the page is made, as it must be.
"""

from gettext import NullTranslations

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from idp.languages import translations


class SaidOnce(CodeGenerator):
    """Compiles the templates of an environment whose global `lang` is a shipped language."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802
        said = _Said(translations(str(self.environment.globals["lang"]))).visit(node)
        super().visit_Template(said, frame)


class _Said(NodeTransformer):
    """Puts the text in the place of the call that asks for it."""

    def __init__(self, catalogue: NullTranslations) -> None:
        self._catalogue = catalogue

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802
        match node:
            case nodes.Call(
                node=nodes.Name(name="_"), args=[nodes.Const(value=str(sentence))], kwargs=[]
            ):
                # As the i18n extension gives it: HTML, in which a per cent sign is written twice.
                text = Markup(self._catalogue.gettext(sentence)) % {}  # noqa: S704
                return nodes.Const(text, lineno=node.lineno)
        return self.generic_visit(node)

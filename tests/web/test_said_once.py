"""Sentences of templates are translated when a template is compiled, as gettext would at every page."""

from gettext import NullTranslations

import pytest
from jinja2 import DictLoader, Environment
from jinja2.compiler import CodeGenerator

from idp.web import said_once
from idp.web.said_once import SaidOnce

TEMPLATE = (
    "{% macro said(x) %}[{{ x }}]{% endmacro %}"
    "{{ _('a <b>') }}{{ said(_('c & d')) }}{{ _('100 %%') }}{{ _('by %(name)s', name=name) }}"
    "{{ _(name) }}{% set kept = _('kept') %}{{ kept }}{{ _('x') if name else '' }}"
)


class Asked(NullTranslations):
    """A language that says everything with a word before it, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []

    def gettext(self, message: str) -> str:
        self.sentences.append(message)
        return f"so {message}"


def environment(generator: type[CodeGenerator], spoken: Asked) -> Environment:
    made = Environment(
        loader=DictLoader({"page": TEMPLATE}), autoescape=True, extensions=["jinja2.ext.i18n"]
    )
    made.code_generator_class = generator
    made.install_gettext_translations(spoken, newstyle=True)  # type: ignore[attr-defined]
    made.globals["lang"] = "xx"
    return made


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> Asked:
    language_spoken = Asked()
    monkeypatch.setattr(said_once, "translations", {"xx": language_spoken}.__getitem__)
    return language_spoken


def test_what_is_said_once_is_what_gettext_says_each_time(spoken: Asked) -> None:
    once, each_time = (
        environment(one, spoken).get_template("page").render(name="<i>")
        for one in (SaidOnce, CodeGenerator)
    )
    assert once == each_time
    assert once == ("so a <b>[so c & d]so 100 %so by &lt;i&gt;so <i>so keptso x")


def test_a_page_asks_only_for_what_has_something_to_fill_in(spoken: Asked) -> None:
    template = environment(SaidOnce, spoken).get_template("page")
    spoken.sentences.clear()
    template.render(name="Ada")
    assert spoken.sentences == ["by %(name)s", "Ada"]

"""Sentences in every shipped language: nearly all of them, with the same values and the same markup."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message

from idp import languages
from idp.clock import to_datetime
from idp.languages import Moment, Sentence, said
from tests import translations
from tests.harness.workbench import NOON

OTHERS = [tag for tag in languages.SHIPPED if tag != languages.DEFAULT]
# What changes in English is said in English until it is translated; that it is not forgotten, this
# many sentences are the most that may wait for it. `python -m tests.translations` asks for none.
MOST_WAITING = 40
_VALUE = re.compile(r"%\((\w+)\)[sd]|\{n\}")
_NUMBERS = {"%(count)s", "%(num)s", "%(n)s"}
# Tags with their attributes, and what stands for a character: it must not come from a translation.
_MARKUP = re.compile(r"<[^>]*>?|&\w*;?")


def forms(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, tuple | list) else [message.string]


def source(message: Message) -> str:
    """The English that a translation must match: of a sentence by number, the one for many."""
    return str(message.id[-1] if isinstance(message.id, tuple | list) else message.id)


def values(text: str) -> set[str]:
    return {found.group() for found in _VALUE.finditer(text)}


def signs(text: str) -> list[str]:
    """The per cent signs that stand for no value."""
    return re.findall("%+", _VALUE.sub("", text))


def wrong_in(message: Message) -> list[str]:
    """The forms of a translation that fill in, or mark up, what their original does not."""
    english, translated = source(message), forms(message)
    wrong = []
    for form in translated:
        # A form for one may say "one" for the number; the last is for many.
        left_out = values(english) - values(form) - (_NUMBERS if form != translated[-1] else set())
        added = values(form) - values(english)
        is_same = sorted(_MARKUP.findall(form)) == sorted(_MARKUP.findall(english))
        # A per cent sign of its own is taken for a value, in a page also where there is none.
        has_stray = signs(form) != signs(english)
        # Sentences stand in attributes, too, between these.
        has_quote = '"' in _MARKUP.sub("", form)
        if left_out or added or not is_same or has_stray or has_quote or "\n" in form:
            wrong.append(form)
    return wrong


def test_english_is_whole() -> None:
    assert len(translations.sentences()) > 900


@pytest.mark.parametrize("tag", OTHERS)
def test_hardly_a_sentence_waits_for_its_translation(tag: str) -> None:
    waiting = sorted(translations.missing(tag))
    assert len(waiting) <= MOST_WAITING, waiting


@pytest.mark.attack("WB-01")
@pytest.mark.parametrize("tag", OTHERS)
def test_a_translation_has_the_values_and_the_markup_of_its_sentence(tag: str) -> None:
    """Sentences are HTML in a page, so a translation could bring a tag, or lead a link elsewhere."""
    found = translations.catalogue(tag)
    assert [one for message in found if message.id for one in wrong_in(message)] == []


@pytest.mark.attack("WB-01")
@pytest.mark.parametrize(
    "translation",
    [
        "%(app)s will <em>mehr</em>.",
        '<strong onclick="x">%(app)s</strong> will mehr.',
        "<strong>%(app)s</strong> will mehr. &lt;",
        "<strong>%(app)s</strong> will %(more)s.",
        "<strong>Die App</strong> will mehr.",
        "<strong>%(app)s</strong> will 100 % mehr.",
        "<strong>%(app)s</strong> will <script",
        '<strong>%(app)s</strong> will "mehr".',
    ],
)
def test_what_is_noticed_in_translations(translation: str) -> None:
    catalogue = Catalog(locale="de")
    message = catalogue.add("<strong>%(app)s</strong> wants more.", translation)
    assert wrong_in(message) == [translation]
    right = catalogue.add("<strong>%(app)s</strong> asks.", "Es fragt: <strong>%(app)s</strong>.")
    assert wrong_in(right) == []


def test_a_stray_sign_is_noticed_in_a_sentence_without_values() -> None:
    """Pages fill in the values of every sentence: a sign that is none takes the page down."""
    catalogue = Catalog(locale="de")
    assert wrong_in(catalogue.add("All of it.", "100 % davon.")) == ["100 % davon."]
    assert wrong_in(catalogue.add("All of this.", "100 %% davon.")) == ["100 %% davon."]
    assert wrong_in(catalogue.add("100%% of it.", "100 %% davon.")) == []


@pytest.mark.parametrize("tag", OTHERS)
def test_a_language_has_as_many_forms_as_it_needs(tag: str) -> None:
    catalogue = translations.catalogue(tag)
    for message in catalogue:
        if isinstance(message.id, tuple | list):
            assert len(message.string) == catalogue.num_plurals, message.id


def test_a_sentence_is_english_until_it_is_said_in_another_language() -> None:
    two = Sentence(
        "Too many attempts. Please wait %(count)s minute and try again.",
        "Too many attempts. Please wait %(count)s minutes and try again.",
        count=2,
    )
    assert two == "Too many attempts. Please wait 2 minutes and try again."
    assert said(two, "en") == two
    assert "2 Minuten" in said(two, "de")
    assert said("Nobody ever translated this.", "de") == "Nobody ever translated this."
    assert said("", "de") == ""


def test_a_moment_in_a_sentence_is_written_as_its_reader_writes_it() -> None:
    opens = Moment(to_datetime(NOON).astimezone(UTC))
    sentence = Sentence("Not before %(when)s.", when=opens)
    assert sentence == "Not before Friday, 15 January, 08:00."
    assert said(sentence, "de") == "Not before Freitag, 15. Januar, 08:00."
    assert isinstance(opens.at, datetime)


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ("de", "de"), ("DE-at", "de"), ("fr_CA", "fr"), ("en-GB", "en"), ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"), ("pt_br", "pt-BR"), ("es-419", "es"), ("ja-JP", "ja"), ("it", None),
        ("", None), ("*", None), ("x" * 5_000, None), ("../de", None),
    ],
)  # fmt: skip
def test_a_tag_is_a_shipped_language_or_none(wish: str, found: str | None) -> None:
    assert languages.shipped(wish) == found


def test_a_language_is_named_by_itself_and_knows_its_days() -> None:
    assert set(languages.SHIPPED) == set(languages.DAYS)
    for tag, name in languages.SHIPPED.items():
        assert languages.locale(tag).get_display_name().lower().startswith(name.lower())


# What a language that is read from the right would turn around wrongly.
_SIDES = re.compile(
    r"(?<![-\w])(?:(?:margin|padding|border)-(?:left|right)|(?:left|right)\s*:"
    r"|text-align\s*:\s*(?:left|right)|float\s*:\s*(?:left|right))"
)


@pytest.mark.parametrize(
    "sheet", sorted((translations.TEMPLATES / "static").glob("*.css")), ids=lambda path: path.name
)
def test_a_style_knows_beginnings_and_ends_and_no_sides(sheet: Path) -> None:
    """So that a language that is read from the right needs no sheet of its own."""
    text = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.DOTALL)
    assert [line.strip() for line in text.splitlines() if _SIDES.search(line)] == []

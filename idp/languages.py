"""The languages that are shipped: which there are, and what is said in them.

Owns `templates/locales`: a catalogue of each language, for pages and letters. It is read when its
language is first spoken (some 50 ms), so one that nobody speaks costs nothing. Which language a reader
gets is decided where there is a reader (`idp.web.language`, `idp.notify.letters`).

English is the source: a sentence is its own key, and what a catalogue lacks is said in English.
Sentences of the code that end up on a page are literals where they are made (`Refused("code", "…")`),
or stand in a `Sentence`, so that `python -m tests.translations` finds them.

Languages are named by their tags (RFC 5646: "pt-BR"), as HTML, HTTP and OpenID Connect write them.
"""

import io
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any

from babel import Locale
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT = "en"
# In the order in which people choose among them, each by its own name.
SHIPPED = {
    DEFAULT: "English",
    "de": "Deutsch",
    "fr": "Français",
    "es": "Español",
    "pt-BR": "Português (Brasil)",
    "ja": "日本語",
}

_BY_TAG = {tag.lower(): tag for tag in SHIPPED}
_BY_FIRST = {tag.partition("-")[0]: tag for tag in SHIPPED}


@dataclass(frozen=True, slots=True)
class Days:
    """How a language writes a day, in the letters of CLDR; the skeletons of CLDR are too American
    for our English, and have no day of the week in front."""

    near: str  # of this year
    far: str
    whole: str
    written: str  # in a letter, which is read in any year


DAYS = {
    "en": Days("d MMM", "d MMM y", "EEEE, d MMMM", "d MMMM y"),
    "de": Days("d. MMM", "d. MMM y", "EEEE, d. MMMM", "d. MMMM y"),
    "fr": Days("d MMM", "d MMM y", "EEEE d MMMM", "d MMMM y"),
    "es": Days("d MMM", "d MMM y", "EEEE, d 'de' MMMM", "d 'de' MMMM 'de' y"),
    "pt-BR": Days("d 'de' MMM", "d 'de' MMM y", "EEEE, d 'de' MMMM", "d 'de' MMMM 'de' y"),
    "ja": Days("M月d日", "y年M月d日", "M月d日(EEEE)", "y年M月d日"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A value of a sentence: a moment of some time zone, written as its reader writes it."""

    at: datetime

    def within(self, tag: str) -> str:
        return format_datetime(self.at, f"{DAYS[tag].whole}, HH:mm", locale=locale(tag))


class Sentence(str):
    """A sentence in English that can be said in other languages, with its values.

    `Sentence("You have %(most)s already.", most=3)`; and by number, which stands for `%(count)s`:
    `Sentence("Wait %(count)s minute.", "Wait %(count)s minutes.", count=2)`.
    """

    __slots__ = ("_many", "_one", "_values")
    _one: str
    _many: str | None
    _values: dict[str, Any]

    def __new__(cls, one: str, many: str | None = None, **values: Any) -> "Sentence":
        made = super().__new__(cls, _filled(one, many, values, DEFAULT))
        made._one, made._many, made._values = one, many, values
        return made

    def within(self, tag: str) -> str:
        """The sentence in a shipped language."""
        return _filled(self._one, self._many, self._values, tag)


def shipped(wish: str) -> str | None:
    """The shipped language for a tag such as "de-AT" or "pt_PT": itself, or one of its first part."""
    wished = wish.replace("_", "-").lower()
    return _BY_TAG.get(wished) or _BY_FIRST.get(wished.partition("-")[0])


@cache
def locale(tag: str) -> Locale:
    """What Babel calls a shipped language."""
    return Locale.parse(tag, sep="-")


def said(sentence: str, tag: str) -> str:
    """A sentence of the code in a shipped language; one that no catalogue knows stays as it is."""
    if isinstance(sentence, Sentence):
        return sentence.within(tag)
    return translations(tag).gettext(sentence) if sentence else sentence


@cache
def translations(tag: str) -> NullTranslations:
    """The catalogue of a shipped language."""
    if tag == DEFAULT:
        return NullTranslations()
    compiled = io.BytesIO()
    name = str(locale(tag))
    with (templates_folder() / "locales" / f"{name}.po").open("rb") as written:
        write_mo(compiled, read_po(written, locale=name))
    compiled.seek(0)
    return GNUTranslations(compiled)


def _filled(one: str, many: str | None, values: dict[str, Any], tag: str) -> str:
    catalogue = translations(tag)
    found = (
        catalogue.gettext(one) if many is None else catalogue.ngettext(one, many, values["count"])
    )
    if not values:
        return found
    written = {
        name: value.within(tag) if isinstance(value, Moment) else value
        for name, value in values.items()
    }
    return found % written


def templates_folder() -> Path:
    """Where the templates are: inside the installed package, else at the top of the checkout."""
    packaged = Path(__file__).parent / "_templates"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "templates"

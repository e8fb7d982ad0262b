"""Letters: subject, text and HTML of a message, from its pair of templates.

Owns the template environment of mail and what may stand in a letter. Stands below the pages, so it
has a small environment of its own, with the sentences of `idp.languages`. Every value is one line
when it arrives in a letter, and what people may choose themselves (the name of a passkey, a
browser's word for itself) is shown only when no mail program would make a link of it: the one link
of a letter is ours.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from babel.dates import format_datetime
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from idp.clock import Instant, to_datetime
from idp.languages import DAYS, DEFAULT, locale, shipped, templates_folder, translations
from idp.sessions import place
from idp.settings import Settings

# Where somebody goes who did not do what a notice tells of; it changes nothing by itself.
NOT_ME = "/account/security/not-me"
VALUE_MAXIMUM = 2_000
NAME_MAXIMUM = 80
# A letter behind a dot is what mail programs go by; all three dots of IDNA (RFC 3490 section 3.1).
_LOOKS_LIKE_AN_ADDRESS = re.compile(r"[@/\\]|[.:。｡]\s?[^\W\d]")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it is read; `text` is complete by itself."""

    subject: str
    text: str
    html: str


class Letters:
    """Writes letters in the shipped languages."""

    def __init__(self, settings: Settings) -> None:
        self._environment = cache(partial(_environment, settings=settings))

    def write(self, message: str, values: dict[str, Any], *, language: str) -> Letter:
        """The letter called `message`; an unknown name or a missing value is an error."""
        environment = self._environment(choose(language))
        plain = {name: _plain(value) for name, value in values.items()}
        text = environment.get_template(f"mail/{message}.txt")
        html = environment.get_template(f"mail/{message}.html")
        return Letter(
            subject=one_line(_subject(text, plain)),
            text=_BLANK_LINES.sub("\n\n", text.render(plain)).strip() + "\n",
            html=html.render(plain),
        )


def choose(language: str | None) -> str:
    """The shipped language for a wish such as "fr-CA"; the default when there is none."""
    return shipped(language or "") or DEFAULT


def one_line(text: str) -> str:
    """`text` without line breaks, control characters and marks that turn its direction around."""
    shown = (
        " " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") else one for one in text
    )
    return " ".join("".join(shown).split())


def _plain(value: Any) -> Any:
    return one_line(value[:VALUE_MAXIMUM]) if isinstance(value, str) else value


def _chosen_name(name: str) -> str | None:
    """A name that somebody chose, or None when it could pass for an address."""
    if not name or len(name) > NAME_MAXIMUM:
        return None
    return None if _LOOKS_LIKE_AN_ADDRESS.search(unicodedata.normalize("NFKC", name)) else name


def _subject(text: Template, values: dict[str, Any]) -> str:
    """What the block `subject` says; the templates put it nowhere else."""
    return "".join(text.blocks["subject"](text.new_context(values)))


def _moment(tag: str, at: Instant) -> str:
    """A moment with its year: a letter is read at any time. We do not know the reader's zone."""
    pattern = DAYS[tag].written + ", HH:mm 'UTC'"
    return format_datetime(to_datetime(at), pattern, locale=locale(tag))


def _environment(tag: str, settings: Settings) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_folder()),
        autoescape=select_autoescape(("html",), ("txt",)),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        translations(tag), newstyle=True
    )
    environment.globals.update(
        product=one_line(settings.name), lang=tag, not_me=settings.issuer + NOT_ME
    )
    environment.filters.update(
        moment=partial(_moment, tag),
        chosen_name=_chosen_name,
        country=partial(place.country_name, language=tag),
    )
    return environment
